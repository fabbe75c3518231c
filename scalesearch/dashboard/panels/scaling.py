"""Scaling curves: how accuracy grows with cost along a family, the law of it, and where the evidence ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, level_text, nothing_yet
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.scaling_data import (
    BEST_OF_LEVEL,
    Curve,
    Family,
    LevelPoint,
    Size,
    families_of,
    level_points,
)
from scalesearch.dashboard.theme import (
    DASHES,
    MUTED,
    PALETTE,
    SYMBOLS,
    VERMILLION,
    empty_figure,
    figure,
    flops_text,
    percent_text,
)
from scalesearch.search.records import TrialRecord

TITLE = "Scaling"
COMMAND = "`scalesearch law --run RUN`"
NAMED = 3  # families that the caption speaks of


def scaling(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> go.Figure:
    """Draw accuracy against FLOPs along each family with its law, or the levels' best where there is none."""
    report = context.surveys.get("law")
    budget = context.budget if report is None or context.budget is not None else report["budget_flops"]
    families = () if report is None else families_of(report, budget)
    if report is not None and families:
        return _law_figure(families, report, budget)
    points = level_points(trials)
    if len({point.level for point in points}) > 1:
        return _levels_figure(points, context)
    words = "No law is fitted" if points else f"{nothing_yet(trials)} No law is fitted"
    return empty_figure(TITLE, f"{words}: {COMMAND} trains members of many sizes and fits one.")


# The picture with a survey


def _law_figure(families: Sequence[Family], report: Mapping[str, Any], budget: float | None) -> go.Figure:
    fig = figure(TITLE, _caption(families, report, budget), height=540)
    for index, family in enumerate(families):
        _add_family(fig, family, index)
    ends = [family.supported_to for family in families if family.supported_to is not None]
    costs = [size.flops for family in families for size in family.sizes]
    right = max(1.2 * max([*costs, budget or 0]), 2.5 * max(ends, default=0))
    if ends:
        _add_end(fig, max(ends), right)
    if budget is not None:
        _add_budget(fig, budget)
    title = "FLOPs of the trained network (log)"
    return _with_axes(fig, min([*costs, budget or costs[0]]) / 1.2, right, title)


def _add_family(fig: go.Figure, family: Family, index: int) -> None:
    colour = PALETTE[index % len(PALETTE)]
    group = f"family-{index}"
    if family.curve is not None:
        _add_curve(fig, family.curve, index, group)
    seeds = [(size.flops, accuracy) for size in family.sizes for accuracy in size.accuracies]
    fig.add_scatter(
        x=[flops for flops, _ in seeds],
        y=[accuracy for _, accuracy in seeds],
        mode="markers",
        marker={"symbol": "line-ew", "size": 8, "line": {"color": colour, "width": 1.5}},
        hoverinfo="skip",
        legendgroup=group,
        showlegend=False,
    )
    means, name = [size.mean for size in family.sizes], label(family.name, 30)
    fig.add_scatter(
        x=[size.flops for size in family.sizes],
        y=means,
        error_y={
            "array": [max(s.accuracies) - m for s, m in zip(family.sizes, means, strict=True)],
            "arrayminus": [m - min(s.accuracies) for s, m in zip(family.sizes, means, strict=True)],
            "color": colour,
            "width": 0,
            "thickness": 1.5,
        },
        mode="markers",
        marker={"color": colour, "symbol": SYMBOLS[index % len(SYMBOLS)], "size": 9},
        name=name if family.curve else f"{name} (no law yet)",
        legendgroup=group,
        hovertemplate="%{text}<extra></extra>",
        text=[f"{name}<br>{_size_text(size)}" for size in family.sizes],
        showlegend=True,
    )


def _size_text(size: Size) -> str:
    n = len(size.accuracies)
    spread = (
        f", {percent_text(min(size.accuracies))} to {percent_text(max(size.accuracies))}" if n > 1 else ""
    )
    seeds = f"{n} seeds" if n > 1 else "1 seed"
    side = label(size.resolution, 20)
    return f"{flops_text(size.flops)}, {side}<br>accuracy {percent_text(size.mean)} ({seeds}{spread})"


def _add_curve(fig: go.Figure, curve: Curve, index: int, group: str) -> None:
    colour = PALETTE[index % len(PALETTE)]
    fig.add_scatter(
        x=[*curve.flops, *reversed(curve.flops)],
        y=[*curve.high, *reversed(curve.low)],
        fill="toself",
        mode="none",
        fillcolor=f"rgba({int(colour[1:3], 16)},{int(colour[3:5], 16)},{int(colour[5:], 16)},0.22)",
        hoverinfo="skip",
        legendgroup=group,
        showlegend=False,
    )
    fig.add_scatter(
        x=curve.flops,
        y=curve.values,
        mode="lines",
        line={"color": colour, "dash": DASHES[index % len(DASHES)], "width": 2.5},
        hovertemplate="law: %{y:.1%} at %{x:.3s}FLOPs<extra></extra>",
        legendgroup=group,
        showlegend=False,
    )


