"""The Pareto front as data: trials by what they cost, and which of them no other beats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from scalesearch.dashboard.describe import scored
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context, Finalist, Reference
from scalesearch.dashboard.theme import count_text, flops_text, milliseconds_text, seconds_text
from scalesearch.search.records import TrialRecord


@dataclass(frozen=True)
class Axis:
    """A cost that accuracy is drawn against.

    Attributes:
        name: what the switch says. title: of the axis, with the unit. words: the same in a sentence.
        of: the cost of a trial, in the unit of the axis. text: a cost with its unit.
        published: the cost of a published network, None where it is not known.
        levels: candidates of a level were fitted to one cost on this axis, so accuracy alone ranks them.
        learned: known after a training only, so a failed trial has no place.
    """

    name: str
    title: str
    words: str
    of: Callable[[TrialRecord], float]
    text: Callable[[float], str]
    published: Callable[[Reference], float | None]
    levels: bool = False
    learned: bool = False


FLOPS = Axis(
    "FLOPs",
    "deployed FLOPs (multiply-accumulates, log)",
    "the multiply-accumulates of its deployed network",
    lambda trial: trial.deployed.flops,
    flops_text,
    lambda reference: reference.flops,
    levels=True,
)
PARAMS = Axis(
    "params",
    "deployed params (weights and biases, log)",
    "the parameters of its deployed network",
    lambda trial: trial.deployed.params,
    lambda value: f"{count_text(value)} params",
    lambda reference: reference.params,
)
ACTIVATIONS = Axis(
    "activations",
    "deployed activations (elements an image, log)",
    "the activations of its deployed network",
    lambda trial: trial.deployed.activations,
    lambda value: f"{count_text(value)} activations",
    lambda reference: reference.activations,
)
SECONDS = Axis(
    "training time",
    "training time of the proxy (seconds, log)",
    "the seconds that its proxy's training took on this run's machine, beside whatever else ran there",
    lambda trial: trial.outcome.seconds,
    seconds_text,
    lambda _reference: None,
    learned=True,
)
LATENCY = Axis(
    "latency",
    "predicted latency of the deployed network (seconds, log)",
    "the seconds of a forward pass that the run's latency model predicts of its deployed network",
    lambda trial: trial.deployed.latency or 0.0,
    milliseconds_text,
    lambda _reference: None,
)
AXES = (FLOPS, PARAMS, ACTIVATIONS, LATENCY, SECONDS)


@dataclass(frozen=True)
class Point:
    """A complete trial: its cost in the unit of the axis, validation accuracy of the proxy as a fraction."""

    trial: TrialRecord
    cost: float
    accuracy: float


@dataclass(frozen=True)
class Again:
    """A candidate that was trained again: the cost of its point, and its accuracy with the interval."""

    cost: float
    finalist: Finalist


@dataclass(frozen=True)
class ParetoData:
    """Trials of the search by their part in the picture; finals and trials without a score have none.

    Attributes:
        front: cost and accuracy ascending; equal points are all kept.
        over: complete, but dearer than the budget.
        again: trained again, as long as the points are; by cost.
        near, far: references inside and outside of the picture, with their costs.
        limit: the most that may be spent on this axis, or None.
        span: the cost axis, from and to.
    """

    front: tuple[Point, ...]
    dominated: tuple[Point, ...]
    over: tuple[Point, ...]
    again: tuple[Again, ...]
    failed: tuple[TrialRecord, ...]
    interrupted: tuple[TrialRecord, ...]
    near: tuple[tuple[float, Reference], ...]
    far: tuple[tuple[float, Reference], ...]
    limit: float | None
    span: tuple[float, float]


def pareto_front(points: Sequence[Point], levels: bool = True) -> tuple[Point, ...]:
    """Return the points that no other dominates in cost and accuracy.

    With `levels`, a point must be the best of its level too: all its candidates were fitted to the same
    budget, and what their costs differ by is rounding.
    """
    front = _not_dominated(points)
    if not levels:
        return tuple(front)
    best: dict[float, float] = {}
    for point in points:
        best[point.trial.level] = max(point.accuracy, best.get(point.trial.level, point.accuracy))
    return tuple(point for point in front if point.accuracy == best[point.trial.level])


def _not_dominated(points: Iterable[Point]) -> list[Point]:
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.accuracy)):
        equal = front and (point.cost, point.accuracy) == (front[-1].cost, front[-1].accuracy)
        if equal or not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def pareto_data(
    trials: Sequence[TrialRecord], context: Context = NOTHING_KNOWN, axis: Axis = FLOPS, rung: int = 0
) -> ParetoData:
    """Sort trials and references into the parts of the picture; trainings of one rung alone are comparable.

    A trial is infeasible on every axis if one of its costs is over its limit. A reference is near if its cost
    is within a factor of 4 of the costs that are drawn anyway. A time of 0, which was not measured or
    predicted, has no place on a log axis.
    """
    search = [trial for trial in trials if trial.role == "search" and trial.rung == rung]
    points = [Point(trial, axis.of(trial), score) for trial in search if (score := scored(trial)) is not None]
    points = [point for point in points if point.cost > 0]
    limits = dict(context.limits) | ({} if context.budget is None else {"flops": context.budget})
    feasible = [
        point
        for point in points
        if all(getattr(point.trial.deployed, name) <= limit for name, limit in limits.items())
    ]
    kept = {id(point) for point in feasible}
    front = pareto_front(feasible, axis.levels)
    best = {id(point) for point in front}
    limit = limits.get(axis.name.lower())
    failed = [trial for trial in search if trial.outcome.status == "failed"]
    placed = [] if axis.learned else [cost for cost in map(axis.of, failed) if cost > 0]
    drawn = [*(point.cost for point in points), *placed, *([limit] if limit else [])]
    near, far = _references(axis, context.references, drawn)
    costs = [*drawn, *(cost for cost, _ in near)]
    return ParetoData(
        front=front,
        dominated=tuple(point for point in feasible if id(point) not in best),
        over=tuple(point for point in points if id(point) not in kept),
        again=_again(points, context.finalists, _retrained(trials, rung)),
        failed=tuple(failed),
        interrupted=tuple(trial for trial in search if trial.outcome.status == "interrupted"),
        near=near,
        far=far,
        limit=limit,
        span=(min(costs, default=1.0), max(costs, default=1.0)),
    )


def _retrained(trials: Iterable[TrialRecord], rung: int) -> set[int]:
    """Return the candidates whose new trainings, the longest where they differ, are of this rung."""
    rungs: dict[int, int] = {}
    for trial in trials:
        if trial.role == "final" and trial.complete:
            rungs[trial.number] = max(trial.rung, rungs.get(trial.number, 0))
    return {number for number, longest in rungs.items() if longest == rung}


def _again(points: Iterable[Point], finalists: Iterable[Finalist], as_long: set[int]) -> tuple[Again, ...]:
    cost = {point.trial.number: point.cost for point in points}
    found = [one for one in finalists if one.number in as_long and one.number in cost]
    return tuple(sorted((Again(cost[one.number], one) for one in found), key=lambda again: again.cost))


def _references(
    axis: Axis, references: Iterable[Reference], drawn: Sequence[float]
) -> tuple[tuple[tuple[float, Reference], ...], tuple[tuple[float, Reference], ...]]:
    priced = [
        (cost, reference) for reference in references if (cost := axis.published(reference)) is not None
    ]
    priced.sort(key=lambda pair: pair[0])
    low, high = min(drawn, default=0.0) / 4, max(drawn, default=0.0) * 4
    near = tuple(pair for pair in priced if low <= pair[0] <= high)
    return near, tuple(pair for pair in priced if not low <= pair[0] <= high)


def longest_rung(trials: Iterable[TrialRecord]) -> int:
    """Return the highest rung at which a training of the search has a score; 0 without any."""
    return max((trial.rung for trial in trials if scored(trial) is not None), default=0)
