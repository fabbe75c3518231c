"""What depth, width and resolution take of the growth of networks: the data of the coefficient map."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalesearch.dashboard.describe import scored
from scalesearch.search.records import TrialRecord

Which = Literal["deployed", "proxy"]
Triple = tuple[float, float, float]
Floats = NDArray[np.float64]

NO_GROWTH = 1e-9  # in the logarithm: below it no share can be told
ROUNDING = 1e-9


@dataclass(frozen=True)
class Place:
    """A scored trial on the triangle.

    Attributes:
        shares: of the growth that depth, width and resolution take, as realised; they sum to 1.
        rank: place of its accuracy among the networks of its level, from 0 (worst) to 1 (best).
        clamped: gamma is not identified. shrunk: the network is smaller than its base.
    """

    number: int
    shares: Triple
    rank: float
    clamped: bool
    shrunk: bool


@dataclass(frozen=True)
class Plateau:
    """One network that several coefficient triples give.

    Attributes:
        centre: its shares; the mean of them where its candidates have different bases.
        places: the distinct shares of its candidates. drawn: those of the triples as they were drawn.
    """

    numbers: tuple[int, ...]
    centre: Triple
    places: tuple[Triple, ...]
    drawn: tuple[Triple, ...]


@dataclass(frozen=True)
class Map:
    """The networks of a run on the triangle; `left_out` have no place on it: a negative share, no growth."""

    places: tuple[Place, ...]
    plateaus: tuple[Plateau, ...]
    left_out: int


@dataclass(frozen=True)
class Grown:
    """A network grown from one fixed base: mean loss and accuracy over `seeds`, and its rank by loss."""

    name: str
    shares: Triple
    loss: float
    accuracy: float
    seeds: int
    rank: float


@dataclass(frozen=True)
class Rule:
    """A named triple of coefficients; `inside` the plateau of the optimum, or None where nothing is known."""

    name: str
    shares: Triple
    inside: bool | None


@dataclass(frozen=True)
class FixedBase:
    """What `scalesearch coefficients` found; `optimum` is None where too little is trained."""

    grown: tuple[Grown, ...]
    optimum: Triple | None
    rules: tuple[Rule, ...]
    left_out: int


def shares_of(multipliers: Iterable[Triple]) -> Floats:
    """Return the shares of depth, width and resolution in the growth d w^2 r^2, (n, 3).

    log d, 2 log w and 2 log r over their sum (Tan and Le 2019, eq. 3). A network that shrank along all three
    has shares of its shrinking, which are those of its family, since they do not depend on phi. A row of
    nan has no place on the triangle: one multiplier grew and another shrank, or nothing changed.
    """
    logs = np.log(np.array([*multipliers], dtype=np.float64).reshape(-1, 3)) * [1, 2, 2]
    total = logs.sum(1, keepdims=True)
    shares = np.divide(logs, total, out=np.full_like(logs, np.nan), where=abs(total) > NO_GROWTH)
    shares[(shares < -ROUNDING).any(1)] = np.nan
    clipped: Floats = shares.clip(0, 1)
    return clipped


def midranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value from 0 to 1, (rank - 1/2) / n: 1/2 is the median; ties are equal."""
    from scipy.stats import rankdata  # a second to load, for the pages alone

    ranks: list[float] = ((rankdata(values) - 0.5) / max(1, len(values))).tolist()
    return ranks


def coefficient_map(trials: Sequence[TrialRecord], which: Which) -> Map:
    """Place the scored trials of the first rung by the realised multipliers of one of their two networks."""
    known = [trial for trial in trials if trial.rung == 0 and scored(trial) is not None]
    ranks = _ranks(known)
    members = [getattr(trial, which) for trial in known]
    shares = [_triple(row) for row in shares_of(member.realised for member in members)]
    places = [
        Place(t.number, s, ranks[t.level, t.key], m.clamped, _shrunk(m.realised))
        for t, m, s in zip(known, members, shares, strict=True)
        if s is not None
    ]
    shown = {place.number: place.shares for place in places}
    return Map(tuple(places), _plateaus(known, which, shown), len(known) - len(places))


def _triple(row: Floats) -> Triple | None:
    if np.isnan(row).any():
        return None
    depth, width, resolution = row.tolist()
    return depth, width, resolution


def _shrunk(realised: Triple) -> bool:
    depth, width, resolution = realised
    return depth * width**2 * resolution**2 < 1


def _ranks(trials: Sequence[TrialRecord]) -> dict[tuple[float, str], float]:
    """Return the rank of each training in its level; a repeated network counts once."""
    levels: dict[float, dict[str, float]] = {}
    for trial in trials:
        levels.setdefault(trial.level, {})[trial.key] = scored(trial) or 0.0
    return {
        (level, key): rank
        for level, found in levels.items()
        for key, rank in zip(found, midranks(list(found.values())), strict=True)
    }


def _plateaus(
    trials: Sequence[TrialRecord], which: Which, shown: Mapping[int, Triple]
) -> tuple[Plateau, ...]:
    """Return the networks that at least two different triples gave, those of most triples first."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.number in shown:
            groups.setdefault(_identity(trial, which), []).append(trial)
    found = [_plateau(group, shown) for group in groups.values()]
    several = [plateau for plateau in found if len(plateau.drawn) > 1]
    return tuple(sorted(several, key=lambda plateau: -len(plateau.drawn)))


def _identity(trial: TrialRecord, which: Which) -> str:
    """Return what equal networks share: the training of the proxy, the document of the deployed network."""
    if which == "proxy":
        return trial.key
    return json.dumps({**trial.deployed.document, "name": ""}, sort_keys=True)


def _plateau(group: Sequence[TrialRecord], shown: Mapping[int, Triple]) -> Plateau:
    numbers = tuple(trial.number for trial in group)
    places = [shown[number] for number in numbers]
    centre = np.mean(places, axis=0).tolist()
    distinct = tuple(dict.fromkeys(places))
    return Plateau(numbers, centre, distinct, tuple(dict.fromkeys(t.coefficients.shares for t in group)))


def fixed_base(report: Mapping[str, Any]) -> FixedBase:
    """Read a report of `scalesearch coefficients`; directions that were not trained are no points of it."""
    trained = [point for point in report["points"] if point["losses"]]
    rows = [_triple(row) for row in shares_of(_in_order(point["realised"]) for point in trained)]
    ranks = midranks([-point["loss"] for point in trained])
    grown = [
        Grown(point["name"], shares, point["loss"], point["accuracy"], len(point["losses"]), rank)
        for point, shares, rank in zip(trained, rows, ranks, strict=True)
        if shares is not None
    ]
    found = report["coefficients"]
    optimum = found and _one([found[name][0] for name in ("alpha", "beta", "gamma")])
    rules = [(name, _one(rule["triple"]), rule["inside"]) for name, rule in report.get("rules", {}).items()]
    return FixedBase(
        grown=tuple(grown),
        optimum=optimum,
        rules=tuple(Rule(name, shares, inside) for name, shares, inside in rules if shares is not None),
        left_out=len(trained) - len(grown),
    )


def _in_order(named: Mapping[str, float]) -> Triple:
    return named["depth"], named["width"], named["resolution"]


def _one(multipliers: Sequence[float]) -> Triple | None:
    depth, width, resolution = multipliers
    return _triple(shares_of([(depth, width, resolution)])[0])
