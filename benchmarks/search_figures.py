"""Figures of `search.py`: intervals, tests, how well models predict, and the tables of its report."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from processes import in_processes
from replay import Floats
from replay import Table as Recorded
from rich.console import Console
from rich.table import Table
from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.neighbors import KNeighborsRegressor

from scalesearch.search.ranking import rank_agreement
from scalesearch.search.surrogate import standardised

RESAMPLES = 9999
TREES = 100
FOLDS = 10
TINY = 1e-9  # a feature that deviates less is constant


def _gp_ard(x: Floats, y: Floats) -> Any:
    length = np.full(x.shape[1], x.shape[1] ** 0.5)
    kernel = ConstantKernel() * RBF(length, (1.0, 1e3)) + WhiteKernel(0.3, (0.01, 2.0))
    return GaussianProcessRegressor(kernel).fit(x, y)


# What the model of a search might have been instead.
RIVALS: dict[str, Any] = {
    "gp_ard": _gp_ard,
    "nearest": KNeighborsRegressor(1, p=1).fit,
    "random_forest": RandomForestRegressor(TREES, max_features=0.5, random_state=0).fit,
    "extra_trees": ExtraTreesRegressor(TREES, max_features=0.5, min_samples_leaf=2, random_state=0).fit,
}


def interval(values: Floats, seed: int) -> dict[str, float]:
    """Return the mean over seeds with its 95 % percentile interval."""
    rows = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[rows].mean(1), (0.025, 0.975))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def sign_test(differences: Floats, seed: int) -> float:
    """Return the two-sided p of a mean difference under exchanged signs, the observed ones counted in."""
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(RESAMPLES, len(differences)))
    extreme = np.abs(signs @ differences) >= abs(differences.sum()) * (1 - 1e-9)
    return (1 + int(extreme.sum())) / (1 + RESAMPLES)


def first_at_most(regret: Floats, level: float) -> int | None:
    """Return after how many trainings the mean regret is no more than a level; None where it never is."""
    reached = np.flatnonzero(regret.mean(0) <= level * (1 + 1e-9))
    return int(reached[0]) + 1 if len(reached) else None


def regressions(
    table: Recorded, images: int, seed: int, models: Mapping[str, Any], processes: int
) -> dict[str, Any]:
    """Return how well models, by name, predict losses that they were not shown; each is (x, y) -> fitted."""
    rows = table.having(images)
    x = table.view.features[rows]
    y = standardised(np.array([np.mean([loss for loss, _ in table.outcomes[images][row]]) for row in rows]))
    order = np.random.default_rng(seed).permutation(len(rows))
    folds = np.array_split(order, min(FOLDS, len(rows)))
    fits = [(fit, x, y, fold) for fit in models.values() for fold in folds]
    fitted = iter(in_processes(_left_out, fits, processes, "models"))
    found = {}
    for name in models:
        predicted, spent = zip(*(next(fitted) for _ in folds), strict=True)
        one = rank_agreement(-np.concatenate(predicted), -y[order], seed=seed)
        found[name] = {
            "spearman": one.spearman,
            "low": one.spearman_low,
            "high": one.spearman_high,
            "milliseconds_a_fit": 1e3 * float(np.mean(spent)),
        }
    return {"images": images, "networks": len(rows), "folds": len(folds), "models": found}


def _left_out(fit: Any, x: Floats, y: Floats, fold: Any) -> tuple[Floats, float]:
    """Return what a model of the other rows says of those of a fold, and the CPU seconds that it took."""
    began = time.process_time()
    others = np.setdiff1d(np.arange(len(y)), fold)
    deviation = x[others].std(0)
    scaled = (x - x[others].mean(0)) / np.where(deviation > TINY, deviation, np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length ends at a bound
        predicted = fit(scaled[others], y[others]).predict(scaled[fold])
    return predicted, time.process_time() - began


def print_report(report: dict[str, Any]) -> None:
    """Print every table of a report."""
    console = Console()
    for table in (
        regression_table(report["regressions"]),
        regret_table(report["short"], report["seeds"]),
        rival_table(report["short"]),
        *([long_table(report["long"], report["seeds"])] if "long" in report else []),
    ):
        console.print(table)
        console.print()


def regression_table(part: dict[str, Any]) -> Table:
    """Return how well the models predict."""
    table = _table(
        f"rank correlation of left-out predictions, {part['networks']} networks in {part['folds']} folds",
        *("model", "Spearman", "ms a fit"),
    )
    for name, one in part["models"].items():
        figure = {"mean": one["spearman"], **one}
        table.add_row(name, _words(figure), f"{one['milliseconds_a_fit']:.0f}")
    return table


def regret_table(part: dict[str, Any], seeds: int) -> Table:
    """Return regrets in loss after numbers of trainings."""
    title = (
        f"regret in loss after n trainings of {part['images']:,} images, {seeds} pools of "
        f"{part['pool'][0]} to {part['pool'][1]} of {part['networks']} networks"
    )
    table = _table(title, "method", *map(str, part["trainings"]), "ms a training")
    for name, one in part["methods"].items():
        spent = f"{one['milliseconds_a_training']:.0f}"
        table.add_row(name, *_filled(map(_words, one["loss"]), part), spent)
    return table


def rival_table(part: dict[str, Any]) -> Table:
    """Return regrets in accuracy points, p against random order, and trainings for NSGA-II's regret."""
    at = part["trainings"]
    heads = [f"{what} {n}" for what in ("points", "p", "NSGA-II's") for n in at]
    table = _table("the same: accuracy points, p of the mean regret until n, trainings", "method", *heads)
    for name, one in part["methods"].items():
        points = (f"{100 * figure['mean']:.1f}" for figure in one["accuracy"])
        ps = ("" if p is None else f"{p:.2g}" for p in one["p_of_mean_regret"])
        needed = ("never" if n is None else str(n) for n in one["trainings_to_nsga2"])
        table.add_row(name, *(cell for row in (points, ps, needed) for cell in _filled(row, part)))
    return table


def long_table(part: dict[str, Any], seeds: int) -> Table:
    """Return regrets at the longest length after numbers of images."""
    lengths = " and ".join(f"{images:,}" for images in part["lengths"])
    title = (
        f"regret in loss at {part['lengths'][-1]:,} images (p), {seeds} pools of {part['pool'][0]} to "
        f"{part['pool'][1]} of {part['networks']} networks trained on {lengths} images"
    )
    table = _table(title, "method", *(f"{n:,} images" for n in part["images"]))
    for name, one in part["methods"].items():
        ps = one["p_against_random"] or [None] * len(one["loss"])
        cells = [
            _words(loss) + ("" if p is None else f" ({p:.2g})")
            for loss, p in zip(one["loss"], ps, strict=True)
        ]
        table.add_row(name, *cells)
    return table


def _table(title: str, *heads: str) -> Table:
    return Table(*heads, title=title, title_justify="left", box=None, pad_edge=False)


def _filled(cells: Iterable[str], part: dict[str, Any]) -> list[str]:
    known = list(cells)
    return known + [""] * (len(part["trainings"]) - len(known))


def _words(figure: dict[str, float]) -> str:
    return f"{figure['mean']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
