"""Accuracy against cost: the Pareto front of a run, a view for each cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import numpy as np
import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, nothing_yet
from scalesearch.dashboard.panels.alike import alike
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.framing import accuracy_range, thinned
from scalesearch.dashboard.panels.pareto_data import (
    AXES,
    FLOPS,
    LATENCY,
    SECONDS,
    Axis,
    ParetoData,
    Point,
    longest_rung,
    pareto_data,
)
from scalesearch.dashboard.panels.pareto_words import caption, images_text, seeds_text
from scalesearch.dashboard.theme import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    empty_figure,
    figure,
)
from scalesearch.search.records import TrialRecord

TITLE = "Accuracy against cost"
ROWS = 3


def label_rows(positions: Sequence[float], widths: Sequence[float]) -> list[int | None]:
    """Return for each label the first row where it overlaps no earlier one, None where all ROWS are full.

    Positions and widths are shares of the axis, positions ascending. A label right of the middle grows
    to the left.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in range(ROWS)]
    rows: list[int | None] = []
    for position, width in zip(positions, widths, strict=True):
        start = position - width if position > 0.5 else position
        free = [
            row
            for row, spans in enumerate(taken)
            if all(start >= end or start + width <= begin for begin, end in spans)
        ]
        rows.append(free[0] if free else None)
        if free:
            taken[free[0]].append((start, start + width))
    return rows


def pareto(
    trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN
) -> go.Figure | Mapping[str, go.Figure]:
    """Draw the front against each cost: FLOPs, params, activations, latency and training time where known.

    A run with rungs has a view of its longest trainings, and a recorded comparison one of its networks: both
    are other trainings than those of the first rung, so neither is drawn among them.
    """
    drawn = {axis.name: _view(trials, context, axis, 0) for axis in AXES}
    longest = longest_rung(trials)
    if longest:
        drawn["longest training"] = _view(trials, context, FLOPS, longest)
    compared = context.surveys.get("compare")
    drawn["trained alike"] = None if compared is None else alike("Networks trained alike", compared)
    found = {name: fig for name, fig in drawn.items() if fig is not None}
    if FLOPS.name in found:
        return found
    empty = empty_figure(TITLE, nothing_yet(trials))
    return {FLOPS.name: empty} | found if found else empty


def _view(trials: Sequence[TrialRecord], context: Context, axis: Axis, rung: int) -> go.Figure | None:
    data = pareto_data(trials, context, axis, rung)
    if not (data.front or data.dominated or data.over):
        return None
    kept = thinned(
        [log10(point.cost) for point in data.dominated], [point.accuracy for point in data.dominated]
    )
    dominated = [data.dominated[index] for index in kept]
    fig = figure(TITLE, caption(data, axis, context, rung, len(dominated)), height=560)
    left, right = _edges(*data.span)
    fig.add_trace(_points(dominated, "dominated", {"color": MUTED, "size": 8, "opacity": 0.55}))
    _add_over(fig, data)
    _add_front(fig, data)
    _add_again(fig, data)
    _add_best(fig, data, context.best)
    if data.limit is not None:
        _add_limit(fig, axis, data.limit, right)
    _add_references(fig, data, axis, left, right)
    _add_failed(fig, data, axis)
    _lay_out(fig, data, axis, (left, right), images_text(context, rung))
    return fig


def _edges(low: float, high: float) -> tuple[float, float]:
    """Return where the cost axis begins and ends; the room at its sides is in proportion to what it spans."""
    room = min(1.25, max(1.04, (high / low) ** 0.3))
    return low / room, high * room


def _points(points: Sequence[Point], name: str, marker: dict[str, Any], **style: Any) -> go.Scatter:
    symbols: Any = "circle"
    if any(point.trial.arm == "control" for point in points):
        # The legend shows the symbol of the first.
        points = sorted(points, key=lambda point: point.trial.arm == "control")
        symbols = ["square" if point.trial.arm == "control" else "circle" for point in points]
    # Arrays, since Plotly looks at each element of a list.
    return go.Scatter(
        x=np.array([point.cost for point in points]),
        y=np.array([point.accuracy for point in points]),
        customdata=np.array([point.trial.number for point in points]),
        mode="markers",
        hoverinfo="none",
        marker={"symbol": symbols} | marker,
        name=name,
        **style,
    )


def _add_over(fig: go.Figure, data: ParetoData) -> None:
    kept = thinned([log10(point.cost) for point in data.over], [point.accuracy for point in data.over])
    crossed = {"color": MUTED, "size": 8, "symbol": "x-open"}
    over = [data.over[index] for index in kept]
    fig.add_trace(_points(over, "over budget", crossed, visible=bool(over)))


def _add_front(fig: go.Figure, data: ParetoData) -> None:
    x = [point.cost for point in data.front]
    y = [point.accuracy for point in data.front]
    if data.front and data.limit is not None:
        x, y = [*x, data.limit], [*y, y[-1]]
    line = {"shape": "hv", "color": BLUE, "width": 2.5}
    fig.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    fig.add_trace(
        _points(data.front, "front", {"color": BLUE, "size": 11, "line": {"color": "white", "width": 1}})
    )


