"""Trained members of families as accuracies, the laws fitted to them, and the best of a run's levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from scalesearch.dashboard.describe import resolution_text, scored
from scalesearch.search.law import Law, Point, fit_law
from scalesearch.search.records import TrialRecord

BEST_OF_LEVEL = 5
STEPS = 60  # of a curve


@dataclass(frozen=True)
class Size:
    """One trained member of a family: its cost, and the accuracy of each of its trainings by seed."""

    flops: int
    resolution: str
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean accuracy over seeds."""
        return sum(self.accuracies) / len(self.accuracies)


@dataclass(frozen=True)
class Curve:
    """A fitted law as accuracies: `values` and their interval, `low` to `high`, at the costs `flops`."""

    flops: tuple[float, ...]
    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class HeldOut:
    """The accuracy that the law without the largest size foretells of it, and the one that was trained."""

    flops: float
    predicted: float
    low: float
    high: float
    actual: float


@dataclass(frozen=True)
class Family:
    """A family as `scalesearch law` reports it.

    Attributes:
        sizes: members with at least one training, costs ascending.
        curve, held_out: None where no law is fitted; then `missing` says why.
        supported_to: the cost up to which the law may be read.
        at_budget: accuracy, low, high at the budget, or None where the law does not reach it.
    """

    name: str
    sizes: tuple[Size, ...]
    curve: Curve | None = None
    held_out: HeldOut | None = None
    supported_to: float | None = None
    at_budget: tuple[float, float, float] | None = None
    missing: str = ""


@dataclass(frozen=True)
class LevelPoint:
    """A proxy among the best of its level: its trial, its cost, and the accuracy it reached."""

    number: int
    level: float
    flops: int
    accuracy: float


def families_of(report: Mapping[str, Any], budget: float | None) -> tuple[Family, ...]:
    """Return the families of a report of `scalesearch law` that have a training."""
    families = [_family(family, budget) for family in report["families"]]
    return tuple(family for family in families if family.sizes)


def _family(report: Mapping[str, Any], budget: float | None) -> Family:
    trained = sorted((one for one in report["points"] if one["errors"]), key=lambda one: one["flops"])
    sizes = tuple(
        Size(one["flops"], resolution_text(one["resolution"]), tuple(1 - error for error in one["errors"]))
        for one in trained
    )
    described = report["law"]
    if described is None:
        return Family(report["name"], sizes, missing=report["missing"])
    points = tuple((float(one["flops"]), seed, e) for one in trained for seed, e in enumerate(one["errors"]))
    law, held = _fitted(points, described["level"]), described["hold_out"]
    return Family(
        name=report["name"],
        sizes=sizes,
        curve=law_curve(law),
        held_out=HeldOut(held["size"], *(1 - held[key] for key in ("predicted", "high", "low", "actual"))),
        supported_to=law.supported_to,
        at_budget=_read(law, budget),
    )


@cache
def _fitted(points: tuple[Point, ...], level: float) -> Law:
    """Fit again what the report was fitted to: it holds a, b and c but not the resamples behind the band.

    The fit is the same to the last digit, since it depends on the trainings and a fixed seed alone.
    """
    return fit_law(points, level=level)


def law_curve(law: Law, steps: int = STEPS) -> Curve:
    """Return a law as accuracies from its smallest size to where its evidence ends, 4 times the largest."""
    costs = np.geomspace(law.sizes[0], law.supported_to, steps).tolist()
    found = [law.predict(cost) for cost in costs]
    values, low, high = ([1 - getattr(one, name) for one in found] for name in ("value", "high", "low"))
    return Curve(tuple(costs), tuple(values), tuple(low), tuple(high))


def _read(law: Law, budget: float | None) -> tuple[float, float, float] | None:
    if budget is None or not law.sizes[0] <= budget <= law.supported_to:
        return None
    found = law.predict(budget)
    return 1 - found.value, 1 - found.high, 1 - found.low


def level_points(trials: Sequence[TrialRecord], most: int = BEST_OF_LEVEL) -> tuple[LevelPoint, ...]:
    """Return the best proxies of each level after the first rung, levels ascending, the best first.

    A network that was trained once for several candidates is one point.
    """
    levels: dict[float, list[LevelPoint]] = {}
    for trial in trials:
        accuracy = scored(trial) if trial.rung == 0 and trial.repeats is None else None
        if accuracy is not None:
            point = LevelPoint(trial.number, trial.level, trial.proxy.flops, accuracy)
            levels.setdefault(trial.level, []).append(point)
    best = [sorted(levels[level], key=lambda p: (-p.accuracy, p.number))[:most] for level in sorted(levels)]
    return tuple(point for points in best for point in points)
