"""Search progress: best accuracy so far and hypervolume, against trials, images and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, level_text, nothing_yet
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.framing import MOST, accuracy_range, thinned
from scalesearch.dashboard.panels.pauses import time_unit
from scalesearch.dashboard.panels.progress_data import (
    LevelProgress,
    ProgressData,
    Volume,
    progress_data,
    steps,
)
from scalesearch.dashboard.theme import (
    DASHES,
    MUTED,
    PALETTE,
    SYMBOLS,
    empty_figure,
    figure,
    flops_text,
    seconds_text,
)
from scalesearch.search.records import TrialRecord

TITLE = "Search progress"
DOTTED = "2px,3px"
ABOUT = (
    "The best validation accuracy of a proxy so far, level by level; faint points are single trials. A line "
    "that has been flat for long says that more trials of this kind will hardly find better."
)


def progress(
    trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN
) -> go.Figure | Mapping[str, go.Figure]:
    """Draw the best accuracy so far of each level, and the hypervolume, against trials, images and time.

    Random draws of equal cost have lines of their own, each arm by what it spent itself.
    """
    data = progress_data(trials, context.budget)
    if not data.lines:
        return empty_figure(TITLE, nothing_yet(trials))
    return {clock: _view(data, clock, context.budget) for clock in data.clocks}


def _view(data: ProgressData, clock: str, budget: float | None) -> go.Figure:
    levels = sorted({line.level for line in data.lines}, reverse=True)
    places = [levels.index(line.level) for line in data.lines]
    shown = [_shown(line, clock, MOST // len(data.lines)) for line in data.lines]
    fig = figure(TITLE, _caption(data, clock, sum(map(len, shown))), height=600)
    unit, words = _unit(data, clock)
    for line, place, kept in zip(data.lines, places, shown, strict=True):
        _add_points(fig, line, kept, clock, unit, place)
    for line, place in zip(data.lines, places, strict=True):
        _add_best(fig, line, clock, unit, place, budget)
    for volume in data.volumes:
        _add_volume(fig, volume, clock, unit)
    # A handful of trials would have ticks between whole numbers.
    few = clock == "trials" and max(line.ends[clock] for line in data.lines) < 6
    fig.update_xaxes(title={"text": words}, rangemode="tozero", anchor="y2", dtick=1 if few else None)
    axis = {
        "title": {"text": "validation accuracy of the proxy"},
        "tickformat": ".1~%",
        "domain": [0.36, 1],
        "range": accuracy_range([accuracy for line in data.lines for accuracy in line.accuracies]),
    }
    below = {
        "title": {"text": "hypervolume"},
        "domain": [0, 0.28],
        "nticks": 5,
        "range": _range(data.volumes),
    }
    return fig.update_layout(hovermode="closest", yaxis=axis, yaxis2=below)


def _unit(data: ProgressData, clock: str) -> tuple[float, str]:
    """Return what a unit of the axis is worth, and the axis in words."""
    each = ", of each arm" if _has_control(data) else ""
    if clock == "trials":
        return 1, f"trials: first trainings that ended{each}"
    if clock == "images":
        return 1, f"training images, of all trainings{each}"
    last = max(line.ends[clock] for line in data.lines)
    unit, name = time_unit(last)
    return unit, f"time since the first training began ({name})"


def _range(volumes: Sequence[Volume]) -> list[float]:
    """Return what the axis of the hypervolume spans.

    It begins where each level was tried: the jumps before, one a level, would leave the rest no room.
    """
    low = min((volume.settled for volume in volumes if volume.values), default=0.0)
    high = max((volume.values[-1] for volume in volumes if volume.values), default=0.0)
    return [low - 0.1 * (high - low), high + 0.1 * (high - low)] if high > low else [0.0, 2 * high or 1.0]


def _has_control(data: ProgressData) -> bool:
    return any(line.arm == "control" for line in data.lines)


def _style(place: int) -> tuple[str, str, str]:
    """Return colour, dash and symbol of the level with this place among all."""
    return PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)], SYMBOLS[place % len(SYMBOLS)]


def _shown(line: LevelProgress, clock: str, most: int) -> list[int]:
    return thinned(line.spent[clock], line.accuracies, most)


def _add_points(
    fig: go.Figure, line: LevelProgress, kept: Sequence[int], clock: str, unit: float, place: int
) -> None:
    colour, _, symbol = _style(place)
    control = line.arm == "control"
    fig.add_scatter(
        x=np.array(line.spent[clock])[kept] / unit,
        y=np.array(line.accuracies)[kept],
        customdata=np.array(line.numbers)[kept],
        mode="markers",
        marker={
            "color": colour,
            "size": 7,
            "opacity": 0.5 if control else 0.4,
            "symbol": f"{symbol}-open" if control else symbol,
        },
        hoverinfo="none",
        legendgroup=f"level-{place}",
        showlegend=False,
    )


def _add_best(
    fig: go.Figure, line: LevelProgress, clock: str, unit: float, place: int, budget: float | None
) -> None:
    colour, dash, _ = _style(place)
    control = line.arm == "control"
    x, y = steps(line.spent[clock], line.best, line.ends[clock])
    drawn = {"dash": DOTTED, "width": 1.75} if control else {"dash": dash, "width": 2.5}
    fig.add_scatter(
        x=[value / unit for value in x],
        y=y,
        mode="lines",
        line={"shape": "hv", "color": colour} | drawn,
        hoverinfo="skip",
        legendgroup=f"level-{place}",
        name=label(level_text(line.level, budget)),
        showlegend=not control,
    )


def _add_volume(fig: go.Figure, volume: Volume, clock: str, unit: float) -> None:
    if not volume.values:
        return
    control = volume.arm == "control"
    x, y = steps(volume.spent[clock], volume.values, volume.ends[clock])
    name = "random draws of equal cost" if control else "search"
    fig.add_scatter(
        x=[value / unit for value in x],
        y=y,
        mode="lines+markers",
        line={
            "shape": "hv",
            "color": MUTED,
            "dash": DOTTED if control else "solid",
            "width": 1.75 if control else 2.5,
        },
        marker={"size": 5, "symbol": "circle-open" if control else "circle"},
        hovertemplate=f"hypervolume %{{y:.3f}}<br>{name}<extra></extra>",
        name=name,
        showlegend=control,
        yaxis="y2",
    )


def _caption(data: ProgressData, clock: str, drawn: int) -> str:
    words = [ABOUT, _volume_words(data)]
    if _has_control(data):
        words.append(_control_words(clock))
    if clock == "time":
        words.append(_pause_words(data.pauses))
    points = sum(len(line.numbers) for line in data.lines)
    if drawn < points:
        words.append(f"Of {points:,} points {drawn:,} are drawn; the others lie close to them.")
    return " ".join(words)


def _volume_words(data: ProgressData) -> str:
    return (
        "The hypervolume below is the area between the front and a network of "
        f"{flops_text(data.dearest)} that is never right, in accuracy (0 to 1) times decades of FLOPs: it "
        "grows with every better front, at any level. Its axis begins where each level had been tried."
    )


def _control_words(clock: str) -> str:
    how = "both arms took turns on one clock" if clock == "time" else "each arm is counted by itself"
    return (
        "Dotted lines and open symbols are random draws, trained at equal cost to compare the search with; "
        f"{how}."
    )


def _pause_words(pauses: Sequence[float]) -> str:
    if not pauses:
        return "There was no long time without a training of the search."
    many = f"{len(pauses)} times" if len(pauses) > 1 else "A time"
    verb = "are" if len(pauses) > 1 else "is"
    return f"{many} without a training of the search, {seconds_text(sum(pauses))} in all, {verb} left out."
