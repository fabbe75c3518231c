"""The Pareto front: the proxy's validation accuracy against the deployed network's FLOPs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, nothing_yet, scored, trial_hover
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context, Reference
from scalesearch.dashboard.theme import BLUE, MUTED, PURPLE, VERMILLION, empty_figure, figure, flops_text
from scalesearch.search.records import TrialRecord

TITLE = "Accuracy against cost"
ROWS = 3


@dataclass(frozen=True)
class Point:
    """A complete trial: deployed multiply-accumulates, validation accuracy of the proxy as a fraction."""

    trial: TrialRecord
    flops: int
    accuracy: float


@dataclass(frozen=True)
class ParetoData:
    """Trials of the search by their part in the picture; finals and trials without a score have none.

    Attributes:
        front: cost and accuracy ascending; equal points are all kept.
        over: complete, but dearer than the budget.
        near, far: references inside and outside of the picture.
        span: the cost axis, from and to.
    """

    front: tuple[Point, ...]
    dominated: tuple[Point, ...]
    over: tuple[Point, ...]
    failed: tuple[TrialRecord, ...]
    interrupted: tuple[TrialRecord, ...]
    near: tuple[Reference, ...]
    far: tuple[Reference, ...]
    span: tuple[float, float]


def pareto_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the points that no other dominates in cost and accuracy, and that are the best of their level.

    Within a level accuracy alone ranks: all its candidates were fitted to the same budget, and what their
    costs differ by is rounding.
    """
    best: dict[float, float] = {}
    for point in points:
        best[point.trial.level] = max(point.accuracy, best.get(point.trial.level, point.accuracy))
    front = _not_dominated(points)
    return tuple(point for point in front if point.accuracy == best[point.trial.level])


def _not_dominated(points: Iterable[Point]) -> list[Point]:
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.flops, -point.accuracy)):
        equal = front and (point.flops, point.accuracy) == (front[-1].flops, front[-1].accuracy)
        if equal or not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front


def pareto_data(
    trials: Sequence[TrialRecord], budget: float | None = None, references: Sequence[Reference] = ()
) -> ParetoData:
    """Sort trials and references into the parts of the picture; first-rung trainings alone are comparable.

    A reference is near if its cost is within a factor of 4 of the costs that are drawn anyway.
    """
    search = [trial for trial in trials if trial.role == "search" and trial.rung == 0]
    scores = [(trial, scored(trial)) for trial in search]
    points = [Point(trial, trial.deployed.flops, score) for trial, score in scores if score is not None]
    feasible = [point for point in points if budget is None or point.flops <= budget]
    front = pareto_front(feasible)
    on_front = {id(point) for point in front}
    drawn: list[float] = [*(trial.deployed.flops for trial in search), *([budget] if budget else [])]
    low, high = min(drawn, default=1e6), max(drawn, default=1e10)
    near = [reference for reference in references if low / 4 <= reference.flops <= high * 4]
    costs = [low, high, *(reference.flops for reference in near)]
    return ParetoData(
        front=front,
        dominated=tuple(point for point in feasible if id(point) not in on_front),
        over=tuple(point for point in points if budget is not None and point.flops > budget),
        failed=tuple(trial for trial in search if trial.outcome.status == "failed"),
        interrupted=tuple(trial for trial in search if trial.outcome.status == "interrupted"),
        near=tuple(sorted(near, key=lambda reference: reference.flops)),
        far=tuple(reference for reference in references if reference not in near),
        span=(min(costs), max(costs)),
    )


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


def _caption(data: ParetoData) -> str:
    words = (
        "A point is a candidate: what its deployed network costs, and the validation accuracy that its proxy "
        "reached. The front joins the best of each level that beats all cheaper ones; dearer levels train "
        "dearer proxies. Published networks are marked at their cost only, "
        "since their published accuracies come from other data and longer training."
    )
    if any(point.trial.arm == "control" for point in (*data.front, *data.dominated)):
        words += " Squares are random draws, trained at equal cost to compare the search with."
    if len(data.front) + len(data.dominated) == 1:
        words += " One trial is complete so far, so the front is that trial."
    counts = (
        (len(data.failed), "failed"),
        (len(data.interrupted), "interrupted"),
        (len(data.over), "over budget"),
    )
    left_out = [f"{count} {name}" for count, name in counts if count]
    if left_out:
        words += f" Never on the front: {', '.join(left_out)}."
    if data.far:
        names = ", ".join(f"{label(far.name, 30)} ({flops_text(far.flops)})" for far in data.far[:3])
        more = f" and {len(data.far) - 3} more" if len(data.far) > 3 else ""
        words += f" Outside of the picture: {names}{more}."
    return words


def _points(
    points: Sequence[Point], budget: float | None, *, marker: dict[str, Any], **style: Any
) -> go.Scatter:
    symbols: Any = "circle"
    if any(point.trial.arm == "control" for point in points):
        symbols = ["square" if point.trial.arm == "control" else "circle" for point in points]
    return go.Scatter(
        x=[point.flops for point in points],
        y=[point.accuracy for point in points],
        mode="markers",
        hoverinfo="text",
        hovertext=[trial_hover(point.trial, budget) for point in points],
        marker={"symbol": symbols} | marker,
        **style,
    )