def _add_end(fig: go.Figure, end: float, right: float) -> None:
    shape = {"yref": "paper", "y0": 0, "y1": 1, "x0": end}
    beyond = {"fillcolor": MUTED, "opacity": 0.14, "line": {"width": 0}, "layer": "below"}
    fig.add_shape(type="rect", x1=right, **beyond, **shape)
    # On a log axis an annotation stands at the logarithm, a shape at the value.
    middle = (log10(end) + log10(right)) / 2
    place = {"x": middle, "y": 0.5, "yref": "paper", "textangle": -90, "showarrow": False}
    fig.add_annotation(text="not supported by evidence", font={"size": 12}, **place)


def _add_budget(fig: go.Figure, budget: float) -> None:
    line = {"color": VERMILLION, "width": 2}
    fig.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="paper", line=line)
    place = {"x": log10(budget), "y": 1, "yref": "paper", "xanchor": "right", "yanchor": "bottom"}
    words = f"budget {flops_text(budget)}"
    fig.add_annotation(text=words, showarrow=False, font={"size": 12, "color": VERMILLION}, **place)


def _with_axes(fig: go.Figure, left: float, right: float, title: str) -> go.Figure:
    fig.update_xaxes(
        type="log",
        range=[log10(left), log10(right)],
        title={"text": title},
        dtick="D2" if right / left < 100 else 1,
        tickformat="~s",
    )
    fig.update_yaxes(title={"text": "validation accuracy"}, tickformat=".0%")
    return fig.update_layout(hovermode="closest")


def _caption(families: Sequence[Family], report: Mapping[str, Any], budget: float | None) -> str:
    words = "A mark is the mean accuracy of one member of a family, with the span of its seeds."
    if any(family.curve for family in families):
        words += (
            " The line is the law fitted to them, the band its 95 % interval. Both end at 4 times the "
            "largest size: beyond that nothing is supported by evidence."
        )
    words = " ".join([words, *(_family_text(family, budget) for family in families[:NAMED])])
    if len(families) > NAMED:
        words += f" {len(families) - NAMED} more families are drawn."
    claim = report.get("claim")
    return f"{words} It holds where {label(claim, 400)}." if claim else words


def _family_text(family: Family, budget: float | None) -> str:
    name = label(family.name, 30)
    if family.held_out is None:
        return f"{name} has no law yet: {label(family.missing, 160)}."
    held = family.held_out
    text = (
        f"{name}: fitted without its largest size, the law foretells {percent_text(held.predicted)} there "
        f"({percent_text(held.low)} to {percent_text(held.high)}) where {percent_text(held.actual)} was "
        f"reached, a hold-out error of {100 * (held.predicted - held.actual):+.1f} points."
    )
    if family.at_budget is not None:
        value, low, high = map(percent_text, family.at_budget)
        text += f" At the budget: {value} ({low} to {high})."
    elif budget is not None:
        text += " At the budget: not supported by evidence."
    return text


# The picture without


def _levels_figure(points: Sequence[LevelPoint], context: Context) -> go.Figure:
    images = f" after {context.rungs[0]:,} training images" if context.rungs else ""
    caption = (
        f"The best {BEST_OF_LEVEL} proxies of each level{images}, at their own cost: dearer levels train "
        f"dearer proxies. No law is fitted, so nothing joins the points: {COMMAND} trains members of one "
        "family at many sizes with repeats, and fits one."
    )
    fig = figure(TITLE, caption, height=420)
    for index, level in enumerate(sorted({point.level for point in points}, reverse=True)):
        own = [point for point in points if point.level == level]
        fig.add_scatter(
            x=[point.flops for point in own],
            y=[point.accuracy for point in own],
            customdata=[point.number for point in own],
            mode="markers",
            hoverinfo="none",
            marker={
                "color": PALETTE[index % len(PALETTE)],
                "symbol": SYMBOLS[index % len(SYMBOLS)],
                "size": 10,
                "opacity": 0.75,
            },
            name=label(level_text(level, context.budget)),
            showlegend=True,
        )
    costs = [point.flops for point in points]
    title = "FLOPs of the proxy (log)"
    fig = _with_axes(fig, min(costs) / 1.15, max(costs) * 1.15, title)
    return fig.update_yaxes(title={"text": "validation accuracy of the proxy"})
