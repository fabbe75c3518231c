"""The map of a space as a page: what its candidates cost, what decides the cost, what a budget leaves."""

from __future__ import annotations

from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from scalesearch.architecture.budget import BAND
from scalesearch.architecture.polynomials import MEASURES
from scalesearch.architecture.space_map import AtBudget, Share, SpaceMap, histogram, quantiles
from scalesearch.dashboard.content import figures_content
from scalesearch.dashboard.describe import NAMES, cost_text, label
from scalesearch.dashboard.first_screen import tile
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.theme import BLUE, GREEN, PURPLE, VERMILLION, figure, flops_text

BUDGET_WORDS = f"The line is the budget, its shade the band from {100 * BAND:.0f} % of it."
BAND_WORDS = f"{100 * BAND:.0f} % to 100 %"
GRID = 72  # cells of a side of params against FLOPs
TOP = 10
COLOURS = {"flops": BLUE, "params": GREEN, "activations": PURPLE}
UNITS = {
    "flops": "FLOPs (multiply-accumulates, log)",
    "params": "params (log)",
    "activations": "activations (log)",
}
# Colour never stands alone.
PATTERNS = {
    name: {"shape": shape, "fillmode": "overlay"}
    for name, shape in zip(MEASURES, ("", "/", "."), strict=True)
}
# From the card's own colour to blue, so that it reads in both modes.
SHADES = [[0, "rgba(0,114,178,0.12)"], [0.5, "rgba(0,114,178,0.55)"], [1, "rgb(0,114,178)"]]


def write_space_page(path: Path, name: str, bases: int, drawn: SpaceMap, limited: AtBudget | None) -> None:
    """Write the map of the space called `name` as one file that needs no network."""
    figures = [
        *(_histogram(drawn, measure, limited) for measure in MEASURES),
        _influences(drawn),
        _plane(drawn, limited),
    ]
    title = name if limited is None else f"{name} at {flops_text(limited.budget)}"
    screen = _screen(bases, drawn, limited)
    write_page(path, figures_content(title, "The map of a search space", screen, figures))


# Cards


def _screen(bases: int, drawn: SpaceMap, limited: AtBudget | None) -> str:
    cards = [_size_tile(bases, drawn), _cost_tile(drawn)]
    if limited is not None:
        cards += [_plain_tile(limited), _fitted_tile(limited)]
    return f'<main class="tiles">{"".join(cards)}</main>'


def _size_tile(bases: int, drawn: SpaceMap) -> str:
    power = len(str(bases)) - 1
    big = f"{bases:,}" if power < 9 else f"{bases // 10 ** (power - 2) / 100:.1f} × 10<sup>{power}</sup>"
    words = f"<b>{len(drawn):,}</b> of them drawn at random and costed in {drawn.seconds:.1f} s"
    return tile("How many bases", big, words, '<span class="quiet">Every leaf is drawn evenly.</span>')


def _cost_tile(drawn: SpaceMap) -> str:
    ends = {name: quantiles(drawn.cost(name), (0.05, 0.5, 0.95)) for name in MEASURES}
    lines = [
        f"<b>{cost_text(name, ends[name][0])}</b> to <b>{cost_text(name, ends[name][2])}</b>"
        for name in MEASURES
    ]
    quiet = '<span class="quiet">Half of the candidates are below; nine in ten lie in the ranges.</span>'
    return tile("What they cost", flops_text(ends["flops"][1]), *lines, quiet)


def _per_cent(share: Share) -> str:
    return f"{100 * share.value:.3g} %"


def _plain_tile(limited: AtBudget) -> str:
    band = limited.in_band
    low, high = (f"{100 * end:.3g} %" for end in band.interval)
    big = f"1 draw in {1 / band.value:,.0f}" if band.count else f"none of {band.n:,}"
    return tile(
        "What a rejection loop keeps",
        big,
        f"<b>{_per_cent(band)}</b> of plain draws take {BAND_WORDS} of the budget ({low} to {high}, 95 %)",
        f"<b>{_per_cent(limited.within)}</b> are within the budget at all",
    )


def _fitted_tile(limited: AtBudget) -> str:
    lines = [
        f"of <b>{limited.fitted_in_band.n:,}</b> candidates take {100 * BAND:.0f} % to 100 % of the budget"
    ]
    for name in ("params", "activations"):
        values = getattr(limited.fitted, name)
        if len(values):
            low, high = (cost_text(name, value) for value in quantiles(values, (0.05, 0.95)))
            lines.append(f"nine in ten have <b>{low}</b> to <b>{high}</b>")
    return tile("What the fit keeps", _per_cent(limited.fitted_in_band), *lines)


# Figures


