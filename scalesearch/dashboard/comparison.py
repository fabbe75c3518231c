"""Several runs side by side: which are comparable, their fronts, and what each had found for how much.

Accuracies are comparable only where the same data, recipe and training lengths stand behind them, and where
a budget means the same, since the cost of a proxy follows a level's share of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scalesearch.dashboard.describe import scored
from scalesearch.dashboard.panels.pareto_data import Axis, Point, pareto_data
from scalesearch.dashboard.run_view import RunView
from scalesearch.errors import InputError
from scalesearch.search.records import TrialRecord

MOST_RUNS = 12
SPENT = ("trainings", "images", "seconds")
CLOSE = 0.05  # by which share the cost of proxies may differ: fits stop within 3 % of a limit


@dataclass(frozen=True)
class SideBySide:
    """Runs in the order in which they were named, and which of them are comparable.

    Attributes:
        groups: places in `runs`; accuracies are comparable within a group alone.
        reasons: what keeps the groups apart, in words.
    """

    runs: tuple[RunView, ...]
    groups: tuple[tuple[int, ...], ...]
    reasons: tuple[str, ...]


def compare(runs: Sequence[RunView], recipes: Sequence[str]) -> SideBySide:
    """Sort runs into groups of comparable accuracies; each joins the first that it agrees with.

    `recipes` are texts that are equal where the recipes are, one a run.
    Raises InputError for more runs than can be told apart.
    """
    if len(runs) > MOST_RUNS:
        raise InputError(f"dashboard: at most {MOST_RUNS} runs can be told apart, but there are {len(runs)}")
    apart: dict[str, None] = {}
    groups: list[list[int]] = []
    for place, run in enumerate(runs):
        for group in groups:
            words = [word for other in group for word in differences(run, runs[other])]
            words += ["the recipes"] if recipes[place] != recipes[group[0]] else []
            apart |= dict.fromkeys(words)
            if not words:
                group.append(place)
                break
        else:
            groups.append([place])
    reasons = tuple(apart) if len(groups) > 1 else ()
    return SideBySide(tuple(runs), tuple(map(tuple, groups)), reasons)


def differences(one: RunView, other: RunView) -> list[str]:
    """Return in words what keeps the accuracies of two runs from being comparable."""
    a, b = one.summary, other.summary
    found = {
        "the data": (a.fingerprint, a.train_images, a.val_images)
        != (b.fingerprint, b.train_images, b.val_images),
        "the training lengths": one.context.rungs != other.context.rungs,
        "the budgets": a.budget != b.budget,
        "the costs of the proxies": _other_proxies(one, other),
    }
    return [words for words, differ in found.items() if differ]


def _other_proxies(one: RunView, other: RunView) -> bool:
    a, b = _proxy_costs(one.trials), _proxy_costs(other.trials)
    return any(abs(a[level] / b[level] - 1) > CLOSE for level in a.keys() & b.keys())


def _proxy_costs(trials: Sequence[TrialRecord]) -> dict[float, int]:
    costs: dict[float, int] = {}
    for trial in trials:
        costs[trial.level] = max(trial.proxy.flops, costs.get(trial.level, 0))
    return costs


# Fronts


def front(run: RunView, axis: Axis) -> tuple[Point, ...]:
    """Return the front of a run as its own page draws it; of equal networks that which was trained."""
    trained = [trial for trial in run.trials if trial.repeats is None]
    return pareto_data(trained, run.context, axis).front


# Best so far


@dataclass(frozen=True)
class Course:
    """The best accuracy of a run so far, where it rose, against what was spent until then.

    Attributes:
        spent: by the names in SPENT; a last value after those of `best` is what was spent in all.
    """

    numbers: tuple[int, ...]
    best: tuple[float, ...]
    spent: Mapping[str, tuple[float, ...]]


def common_task(runs: Sequence[RunView]) -> tuple[float, int] | None:
    """Return the highest level, and in it the highest rung, at which every run has a score; None without."""
    tasks = [
        {(t.level, t.rung) for t in run.trials if t.arm == "search" and scored(t) is not None} for run in runs
    ]
    tasks = [found for found in tasks if found]
    common = set.intersection(*tasks) if tasks else set()
    return max(common, default=None)


def course(run: RunView, task: tuple[float, int]) -> Course:
    """Return the progress of a run's search at a level and a rung.

    What was spent counts all trainings of the search, whatever their level, rung and end, in the order in
    which they ended; random controls and re-trainings of finalists are not the search.
    """
    own = [t for t in run.trials if t.role == "search" and t.arm == "search" and t.repeats is None]
    own.sort(key=lambda t: (t.finished, t.number, t.rung))
    sums = {
        "trainings": [float(n) for n in range(1, len(own) + 1)],
        "images": list(accumulate(float(t.outcome.images) for t in own)),
        "seconds": list(accumulate(t.outcome.seconds for t in own)),
    }
    rises: list[tuple[int, int, float]] = []
    for at, t in enumerate(own):
        score = scored(t) if (t.level, t.rung) == task else None
        if score is not None and (not rises or score > rises[-1][2]):
            rises.append((at, t.number, score))
    places = [at for at, _, _ in rises] + ([len(own) - 1] if rises else [])
    spent = {name: tuple(values[at] for at in places) for name, values in sums.items()}
    return Course(tuple(n for _, n, _ in rises), tuple(score for _, _, score in rises), spent)
