"""The timeline: which worker ran what and when, the pauses between the calls of a run cut out."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import plotly.graph_objects as go

from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.pauses import time_unit
from scalesearch.dashboard.panels.timeline_data import (
    AGAIN,
    CONTROL,
    FAILED,
    INTERRUPTED,
    MOST_BARS,
    Slice,
    TimelineData,
    merged,
    timeline_data,
)
from scalesearch.dashboard.theme import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    empty_figure,
    figure,
    seconds_text,
)
from scalesearch.search.records import TrialRecord

TITLE = "Timeline"
# Colour never stands alone: a pattern repeats it.
LOOKS = {
    CONTROL: (MUTED, "."),
    AGAIN: (VERMILLION, "\\"),
    FAILED: (PURPLE, "x"),
    INTERRUPTED: (MUTED, "-"),
}
RUNG_LOOKS = ((BLUE, ""), (GREEN, "/"), (BLUE, "|"), (GREEN, "+"))
HEIGHT = 0.8  # of a bar, where 1 is the distance of two rows


def timeline(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> go.Figure:
    """Draw a row for each worker and a bar for each training, coloured by what it was for."""
    data = timeline_data(trials)
    if not data.bars:
        words = "No training has ended yet." if not trials else "No record says when it was trained."
        return empty_figure(TITLE, words)
    many = len(data.bars) > MOST_BARS
    fig = figure(TITLE, _caption(data, many), height=min(640, 190 + 34 * len(data.workers)))
    unit, name = time_unit(data.span)
    (_add_slices if many else _add_bars)(fig, data, context, unit)
    _add_pauses(fig, data, unit)
    # The words at a pause stand above the rows, and below the buttons of the picture.
    fig.update_layout(barmode="overlay", hovermode="closest", margin={"t": 56})
    cut = ", pauses cut out" if data.pauses else ""
    fig.update_xaxes(
        title={"text": f"{name} since the first start{cut}"}, range=[0, 1.01 * data.span / unit], nticks=8
    )
    step = max(1, len(data.workers) // 16)
    fig.update_yaxes(
        tickvals=list(range(0, len(data.workers), step)),
        ticktext=[f"worker {worker}" for worker in data.workers[::step]],
        range=[len(data.workers) - 0.4, -0.6],
        showgrid=False,
    )
    return fig


def _caption(data: TimelineData, many: bool) -> str:
    share = data.busy / (data.span * len(data.workers))
    words = (
        f"A row is a worker, a bar a training from its start to its end: {len(data.bars):,} in all, "
        f"{seconds_text(median(bar.seconds for bar in data.bars))} in the middle. "
        f"Workers trained for {min(1.0, share):.0%} of the time shown. An interrupted training has a bar "
        "only once it was taken up again and ended."
    )
    if many:
        words += (
            f" {len(data.bars):,} trainings are too many to draw one by one: a column is a stretch of time, "
            "and a colour's height in it the share that its trainings took; the table has each."
        )
    if data.pauses:
        total = seconds_text(sum(pause.seconds for pause in data.pauses))
        times = "time" if len(data.pauses) == 1 else "times"
        words += f" The run paused {len(data.pauses)} {times}, {total} together, at the dotted lines."
    if data.repeated:
        words += f" Not drawn: {data.repeated:,} repeats, which needed no training."
    if data.unknown:
        words += f" Not drawn: {data.unknown:,} trainings whose records do not say when they ran."
    return words


def _look(kind: str) -> tuple[str, str]:
    return LOOKS[kind] if kind in LOOKS else RUNG_LOOKS[_rung(kind) % len(RUNG_LOOKS)]


def _rung(kind: str) -> int:
    return int(kind.split()[1]) - 1


def _named(kind: str, rungs: Sequence[int]) -> str:
    """Return the kind with the length of its trainings, where it is known."""
    rung = None if kind in LOOKS else _rung(kind)
    return kind if rung is None or rung >= len(rungs) else f"{kind}, {rungs[rung]:,} images"


def _style(kind: str, context: Context) -> dict[str, object]:
    colour, pattern = _look(kind)
    shape = {"shape": pattern, "fillmode": "replace", "size": 6, "solidity": 0.5}
    marker = {"color": colour, "pattern": shape, "line": {"color": colour, "width": 0.5}}
    return {"marker": marker, "name": _named(kind, context.rungs), "showlegend": True}


def _add_bars(fig: go.Figure, data: TimelineData, context: Context, unit: float) -> None:
    rows = {worker: row for row, worker in enumerate(data.workers)}
    for kind in data.kinds:
        bars = [bar for bar in data.bars if bar.kind == kind]
        fig.add_bar(
            x=[bar.seconds / unit for bar in bars],
            base=[bar.start / unit for bar in bars],
            y=[rows[bar.worker] for bar in bars],
            customdata=[bar.number for bar in bars],
            orientation="h",
            width=HEIGHT,
            hoverinfo="none",
            **_style(kind, context),
        )


def _add_slices(fig: go.Figure, data: TimelineData, context: Context, unit: float) -> None:
    slices = merged(data)
    rows = {worker: row for row, worker in enumerate(data.workers)}
    for kind in data.kinds:
        own = [part for part in slices if part.kind == kind]
        fig.add_bar(
            x=[(part.start + part.width / 2) / unit for part in own],
            width=[part.width / unit for part in own],
            # The axis points down: a column stands on the lower edge of its row.
            base=[rows[part.worker] + HEIGHT * (0.5 - part.below) for part in own],
            y=[-HEIGHT * part.share for part in own],
            hoverinfo="text",
            hovertext=[_slice_text(part, context.rungs) for part in own],
            **_style(kind, context),
        )


def _slice_text(part: Slice, rungs: Sequence[int]) -> str:
    low, high = min(part.numbers), max(part.numbers)
    trials = f"trial {low}" if low == high else f"trials {low} to {high}"
    counted = f"{len(part.numbers)} × {_named(part.kind, rungs)}"
    return f"worker {part.worker}<br>{counted}<br>{trials}<br>{part.share:.0%} of the stretch"


def _add_pauses(fig: go.Figure, data: TimelineData, unit: float) -> None:
    if not data.pauses:
        return
    bottom = len(data.workers) - 0.4
    ends = [(pause.at / unit, y) for pause in data.pauses for y in (-0.6, bottom, None)]
    x, y = zip(*ends, strict=True)
    line = {"color": VERMILLION, "width": 1.5, "dash": "dot"}
    fig.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name="pause")
    # One has room for words on a narrow screen; the caption counts all.
    pause = max(data.pauses, key=lambda pause: pause.seconds)
    fig.add_annotation(
        text=f"paused {seconds_text(pause.seconds)}",
        x=pause.at / unit,
        y=1,
        yref="paper",
        yanchor="bottom",
        xanchor="right" if pause.at > data.span / 2 else "left",
        showarrow=False,
        font={"size": 11, "color": VERMILLION},
    )
