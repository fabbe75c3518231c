"""Networks of one cost that were trained alike: the report of `scalesearch compare` as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from scalesearch.dashboard.describe import label
from scalesearch.dashboard.theme import BLUE, GREEN, count_text, figure, flops_text, percent_text

MOST = 40  # networks that one picture shows


@dataclass(frozen=True)
class Entrant:
    """A network of a comparison: its accuracy, a fraction, with the 95 % interval, and what it costs.

    Attributes:
        first: the network that the others are compared with. seeds: trainings.
        difference: the first's accuracy less its own with the interval, in words; empty for the first.
    """

    name: str
    first: bool
    accuracy: float
    low: float
    high: float
    seeds: int
    flops: int
    params: int
    activations: int
    difference: str


def entrants(report: Mapping[str, Any]) -> tuple[Entrant, ...]:
    """Return the networks that have an accuracy, the worst first."""
    words = {one["second"]: one["text"] for one in report["differences"]}
    found = [
        Entrant(
            name=one["name"],
            first=place == 0,
            accuracy=one["accuracy"],
            low=one["interval"][0],
            high=one["interval"][1],
            seeds=one["seeds"],
            **{cost: one[cost] for cost in ("flops", "params", "activations")},
            difference=words.get(one["name"], ""),
        )
        for place, one in enumerate(report["networks"])
        if one["accuracy"] is not None
    ]
    return tuple(sorted(found, key=lambda one: (one.accuracy, one.name)))


def alike(title: str, report: Mapping[str, Any]) -> go.Figure | None:
    """Draw each network's accuracy with its interval in a row of its own, None where there is none.

    All cost nearly the same, so an axis of the cost would say nothing: it stands at the name.
    """
    found = entrants(report)
    if not found:
        return None
    fig = figure(title, _caption(report, found), height=170 + 46 * min(len(found), MOST))
    shown = found[-MOST:]
    for first, name, colour, symbol in (
        (False, "trained alike", GREEN, "diamond"),
        (True, "compared with the others", BLUE, "circle"),
    ):
        _add(fig, [(row, one) for row, one in enumerate(shown) if one.first == first], name, colour, symbol)
    part = "test" if report["judged"]["part"] == "test" else "validation"
    fig.update_xaxes(title={"text": f"{part} accuracy, with its 95 % interval"}, tickformat=".1~%")
    fig.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[f"{label(one.name, 22)}<br>{flops_text(one.flops)}" for one in shown],
        range=[-0.7, len(shown) - 0.3],
        fixedrange=True,
    )
    return fig.update_layout(hovermode="closest")


def _add(fig: go.Figure, rows: Sequence[tuple[int, Entrant]], name: str, colour: str, symbol: str) -> None:
    fig.add_scatter(
        x=[one.accuracy for _, one in rows],
        y=[row for row, _ in rows],
        error_x={
            "array": [one.high - one.accuracy for _, one in rows],
            "arrayminus": [one.accuracy - one.low for _, one in rows],
            "width": 5,
        },
        mode="markers",
        marker={"color": colour, "size": 11, "symbol": symbol},
        name=name,
        hoverinfo="text",
        hovertext=[_hover(one) for _, one in rows],
        visible=bool(rows),
    )


def _hover(one: Entrant) -> str:
    interval = f"[{percent_text(one.low)}, {percent_text(one.high)}], n = {one.seeds}"
    lines = [
        label(one.name),
        f"accuracy {percent_text(one.accuracy)} {interval}",
        flops_text(one.flops),
        f"{count_text(one.params)} params, {count_text(one.activations)} activations",
        *([label(one.difference, 120)] if one.difference else []),
    ]
    return "<br>".join(lines)


def _caption(report: Mapping[str, Any], found: Sequence[Entrant]) -> str:
    judged = report["judged"]
    part = "test" if judged["part"] == "test" else "validation"
    seeds = sorted({one.seeds for one in found})
    times = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    words = (
        "Networks of nearly equal cost, trained from scratch with the same recipe on "
        f"{report['images']:,} images, {times} {'time' if seeds[-1] == 1 else 'times'} each, and judged on "
        f"the same {judged['images']:,} {part} images. A bar is the 95 % interval of the mean. These are "
        "other trainings and other images than in the other views, so the numbers are not comparable with "
        "theirs."
    )
    lost = len(report["networks"]) - len(found)
    if lost:
        words += f" Without a complete training: {lost}."
    if len(found) > MOST:
        words += f" The best {MOST} of {len(found)} are shown."
    return words
