"""One call of `latency`: networks measured, a model of this machine learnt or read, the two compared."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scalesearch import documents
from scalesearch.architecture.budget import Budget, UnfitError
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.latency import LatencyModel, segments
from scalesearch.architecture.network import Network
from scalesearch.cli.definition import LATENCY, Request
from scalesearch.cli.folder import stored_study
from scalesearch.cli.target import Target
from scalesearch.errors import InputError
from scalesearch.files import replace_file
from scalesearch.search.ranking import rank_agreement
from scalesearch.search.samplers import PATIENCE
from scalesearch.search.store import STUDY
from scalesearch.training import latency_fit
from scalesearch.training.calibration import machine
from scalesearch.training.crew import Crew
from scalesearch.training.latency import Conditions, Latency, Timing, measure
from scalesearch.training.latency_table import Cache, Known, measure_parts
from scalesearch.training.process import usable_cores

ROUNDS = 2  # over the networks of a check, apart in time
RESAMPLES = 2000

Say = Callable[[str], None]


def known_model(conditions: Conditions, say: Say) -> LatencyModel:
    """Return the model of this machine under these conditions: from the cache, or learnt now and kept."""
    cache = Cache(say)
    known = cache.read(conditions)
    if known.model is None:
        known = _learnt(cache, known, conditions, say)
    if known.model is None:
        raise RuntimeError("learning left no latency model")
    return known.model


def _learnt(cache: Cache, known: Known, conditions: Conditions, say: Say) -> Known:
    say(
        f"learning the latency of this machine at batch {conditions.batch} from "
        f"{latency_fit.NETWORKS} random networks (a minute or more, once) ..."
    )
    found = latency_fit.learn(conditions)
    known = Known({**found.parts, **known.parts}, found.model)
    cache.write(conditions, known)
    say(f"kept in {cache.path}")
    return known


def model_text(model: LatencyModel) -> str:
    """Return a model's figures in words."""
    return (
        f"latency model: median error {model.error:.1%} on networks left out of the fit, "
        f"n = {model.networks}; batch {model.batch} on {model.device}"
    )


def read_model(path: Path) -> LatencyModel:
    """Read the file of a model; InputError where it holds something else."""
    return _read(path, lambda: json.loads(path.read_text(encoding="utf-8"))["model"])


def _read(path: Path, data: Callable[[], Mapping[str, Any]]) -> LatencyModel:
    try:
        return LatencyModel.from_json(data())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} holds no latency model: {' '.join(str(error).split())}") from error


def model_for(request: Request, device: str, say: Say) -> LatencyModel:
    """Return the latency model of a run: that of a file, the one that the run was begun with, or a device's.

    `device` is where trainings run; `say` is told which model it is. Raises InputError.
    """
    model, origin = _found(request, device, say)
    say(f"{model_text(model)}; {origin}")
    return model


def _found(request: Request, device: str, say: Say) -> tuple[LatencyModel, str]:
    asked = request.latency_model
    if asked is not None and Path(asked).is_file():
        return _of_one_image(Path(asked)), f"from {asked}"
    if asked is not None and not re.fullmatch(r"auto|cpu|cuda(:\d+)?", asked):
        raise InputError(f"--latency-model is cpu, cuda, cuda:N or the file of a model, but got {asked!r}")
    study = None if request.out is None else Path(request.out) / STUDY
    stored = stored_study(study).get(LATENCY) if study is not None and study.is_file() else None
    if study is not None and stored is not None:
        return _read(study, lambda: stored), f"the one that the run was begun with, from {study}"
    model = known_model(on_this_machine(Conditions(device=asked or device)), say)
    return model, "of this machine"


def _of_one_image(path: Path) -> LatencyModel:
    model = read_model(path)
    if model.batch != 1:
        raise InputError(f"--latency-model is of batch 1, but {path} is of batch {model.batch}")
    return model


def model_json(model: LatencyModel) -> dict[str, Any]:
    """Return what the file of a model holds."""
    return {"schema": 1, "model": model.to_json()}


