"""Networks for a survey: drawn at random on a budget, spread evenly over the activations of their proxies.

A network's activations set the time of its training and vary most between proxies of equal cost, so a plain
random draw has few of the extreme ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scalesearch.architecture.budget import BAND, Budget, Fit, UnfitError
from scalesearch.architecture.document import to_document
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import Candidate, SearchSpace
from scalesearch.errors import InputError
from scalesearch.search.proposals import deployed_for
from scalesearch.search.samplers import PATIENCE, random_candidate
from scalesearch.search.study import digest
from scalesearch.search.tables import read_parquet, write_parquet

POOL = 10  # random candidates for each network that is drawn
_TABLE = ("drawing", "network", "labels")

OnProgress = Callable[[str, float], None]


@dataclass(frozen=True)
class Drawing:
    """What is drawn: `count` networks of a space, whose deployed forms are fitted to `budget`.

    Attributes:
        budget: multiply-accumulates. classes, resolution: the data's.
    """

    space: SearchSpace
    policy: ProxyPolicy
    budget: float
    classes: int
    resolution: int
    count: int
    seed: int


@dataclass(frozen=True)
class Drawn:
    """One network: the document of its proxy, and what is known of its family by column of a table."""

    network: dict[str, Any]
    labels: dict[str, Any]


@dataclass(frozen=True)
class _Pooled:
    candidate: Candidate
    params: dict[str, Any]
    proxy: Fit
    activations: int


def spread_order(count: int) -> list[int]:
    """Return the numbers from 0 below `count` in an order of which every beginning covers the range.

    That of van der Corput (1935): by the bits read backwards.
    """
    bits = max(1, (count - 1).bit_length())
    return sorted(range(count), key=lambda number: int(f"{number:0{bits}b}"[::-1], 2))


def draw(drawing: Drawing, on_progress: OnProgress = lambda _doing, _share: None) -> list[Drawn]:
    """Return different networks, one from each of `count` equal strata of a random pool.

    The pool is sorted by the proxies' activations; every beginning of the result covers its range. Deployed
    networks and proxies are in the band under their budgets. Raises InputError where the space does not
    give so many.
    """
    pool = sorted(_pool(drawing, on_progress), key=lambda one: one.activations)
    edges = [len(pool) * number // drawing.count for number in range(drawing.count + 1)]
    strata = [pool[low:high] for low, high in pairwise(edges)]
    order = spread_order(drawing.count)
    return [_from(strata[place], number, drawing) for number, place in enumerate(order)]


def _pool(drawing: Drawing, on_progress: OnProgress) -> list[_Pooled]:
    rng, wanted = np.random.default_rng(drawing.seed), POOL * drawing.count
    pool: dict[str, _Pooled] = {}
    barren = 0
    while len(pool) < wanted and barren < PATIENCE:
        one = _proxied(drawing, rng)
        key = None if one is None else digest({**to_document(one.proxy.network), "name": ""})
        barren = barren + 1 if one is None or key in pool else 0
        if one is not None and key is not None:
            pool.setdefault(key, one)
        on_progress("drawing networks", len(pool) / wanted)
    if len(pool) < drawing.count:
        raise InputError(
            f"--networks: the space {drawing.space.name} gives {len(pool)} different proxies, "
            f"but {drawing.count} networks are asked for"
        )
    return list(pool.values())


def _proxied(drawing: Drawing, rng: np.random.Generator) -> _Pooled | None:
    candidate, params = random_candidate(drawing.space, rng)
    policy = drawing.policy
    try:
        proxy = candidate.proxy(policy, policy.flops, drawing.classes, drawing.resolution)
    except UnfitError:
        return None
    if proxy.share < BAND:
        return None
    return _Pooled(candidate, params, proxy, proxy.network.cost().activations)


def _from(stratum: Sequence[_Pooled], number: int, drawing: Drawing) -> Drawn:
    """Return a random one of a stratum's candidates that the budget admits."""
    for place in np.random.default_rng((drawing.seed, number)).permutation(len(stratum)):
        one = stratum[place]
        try:
            deployed = deployed_for(one.candidate, drawing.classes, Budget(drawing.budget))
        except UnfitError:
            continue
        if deployed.share >= BAND:
            return _drawn(one, deployed, number)
    raise InputError(
        f"--budget-flops: a part of the space {drawing.space.name} has no network of "
        f"{drawing.budget:,.0f} multiply-accumulates"
    )


def _drawn(one: _Pooled, deployed: Fit, number: int) -> Drawn:
    cost, coefficients = deployed.network.cost(), one.candidate.coefficients
    labels = {
        "number": number,
        "sampled": json.dumps(one.params),
        "alpha": coefficients.alpha,
        "beta": coefficients.beta,
        "gamma": coefficients.gamma,
        "pattern": " ".join(stage.operator for stage in deployed.network.stages),
        "deployed_flops": cost.flops,
        "deployed_params": cost.params,
        "deployed_activations": cost.activations,
        "gamma_identified": not one.proxy.clamped,
    }
    return Drawn({**to_document(one.proxy.network), "name": f"network_{number}"}, labels)


def kept(path: Path, identity: Mapping[str, Any], make: Callable[[], list[Drawn]]) -> list[Drawn]:
    """Return the networks in a Parquet file, which is made at the first time.

    `identity` is all that the drawing depends on, as plain data. Raises InputError where the file is damaged
    or of another drawing.
    """
    key = digest(identity)
    if path.exists():
        return _read(path, key)
    drawn = make()
    rows = [(key, json.dumps(one.network), json.dumps(one.labels)) for one in drawn]
    write_parquet(path, pd.DataFrame(rows, columns=list(_TABLE)))
    return drawn


def _read(path: Path, key: str) -> list[Drawn]:
    frame = read_parquet(path, _TABLE)
    if set(frame["drawing"]) != {key}:
        raise InputError(f"{path} holds the networks of another survey: give this one a folder of its own")
    return [Drawn(json.loads(network), json.loads(labels)) for network, labels in _pairs(frame)]


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    yield from zip(frame["network"], frame["labels"], strict=True)
