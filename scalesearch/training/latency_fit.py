"""A latency model, learnt from random networks whose parts were timed on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import median

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from scalesearch.architecture.latency import TERMS, LatencyModel, segments, terms
from scalesearch.architecture.network import Network
from scalesearch.training.calibration import machine
from scalesearch.training.crew import Crew
from scalesearch.training.latency import Conditions, Timing
from scalesearch.training.latency_sample import sample
from scalesearch.training.latency_table import Known, measure_parts

NETWORKS = 48  # that a model is learnt from
ROUNDS = 2  # over all of them, apart in time, so that a busy spell of the machine does not meet one in each
FOLDS = 5

Floats = NDArray[np.float64]
Parts = Mapping[str, Timing]


def quieter(one: Parts, other: Parts) -> dict[str, Timing]:
    """Return the parts of both; of those that stand in both, the faster timing."""
    both = {key: min(one[key], other[key], key=lambda timing: timing.median) for key in one if key in other}
    return {**one, **other, **both}


def learn(
    conditions: Conditions,
    on_progress: Callable[[float], None] = lambda _share: None,
    *,
    count: int = NETWORKS,
    rounds: int = ROUNDS,
) -> Known:
    """Measure the parts of `count` random networks in a process of its own and fit a model to them.

    About a minute on an idle machine. Raises RuntimeError where the process fails.
    """
    networks = sample(count)
    found: list[dict[str, Timing]] = [{} for _ in networks]
    with Crew(1, conditions.threads) as crew:
        for turn in range(rounds):
            for number, network in enumerate(networks):
                found[number] = quieter(found[number], crew.all(measure_parts, network, conditions)[0])
                on_progress((turn * count + number + 1) / (rounds * count))
    together: dict[str, Timing] = {}
    for parts in found:
        together = quieter(together, parts)
    return Known(together, fit_model(networks, found, conditions))


def fit_model(networks: Sequence[Network], parts: Sequence[Parts], conditions: Conditions) -> LatencyModel:
    """Fit the model to the timed parts of networks; its error is that of networks left out in turn."""
    rows = [_rows(network, timed) for network, timed in zip(networks, parts, strict=True)]
    coefficients = _fitted(rows)
    errors = [
        abs(float(done.sum(0) @ _fitted(others)) / float(seconds.sum()) - 1)
        for fold in range(min(FOLDS, len(rows)))
        for others in [[row for number, row in enumerate(rows) if number % FOLDS != fold]]
        for done, seconds in rows[fold::FOLDS]
    ]
    described = {name: value for name, value in asdict(conditions).items() if name not in ("batch", "device")}
    here = machine(conditions.device)
    return LatencyModel(
        coefficients=tuple(coefficients.tolist()),
        batch=conditions.batch,
        device=here["cpu"] if here["device"] == "cpu" else here["device"],
        conditions=described | {"torch": here["torch"]},
        error=median(errors),
        networks=len(networks),
    )


def _rows(network: Network, timed: Parts) -> tuple[Floats, Floats]:
    """Return what each part of a network does (parts, terms), and its seconds (parts,)."""
    known = list(segments(network))
    done = np.array([terms(one.part) for one in known])
    return done, np.array([timed[one.key].median for one in known])


def _fitted(rows: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Fit by least squares without negative coefficients; what counts are errors relative to a network.

    Each part is an equation, and each whole network one more, of the weight of all its parts. Least squares
    of relative errors lie low where they scatter, so the median network is met in the end.
    """
    equations, right = [], []
    for done, seconds in rows:
        whole = seconds.sum()
        weights = np.sqrt(seconds / whole) / seconds
        equations += [done * weights[:, None], done.sum(0, keepdims=True) / whole]
        right += [seconds * weights, np.ones(1)]
    matrix, wanted = np.concatenate(equations), np.concatenate(right)
    # Columns of one size: their units differ by ten orders of magnitude.
    sizes = np.linalg.norm(matrix, axis=0)
    sizes[sizes == 0] = 1.0
    found: Floats = nnls(matrix / sizes, wanted, maxiter=100 * len(TERMS))[0] / sizes
    return found * median(float(seconds.sum()) / float(done.sum(0) @ found) for done, seconds in rows)