def write_model(path: Path, model: LatencyModel) -> None:
    """Write the file of a model in one step; InputError where it cannot be written."""
    try:
        replace_file(path, (json.dumps(model_json(model), indent=1) + "\n").encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def on_this_machine(conditions: Conditions) -> Conditions:
    """Return the conditions with the device's own name; InputError where this machine lacks it."""
    from scalesearch.training.process import choose_device

    if conditions.threads > usable_cores():
        raise InputError(
            f"--threads: at most {usable_cores()} cores are usable here, but got {conditions.threads}"
        )
    return replace(conditions, device=choose_device(conditions.device))


@dataclass(frozen=True)
class Measured:
    """A network beside its measurement; `parts` are its own by key, where they were asked for."""

    target: Target
    latency: Latency
    predicted: float | None
    parts: Mapping[str, Timing] | None


def measured(
    targets: Sequence[Target], setups: Sequence[Conditions], seconds: float, *, parts: bool, say: Say
) -> list[Measured]:
    """Measure networks under each of the conditions, each network in a process of its own.

    Predictions are those of a model that is kept already; `parts` come from the cache as far as it has them.
    """
    cache = Cache(say)
    known = {setup: cache.read(setup) for setup in setups}
    found = []
    for target in targets:
        with Crew(1, setups[0].threads) as crew:
            for setup in setups:
                latency = crew.all(measure, target.network, setup, seconds=seconds)[0]
                if parts and known[setup].missing(target.network):
                    timed = crew.all(measure_parts, target.network, setup, seconds)[0]
                    known[setup] = replace(known[setup], parts={**timed, **known[setup].parts})
                    cache.write(setup, known[setup])
                model = known[setup].model
                predicted = None if model is None else model.seconds(target.network)
                found.append(Measured(target, latency, predicted, known[setup].parts if parts else None))
    return found


def random_networks(space: str, budget: float, count: int, seed: int) -> list[Network]:
    """Return random networks of a space, fitted to a budget in multiply-accumulates.

    Raises InputError where none is found.
    """
    drawn, rng = documents.load_space(space), np.random.default_rng(seed)
    found: list[Network] = []
    barren = 0
    while len(found) < count:
        try:
            fitted = drawn.draw(random_values(rng)).deployed(Budget(budget)).network
        except UnfitError as error:
            barren += 1
            if barren == PATIENCE:
                raise InputError(f"--budget-flops: the space {space} gives no network: {error}") from error
            continue
        found.append(replace(fitted, name=f"random_{len(found)}"))
        barren = 0
    return found


def check(
    networks: Sequence[Network], model: LatencyModel, conditions: Conditions, seconds: float
) -> dict[str, Any]:
    """Compare predictions with measurements of networks that the model has not seen.

    Each is measured twice, apart in time, and the lesser of the lower quartiles counts: what other programs
    do to the caches only adds. The intervals are 95 % percentile intervals over resampled networks.
    """
    taken = np.full((ROUNDS, len(networks)), np.inf)
    with Crew(1, conditions.threads) as crew:
        for turn in range(ROUNDS):
            for number, network in enumerate(networks):
                latency = crew.all(measure, network, conditions, seconds=seconds / ROUNDS)[0]
                taken[turn, number] = latency.timing.low
    truth = taken.min(0)
    predicted = np.array([model.seconds(network) for network in networks])
    errors = np.abs(predicted / truth - 1)
    drawn = np.random.default_rng(0).integers(len(errors), size=(RESAMPLES, len(errors)))
    low, high = np.quantile(np.median(errors[drawn], axis=1), (0.025, 0.975)).tolist()
    return {
        "networks": [
            {"seconds": float(one), "predicted": float(other), "flops": network.cost().flops}
            for network, one, other in zip(networks, truth, predicted, strict=True)
        ],
        "median_error": float(np.median(errors)),
        "median_error_interval": [low, high],
        "largest_error": float(errors.max()),
        "median_ratio": float(np.median(predicted / truth)),
        "rounds_differ": float(np.median(np.abs(taken[0] / taken[1] - 1))),
        "rank": {
            name: _rank(signal, truth)
            for name, signal in (
                ("predicted", predicted),
                ("flops", [network.cost().flops for network in networks]),
                ("activations", [network.cost().activations for network in networks]),
            )
        },
    }


def _rank(signal: Iterable[float], truth: Iterable[float]) -> dict[str, Any]:
    found = rank_agreement(list(signal), list(truth), resamples=RESAMPLES)
    return {
        "spearman": found.spearman,
        "interval": [found.spearman_low, found.spearman_high],
        "n": found.n,
    }


def to_json(found: Sequence[Measured], conditions: Conditions) -> dict[str, Any]:
    """Return what `latency --json` prints of measured networks; its keys are stable."""
    return {
        "schema": 1,
        "machine": machine(conditions.device),
        "conditions": {
            "device": conditions.device,
            "threads": conditions.threads,
            "dtype": conditions.dtype,
            "memory_format": "channels_last" if conditions.channels_last else "contiguous",
            "clock": conditions.clock,
        },
        "latencies": [_row(one) for one in found],
    }


def _row(one: Measured) -> dict[str, Any]:
    network, latency = one.target.network, one.latency
    cost = network.cost()
    row: dict[str, Any] = {
        "network": network.name,
        "origin": one.target.origin,
        "resolution": network.resolution,
        "flops": cost.flops,
        "params": cost.params,
        "activations": cost.activations,
        "batch": latency.conditions.batch,
        "seconds": asdict(latency.timing),
        "wall_seconds": asdict(latency.wall),
        "images_per_second": latency.images_per_second,
        "warm_up": latency.warm_up,
        "peak_memory": latency.peak_memory,
        "predicted": one.predicted,
        "error": None if one.predicted is None else one.predicted / latency.timing.median - 1,
    }
    if one.parts is not None:
        parts = [{"part": part.key, **asdict(one.parts[part.key])} for part in segments(network)]
        total = sum(part["median"] for part in parts)
        row |= {"parts": parts, "parts_seconds": total, "parts_error": total / latency.timing.median - 1}
    return row