def _add_again(fig: go.Figure, data: ParetoData) -> None:
    found = [again.finalist for again in data.again]
    fig.add_scatter(
        x=[again.cost for again in data.again],
        y=[one.accuracy for one in found],
        error_y={
            "array": [one.high - one.accuracy for one in found],
            "arrayminus": [one.accuracy - one.low for one in found],
            "width": 5,
            "thickness": 1.75,
        },
        customdata=[one.number for one in found],
        mode="markers",
        marker={"color": GREEN, "size": 11, "symbol": "diamond", "line": {"color": "white", "width": 1}},
        name=f"trained again, n = {seeds_text(data)}",
        hoverinfo="none",
        visible=bool(found),
    )


def _add_best(fig: go.Figure, data: ParetoData, best: int | None) -> None:
    """Ring the chosen trial; its point is under the ring even where others stand for its place."""
    chosen = [point for point in (*data.front, *data.dominated) if point.trial.number == best]
    fig.add_trace(
        _points(
            chosen,
            "chosen",
            {"symbol": "circle-open", "size": 19, "color": VERMILLION, "line": {"width": 2.5}},
            visible=bool(chosen),
        )
    )


def _add_limit(fig: go.Figure, axis: Axis, limit: float, right: float) -> None:
    shape = {"yref": "paper", "y0": 0, "y1": 1, "x0": limit}
    beyond = {"fillcolor": MUTED, "opacity": 0.14, "line": {"width": 0}, "layer": "below"}
    fig.add_shape(type="rect", x1=right, **beyond, **shape)
    fig.add_shape(type="line", x1=limit, line={"color": VERMILLION, "width": 2}, **shape)
    # On a log axis an annotation stands at the logarithm, a shape at the value.
    place = {"x": log10(limit), "y": 1, "yref": "paper", "xanchor": "right", "yanchor": "top"}
    words = f"{'budget' if axis is FLOPS else 'limit'} {axis.text(limit)}"
    fig.add_annotation(text=words, showarrow=False, font={"size": 12, "color": VERMILLION}, **place)


def _add_references(fig: go.Figure, data: ParetoData, axis: Axis, left: float, right: float) -> None:
    places = [log10(cost / left) / log10(right / left) for cost, _ in data.near]
    names = [label(near.name, 28) for _, near in data.near]
    # Sized for a narrow screen: there a character takes about 2 % of the axis.
    rows = label_rows(places, [0.02 * (len(near.name[:28]) + 2) for _, near in data.near])
    fig.add_scatter(
        x=[cost for cost, _ in data.near],
        y=[ROWS - 1 if row is None else row for row in rows],
        mode="markers+text",
        text=["" if row is None else f" {name} " for row, name in zip(rows, names, strict=True)],
        textposition=["middle left" if place > 0.5 else "middle right" for place in places],
        textfont={"size": 11},
        marker={"symbol": "line-ns", "size": 13, "line": {"width": 2, "color": MUTED}},
        name="published network, at its cost",
        hoverinfo="text",
        hovertext=[f"{label(near.name)}<br>{axis.text(cost)}" for cost, near in data.near],
        yaxis="y2",
        visible=bool(data.near),
    )


def _add_failed(fig: go.Figure, data: ParetoData, axis: Axis) -> None:
    failed = [] if axis.learned else [trial for trial in data.failed if axis.of(trial) > 0]
    costs = [axis.of(trial) for trial in failed]
    kept = thinned([log10(cost) for cost in costs], [0.0] * len(costs))
    fig.add_scatter(
        x=[costs[index] for index in kept],
        y=[-1] * len(kept),
        customdata=[failed[index].number for index in kept],
        mode="markers",
        marker={"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": PURPLE}},
        name="failed",
        hoverinfo="none",
        yaxis="y2",
        visible=bool(kept),
    )


def _lay_out(fig: go.Figure, data: ParetoData, axis: Axis, span: tuple[float, float], images: str) -> None:
    strip = bool(data.near or (data.failed and not axis.learned))
    fig.update_xaxes(
        type="log",
        range=[log10(span[0]), log10(span[1])],
        title={"text": axis.title},
        # Two ticks a power of ten; a narrower axis would have none with them.
        dtick="D2" if span[1] > 8 * span[0] else None,
        tickformat=",~r" if axis is SECONDS else "~s",
        ticksuffix="s" if axis is LATENCY else "",  # 5 milli is 5ms then, and no 5 millions
        anchor="y2" if strip else "y",
    )
    after = f" after {images}" if images else ""
    fig.update_layout(
        hovermode="closest",
        yaxis={
            "title": {"text": f"validation accuracy of the proxy{after}"},
            "tickformat": ".1~%",
            "range": accuracy_range(
                [point.accuracy for point in (*data.front, *data.dominated, *data.over)]
                + [bound for again in data.again for bound in (again.finalist.low, again.finalist.high)]
            ),
            "domain": [0.2 if strip else 0, 0.95],
        },
        yaxis2={
            "domain": [0, 0.17 if strip else 0.001],
            "range": [-1.6, ROWS - 0.4],
            "visible": False,
            "fixedrange": True,
        },
    )
