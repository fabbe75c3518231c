"""Several runs side by side: which are comparable, their fronts, and what each had found for how much.

Accuracies are comparable only where the same data, recipe and training lengths stand behind them, and where
a budget means the same, since the cost of a proxy follows a level's share of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from scalesearch.dashboard.describe import scored
from scalesearch.dashboard.run_view import RunView
from scalesearch.errors import InputError
from scalesearch.search.records import TrialRecord

MOST_RUNS = 12
SPENT = ("trainings", "images", "seconds")
CLOSE = 0.05  # by which share the cost of proxies may differ: fits stop within 3 % of a limit


@dataclass(frozen=True)
class Comparison:
    """Runs in the order in which they were named, and which of them are comparable.

    Attributes:
        groups: places in `runs`; accuracies are comparable within a group alone.
        reasons: what keeps the groups apart, in words. recipes_known: whether recipes were compared.
    """

    runs: tuple[RunView, ...]
    groups: tuple[tuple[int, ...], ...]
    reasons: tuple[str, ...]
    recipes_known: bool


def compare(runs: Sequence[RunView], recipes: Sequence[str] = ()) -> Comparison:
    """Sort runs into groups of comparable accuracies; each joins the first that it agrees with.

    `recipes` are texts that are equal where the recipes are, one a run; without them they are not compared.
    Raises InputError for more runs than can be told apart.
    """
    if len(runs) > MOST_RUNS:
        raise InputError(f"dashboard: at most {MOST_RUNS} runs can be told apart, but there are {len(runs)}")
    texts = list(recipes) or [""] * len(runs)
    apart: dict[str, None] = {}
    groups: list[list[int]] = []
    for place, run in enumerate(runs):
        for group in groups:
            words = [word for other in group for word in differences(run, runs[other])]
            words += ["the recipes"] if texts[place] != texts[group[0]] else []
            apart |= dict.fromkeys(words)
            if not words:
                group.append(place)
                break
        else:
            groups.append([place])
    reasons = tuple(apart) if len(groups) > 1 else ()
    return Comparison(tuple(runs), tuple(map(tuple, groups)), reasons, bool(recipes))


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


@dataclass(frozen=True)
class FrontPoint:
    """A candidate on a run's front: its deployed network's cost and its proxy's accuracy, a fraction."""

    number: int
    cost: float
    accuracy: float


def front(run: RunView, cost: str) -> tuple[FrontPoint, ...]:
    """Return what no other candidate of the run dominates in a cost and accuracy, cost ascending.

    First-rung trainings alone, which are equally long. For FLOPs only the best of each level counts, since
    what the candidates of a level differ by in FLOPs is rounding.
    """
    scores = [(t, scored(t)) for t in run.trials if t.role == "search" and t.rung == 0 and t.repeats is None]
    points = [(t, accuracy) for t, accuracy in scores if accuracy is not None]
    if cost == "flops":
        best: dict[float, float] = {}
        for t, accuracy in points:
            best[t.level] = max(accuracy, best.get(t.level, accuracy))
        points = [(t, accuracy) for t, accuracy in points if accuracy == best[t.level]]
    found: list[FrontPoint] = []
    for t, accuracy in sorted(points, key=lambda p: (getattr(p[0].deployed, cost), -p[1], p[0].number)):
        if not found or accuracy > found[-1].accuracy:
            found.append(FrontPoint(t.number, getattr(t.deployed, cost), accuracy))
    return tuple(found)


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