def _log_axis(values: Any, title: str) -> dict[str, Any]:
    low, high = log10(min(values)), log10(max(values))
    return {
        "type": "log",
        "range": [low - 0.02, high + 0.02],
        "title": {"text": title},
        "tickvals": [10.0**power for power in range(floor(low), ceil(high) + 1)],
        "tickformat": "~s",
    }


def _histogram(drawn: SpaceMap, measure: str, limited: AtBudget | None) -> go.Figure:
    values, name = drawn.cost(measure), NAMES[measure]
    edges, counts = histogram(values)
    low, median, high = (cost_text(measure, q) for q in quantiles(values, (0.05, 0.5, 0.95)))
    caption = f"Bases as drawn: half have less than {median}, nine in ten lie from {low} to {high}."
    budget = limited.budget if limited is not None and measure == "flops" else None
    if budget is not None:
        caption += f" {BUDGET_WORDS}"
    fig = figure(f"How {name} are spread", caption, height=320)
    places, heights = 10**edges, 100 * np.append(counts, 0) / len(values)
    fig.add_scatter(
        x=places.tolist(),
        y=heights.tolist(),
        line={"shape": "hv", "color": COLOURS[measure], "width": 1.5},
        fill="tozeroy",
        customdata=[f"{cost_text(measure, at)}: {y:.2f} %" for at, y in zip(places, heights, strict=True)],
        hovertemplate="from %{customdata}<extra></extra>",
        showlegend=False,
    )
    shown = [values.min(), values.max()]
    if budget is not None:
        shown.append(budget)
        _add_budget(fig, budget)
    fig.update_xaxes(**_log_axis(shown, UNITS[measure]))
    fig.update_yaxes(title={"text": "candidates"}, ticksuffix=" %", rangemode="tozero")
    return fig


def _add_budget(fig: go.Figure, budget: float) -> None:
    across = {"yref": "paper", "y0": 0, "y1": 1}
    band = {"x0": BAND * budget, "x1": budget, "fillcolor": VERMILLION, "opacity": 0.5, "line": {"width": 0}}
    fig.add_shape(type="rect", **band, **across)
    line = {"color": VERMILLION, "width": 2}
    fig.add_shape(type="line", x0=budget, x1=budget, line=line, **across)
    # On a log axis an annotation stands at the logarithm, a shape at the value.
    fig.add_annotation(
        text=f"budget {flops_text(budget)}",
        x=log10(budget),
        y=1,
        yref="paper",
        yanchor="bottom",
        showarrow=False,
        font={"size": 12, "color": VERMILLION},
    )


def _influences(drawn: SpaceMap) -> go.Figure:
    caption = (
        "Share of the variance of each cost's logarithm that a leaf explains by itself (eta squared), "
        f"n = {drawn.surveyed:,}; the ten leaves that decide most of the FLOPs, from the top."
    )
    fig = figure("Which choices decide the cost", caption, height=560)
    top = drawn.influences[:TOP][::-1]
    for measure in reversed(MEASURES):
        shares = [100 * influence.shares[measure] for influence in top]
        fig.add_bar(
            y=[label(influence.leaf, 40) for influence in top],
            x=shares,
            orientation="h",
            name=NAMES[measure],
            marker={
                "color": COLOURS[measure],
                "pattern": PATTERNS[measure],
            },
            hovertemplate=f"%{{y}}<br>%{{x:.2f}} % of {NAMES[measure]}<extra></extra>",
        )
    fig.update_layout(barmode="group", bargap=0.25, legend={"traceorder": "reversed"})
    fig.update_xaxes(title={"text": "variance explained"}, ticksuffix=" %", rangemode="tozero")
    return fig


def _plane(drawn: SpaceMap, limited: AtBudget | None) -> go.Figure:
    flops, params = drawn.cost("flops"), drawn.cost("params")
    counts, across, up = np.histogram2d(np.log10(flops), np.log10(params), GRID)
    caption = "The stronger its colour, the more candidates lie in a cell (by the logarithm of the number)."
    if limited is not None:
        caption += f" {BUDGET_WORDS}"
    fig = figure("Params against FLOPs", caption, height=560)
    cells = [[log10(cell) if cell else None for cell in row] for row in counts.T]
    fig.add_heatmap(
        x=(10**across).tolist(),
        y=(10**up).tolist(),
        z=cells,
        customdata=counts.T.astype(int).tolist(),
        colorscale=SHADES,
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{customdata:,} candidates<br>%{x:.3s} FLOPs<br>%{y:.3s} params<extra></extra>",
    )
    shown = [flops.min(), flops.max()]
    if limited is not None:
        shown.append(limited.budget)
        _add_budget(fig, limited.budget)
    fig.update_xaxes(**_log_axis(shown, UNITS["flops"]))
    fig.update_yaxes(**_log_axis([params.min(), params.max()], UNITS["params"]))
    return fig
