"""Search progress: the best validation accuracy so far against trials, a line for each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, level_text, nothing_yet, scored
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.theme import DASHES, PALETTE, SYMBOLS, empty_figure, figure
from scalesearch.search.records import TrialRecord

TITLE = "Best so far"
CAPTION = (
    "The best validation accuracy of a proxy up to each trial, level by level; faint points are single "
    "trials. A line that has been flat for long says that more trials of this kind will hardly find better."
)


@dataclass(frozen=True)
class LevelProgress:
    """One level: its scored trials in the order of their numbers, and the best accuracy up to each."""

    level: float
    numbers: tuple[int, ...]
    accuracies: tuple[float, ...]
    best: tuple[float, ...]


def progress_data(trials: Sequence[TrialRecord]) -> tuple[LevelProgress, ...]:
    """Return the progress of each level that has a complete trial, the highest level first."""
    levels: dict[float, list[tuple[int, float]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        score = scored(trial) if trial.rung == 0 else None
        if score is not None:
            levels.setdefault(trial.level, []).append((trial.number, score))
    result = []
    for level in sorted(levels, reverse=True):
        numbers, accuracies = zip(*levels[level], strict=True)
        result.append(LevelProgress(level, numbers, accuracies, tuple(accumulate(accuracies, max))))
    return tuple(result)


def _add_level(fig: go.Figure, line: LevelProgress, index: int, last: int, budget: float | None) -> None:
    colour, dash = PALETTE[index % len(PALETTE)], DASHES[index % len(DASHES)]
    symbol = SYMBOLS[index % len(SYMBOLS)]
    name = label(level_text(line.level, budget))
    group = f"level-{index}"
    fig.add_scatter(
        x=line.numbers,
        y=line.accuracies,
        mode="markers",
        marker={"color": colour, "size": 7, "opacity": 0.4, "symbol": symbol},
        hovertemplate=f"trial %{{x}}<br>accuracy %{{y:.1%}} (proxy)<br>{name}<extra></extra>",
        legendgroup=group,
        showlegend=False,
    )
    fig.add_scatter(
        x=(*line.numbers, last),
        y=(*line.best, line.best[-1]),
        mode="lines",
        line={"shape": "hv", "color": colour, "dash": dash, "width": 2.5},
        hoverinfo="skip",
        legendgroup=group,
        name=name,
        showlegend=True,
    )


def progress(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> go.Figure:
    """Draw the best validation accuracy so far against the trial's number, per level of the budget."""
    data = progress_data(trials)
    if not data:
        return empty_figure(TITLE, nothing_yet(trials))
    fig = figure(TITLE, CAPTION, height=420)
    last = max(trial.number for trial in trials if trial.role == "search")
    for index, line in enumerate(data):
        _add_level(fig, line, index, last, context.budget)
    fig.update_xaxes(title={"text": "trial"}, rangemode="nonnegative")
    fig.update_yaxes(title={"text": "validation accuracy of the proxy"}, tickformat=".0%")
    return fig.update_layout(hovermode="closest")