def _add_front(fig: go.Figure, data: ParetoData, budget: float | None) -> None:
    x: list[float] = [point.flops for point in data.front]
    y = [point.accuracy for point in data.front]
    if data.front and budget is not None:
        x, y = [*x, budget], [*y, y[-1]]
    line = {"shape": "hv", "color": BLUE, "width": 2.5}
    fig.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    marker = {"color": BLUE, "size": 11, "line": {"color": "white", "width": 1}}
    fig.add_trace(_points(data.front, budget, name="front", marker=marker))


def _add_best(fig: go.Figure, data: ParetoData, best: int | None) -> None:
    chosen = [point for point in (*data.front, *data.dominated) if point.trial.number == best]
    fig.add_scatter(
        x=[point.flops for point in chosen],
        y=[point.accuracy for point in chosen],
        mode="markers",
        marker={"symbol": "circle-open", "size": 19, "color": VERMILLION, "line": {"width": 2.5}},
        name="chosen",
        hoverinfo="skip",
        visible=bool(chosen),
    )


def _add_budget(fig: go.Figure, budget: float, right: float) -> None:
    shape = {"yref": "paper", "y0": 0, "y1": 1, "x0": budget}
    beyond = {"fillcolor": MUTED, "opacity": 0.14, "line": {"width": 0}, "layer": "below"}
    fig.add_shape(type="rect", x1=right, **beyond, **shape)
    fig.add_shape(type="line", x1=budget, line={"color": VERMILLION, "width": 2}, **shape)
    # On a log axis an annotation stands at the logarithm, a shape at the value.
    place = {"x": log10(budget), "y": 1, "yref": "paper", "xanchor": "right", "yanchor": "top"}
    words = f"budget {flops_text(budget)}"
    fig.add_annotation(text=words, showarrow=False, font={"size": 12, "color": VERMILLION}, **place)


def _add_references(fig: go.Figure, data: ParetoData, left: float, right: float) -> None:
    places = [log10(near.flops / left) / log10(right / left) for near in data.near]
    names = [label(near.name, 24) for near in data.near]
    # Sized for a narrow screen: there a character takes about 2 % of the axis.
    rows = label_rows(places, [0.02 * (len(near.name[:24]) + 2) for near in data.near])
    fig.add_scatter(
        x=[near.flops for near in data.near],
        y=[ROWS - 1 if row is None else row for row in rows],
        mode="markers+text",
        text=["" if row is None else f" {name} " for row, name in zip(rows, names, strict=True)],
        textposition=["middle left" if place > 0.5 else "middle right" for place in places],
        textfont={"size": 11},
        marker={"symbol": "line-ns", "size": 13, "line": {"width": 2, "color": MUTED}},
        name="published network, at its cost",
        hoverinfo="text",
        hovertext=[f"{label(near.name)}<br>{flops_text(near.flops)}" for near in data.near],
        yaxis="y2",
        visible=bool(data.near),
    )


def _add_failed(fig: go.Figure, data: ParetoData, budget: float | None) -> None:
    fig.add_scatter(
        x=[trial.deployed.flops for trial in data.failed],
        y=[-1] * len(data.failed),
        mode="markers",
        marker={"symbol": "x-thin", "size": 8, "line": {"width": 2, "color": PURPLE}},
        name="failed",
        hoverinfo="text",
        hovertext=[trial_hover(trial, budget) for trial in data.failed],
        yaxis="y2",
        visible=bool(data.failed),
    )


def pareto(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> go.Figure:
    """Draw the front over the levels, the budget as a wall, and published networks as ticks at their cost."""
    budget = context.budget
    data = pareto_data(trials, budget, context.references)
    if not (data.front or data.dominated or data.over):
        return empty_figure(TITLE, nothing_yet(trials))
    fig = figure(TITLE, _caption(data), height=560)
    left, right = data.span[0] / 1.25, data.span[1] * 1.25
    muted = {"color": MUTED, "size": 8, "opacity": 0.55}
    fig.add_trace(_points(data.dominated, budget, name="dominated", marker=muted))
    crossed = {"color": MUTED, "size": 8, "symbol": "x-open"}
    fig.add_trace(_points(data.over, budget, name="over budget", marker=crossed, visible=bool(data.over)))
    _add_front(fig, data, budget)
    _add_best(fig, data, context.best)
    if budget is not None:
        _add_budget(fig, budget, right)
    _add_references(fig, data, left, right)
    _add_failed(fig, data, budget)
    fig.update_xaxes(
        type="log",
        range=[log10(left), log10(right)],
        title={"text": "deployed FLOPs (multiply-accumulates, log)"},
        dtick="D2",
        tickformat="~s",
        anchor="y2",
    )
    strip = bool(data.near or data.failed)
    fig.update_layout(
        hovermode="closest",
        yaxis={
            "title": {"text": "validation accuracy of the proxy"},
            "tickformat": ".0%",
            "domain": [0.2 if strip else 0, 0.95],
        },
        yaxis2={
            "domain": [0, 0.17 if strip else 0.001],
            "range": [-1.6, ROWS - 0.4],
            "visible": False,
            "fixedrange": True,
        },
    )
    return fig
