"""Which candidates are trained longer: successive halving on accuracy alone, beside any objectives.

Optuna prunes no study of several objectives, and its pruners stop a training that runs. Here each rung is a
whole training of its own, with its own schedule, and what a rung decides is which candidates begin the next.
Only trainings of one group compete: one arm of the search, one level of the budget, so similar cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

Rule = Literal["synchronous", "asynchronous"]
Rank = Literal["loss", "fronts"]


@dataclass(frozen=True)
class Halving:
    """How rungs decide.

    Attributes:
        rule: "synchronous" compares within cohorts of fixed size, each of which sends its best share on
            when all of it is trained (successive halving, Jamieson and Talwalkar 2016); "asynchronous" sends
            on whatever is among the best share of what is trained so far (ASHA, Li et al. 2020).
        eta: one in `eta` goes on; a whole number of at least 2.
        rank: by validation loss, or by non-dominated fronts of loss and the costs that are objectives.
    """

    rule: Rule = "synchronous"
    eta: int = 3
    rank: Rank = "loss"

    def __post_init__(self) -> None:
        for name, choices in (("rule", get_args(Rule)), ("rank", get_args(Rank))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}, but got {getattr(self, name)!r}")
        if self.eta < 2:
            raise ValueError(f"eta must be at least 2, but got {self.eta}")


@dataclass(frozen=True)
class Entry:
    """A training that has ended, as a rung sees it.

    Attributes:
        group: what competes with what. rung: from 0. loss: validation loss; None where the training failed.
        costs: of the candidate, in the order of the objectives, smaller is better.
    """

    number: int
    group: Hashable
    rung: int
    loss: float | None
    costs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Promotion:
    """A candidate that goes on to `rung`, and the candidates that it was compared with, itself included."""

    number: int
    rung: int
    among: tuple[int, ...]


def promotions(entries: Iterable[Entry], rungs: int, halving: Halving) -> list[Promotion]:
    """Return every promotion that the rule calls for, the highest rung first.

    Entries stand in the order in which their trainings were decided on; `rungs` is how many rungs there
    are. More entries after the others never take a promotion back under the synchronous rule.
    """
    members: dict[tuple[int, Hashable], list[Entry]] = {}
    for entry in entries:
        members.setdefault((entry.rung, entry.group), []).append(entry)
    found = []
    for rung in range(rungs - 2, -1, -1):
        size = halving.eta ** (rungs - 1 - rung)
        for (at, _), trained in members.items():
            if at == rung:
                found += _promoted(trained, size, halving)
    return found


def _promoted(trained: Sequence[Entry], size: int, halving: Halving) -> list[Promotion]:
    if halving.rule == "asynchronous":
        return _best(trained, halving)
    whole = len(trained) // size * size
    return [
        promotion
        for start in range(0, whole, size)
        for promotion in _best(trained[start : start + size], halving)
    ]


def _best(compared: Sequence[Entry], halving: Halving) -> list[Promotion]:
    among = tuple(entry.number for entry in compared)
    sound = _ordered([entry for entry in compared if entry.loss is not None], halving.rank)
    return [Promotion(e.number, e.rung + 1, among) for e in sound[: len(compared) // halving.eta]]


def _ordered(entries: Sequence[Entry], rank: Rank) -> list[Entry]:
    fronts = front_numbers([(e.loss or 0.0, *e.costs) for e in entries]) if rank == "fronts" else None
    keys = [
        (fronts[index] if fronts else 0, entry.loss or 0.0, entry.number)
        for index, entry in enumerate(entries)
    ]
    return [entries[index] for index in sorted(range(len(entries)), key=keys.__getitem__)]


def front_numbers(values: Sequence[Sequence[float]]) -> list[int]:
    """Return for each point, smaller being better, which non-dominated front it is on, from 0.

    Front k is what no other point dominates once fronts 0 to k - 1 are gone (Deb et al. 2002, section III-A).
    """
    if not values:
        return []
    points = np.asarray(values, dtype=float)
    no_worse = np.all(points[:, None] <= points[None], axis=2)
    dominates = np.logical_and(no_worse, np.any(points[:, None] < points[None], axis=2))
    numbers = np.full(len(points), -1)
    for front in range(len(points)):
        left = numbers < 0
        if not left.any():
            break
        numbers[left & ~dominates[left].any(axis=0)] = front
    return [int(number) for number in numbers]
