"""Search progress as data: what each arm had found by when, and what it had spent by then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log10

import numpy as np
from numpy.typing import NDArray

from scalesearch.dashboard.describe import scored
from scalesearch.dashboard.panels.hypervolume import hypervolumes
from scalesearch.dashboard.panels.pauses import cut_pauses, without_pauses
from scalesearch.search.records import Arm, TrialRecord

ARMS: tuple[Arm, ...] = ("search", "control")

Spent = Mapping[str, tuple[float, ...]]
"""What an arm had spent at each of its points, by the clock: trials, images, time (seconds)."""


@dataclass(frozen=True)
class LevelProgress:
    """The scored trials of one level and arm as they ended, and the best accuracy up to each.

    Attributes:
        ends: what the arm has spent by now, by the clock.
    """

    level: float
    arm: Arm
    numbers: tuple[int, ...]
    spent: Spent
    accuracies: tuple[float, ...]
    best: tuple[float, ...]
    ends: Mapping[str, float]


@dataclass(frozen=True)
class Volume:
    """The hypervolume of an arm's trials as they ended; `spent` and `ends` as in LevelProgress.

    Attributes:
        settled: its value when each of the arm's levels had a trial, 0 without any.
    """

    arm: Arm
    spent: Spent
    values: tuple[float, ...]
    ends: Mapping[str, float]
    settled: float


@dataclass(frozen=True)
class ProgressData:
    """The progress of a search.

    Attributes:
        lines: those of the highest level first, the search before its control.
        volumes: of (log10 FLOPs, accuracy), bounded by `dearest` FLOPs and accuracy 0; an arm each.
        clocks: what was measured, of trials, images and time.
        pauses: seconds of each time without a training of the search, which the time leaves out.
    """

    lines: tuple[LevelProgress, ...]
    volumes: tuple[Volume, ...]
    dearest: float
    clocks: tuple[str, ...]
    pauses: tuple[float, ...]


def progress_data(trials: Sequence[TrialRecord], budget: float | None = None) -> ProgressData:
    """Follow the first trainings of the search and of its control arm in the order in which they ended.

    A repeat cost nothing and is left out; a failed training costs what it cost. Trials are first trainings,
    images those of all the arm's trainings, longer rungs included. Networks over the budget count for no
    hypervolume; its reference point is a network of twice the budget (without one: of the highest level) that
    knows nothing.
    """
    ended = [
        t for t in trials if t.role == "search" and t.repeats is None and t.outcome.status != "interrupted"
    ]
    ended.sort(key=lambda t: (t.finished, t.number, t.rung))
    cuts = cut_pauses((t.started, t.finished) for t in ended)
    first = min((t.started for t in ended), default=0.0)
    time = without_pauses([t.finished for t in ended], first, cuts)
    pauses = tuple(end - begin for begin, end in cuts)
    dearest = 2 * (budget or max((t.level for t in ended), default=1.0))
    lines, volumes = [], []
    for arm in ARMS:
        own = [index for index, t in enumerate(ended) if t.arm == arm]
        done = [ended[index] for index in own]
        clocks = _clocks(done, time[own])
        points = [place for place, t in enumerate(done) if t.rung == 0 and scored(t) is not None]
        if points:
            lines += _lines(arm, done, points, clocks)
            volumes.append(_volume(arm, done, points, clocks, (budget or dearest, dearest)))
    lines.sort(key=lambda line: -line.level)
    measured = {"trials": True, "images": any(t.outcome.images for t in ended), "time": bool(time.any())}
    names = tuple(name for name, known in measured.items() if known)
    return ProgressData(tuple(lines), tuple(volumes), dearest, names, pauses)


def _clocks(done: Sequence[TrialRecord], time: NDArray[np.float64]) -> dict[str, list[float]]:
    """Return what an arm had spent when each of its trainings had ended."""
    return {
        "trials": list(accumulate(float(t.rung == 0) for t in done)),
        "images": list(accumulate(float(t.outcome.images) for t in done)),
        "time": time.tolist(),
    }


def _at(clocks: Mapping[str, Sequence[float]], places: Iterable[int]) -> dict[str, tuple[float, ...]]:
    chosen = list(places)
    return {name: tuple(values[place] for place in chosen) for name, values in clocks.items()}


def _ends(clocks: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: values[-1] for name, values in clocks.items()}


def _lines(
    arm: Arm, done: Sequence[TrialRecord], points: Sequence[int], clocks: Mapping[str, Sequence[float]]
) -> list[LevelProgress]:
    levels: dict[float, list[int]] = {}
    for place in points:
        levels.setdefault(done[place].level, []).append(place)
    lines = []
    for level, places in levels.items():
        accuracies = _accuracies(done, places)
        lines.append(
            LevelProgress(
                level=level,
                arm=arm,
                numbers=tuple(done[place].number for place in places),
                spent=_at(clocks, places),
                accuracies=accuracies,
                best=tuple(accumulate(accuracies, max)),
                ends=_ends(clocks),
            )
        )
    return lines


def _accuracies(done: Sequence[TrialRecord], places: Iterable[int]) -> tuple[float, ...]:
    return tuple(score for place in places if (score := scored(done[place])) is not None)


def _volume(
    arm: Arm,
    done: Sequence[TrialRecord],
    points: Sequence[int],
    clocks: Mapping[str, Sequence[float]],
    costs: tuple[float, float],
) -> Volume:
    """Follow the hypervolume; `costs` are the most that a network may cost, and the reference point's."""
    feasible = [place for place in points if done[place].deployed.flops <= costs[0]]
    flops = [log10(done[place].deployed.flops) for place in feasible]
    gained = zip(flops, _accuracies(done, feasible), strict=True)
    values = hypervolumes(gained, (log10(costs[1]), 0.0))
    first = {done[place].level: index for index, place in reversed(list(enumerate(feasible)))}
    settled = values[max(first.values())] if values else 0.0
    return Volume(arm, _at(clocks, feasible), tuple(values), _ends(clocks), settled)


def steps(
    spent: Sequence[float], values: Sequence[float], end: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return where a line that never falls rises, and its end: all that a picture of steps needs."""
    rises = [place for place, value in enumerate(values) if not place or value > values[place - 1]]
    x, y = (tuple(series[place] for place in rises) for series in (spent, values))
    return (*x, end), (*y, values[-1])
