"""The coefficient map: what depth, width and resolution take of the growth, coloured by accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from scalesearch.architecture.scaling import Coefficients
from scalesearch.dashboard.describe import label, nothing_yet
from scalesearch.dashboard.panels.coefficients_data import (
    FixedBase,
    Map,
    Place,
    Plateau,
    Triple,
    Which,
    coefficient_map,
    fixed_base,
)
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.framing import MOST
from scalesearch.dashboard.theme import (
    BLUE,
    GREEN,
    MUTED,
    PURPLE,
    VERMILLION,
    empty_figure,
    figure,
    percent_text,
)
from scalesearch.search.records import TrialRecord

TITLE = "Coefficients"
EFFICIENTNET = Coefficients(1.2, 1.1, 1.15)
# Worse to better than the median; size says the same as colour.
SCALE = ((0.0, BLUE), (0.5, "#A7AEB8"), (1.0, VERMILLION))
SMALLEST, LARGEST = 5.0, 13.0
MOST_PLATEAUS = 40
CELLS = 50  # along a side of the triangle
PARTS = ("depth", "width", "resolution")
REASON = "one of depth, width and resolution grew while another shrank, or none changed"
BAR: dict[str, Any] = {
    "orientation": "h",
    "x": 0.5,
    "y": 1.0,
    "yref": "container",
    "yanchor": "top",
    "len": 0.6,
    "thickness": 10,
    "tickvals": [0, 0.5, 1],
    "ticktext": ["worst", "median", "best"],
    "tickfont": {"size": 12},
    "tickangle": 0,
}


def coefficients(
    trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN
) -> go.Figure | Mapping[str, go.Figure]:
    """Draw the networks of a run on a triangle by realised multipliers, and the survey of a fixed base."""
    report = context.surveys.get("coefficients")
    surveyed = {} if report is None else {"on a fixed base": _survey_figure(fixed_base(report), report)}
    maps: dict[Which, Map] = {which: coefficient_map(trials, which) for which in ("deployed", "proxy")}
    if not any(found.places or found.left_out for found in maps.values()):
        return surveyed or empty_figure(TITLE, nothing_yet(trials))
    return {which: _map_figure(found, which) for which, found in maps.items()} | surveyed


def _map_figure(data: Map, which: Which) -> go.Figure:
    if not data.places:
        words = f"None of {data.left_out} {which} networks has a place on the triangle: {REASON}."
        return empty_figure(TITLE, words)
    fig = _triangle(_map_caption(data, which))
    _add_plateaus(fig, data.plateaus[:MOST_PLATEAUS])
    kinds = [(clamped, shrunk) for clamped in (False, True) for shrunk in (False, True)]
    shown = _drawn(data.places)
    for clamped, shrunk in kinds:
        own = [place for place in shown if (place.clamped, place.shrunk) == (clamped, shrunk)]
        if own:
            _add_places(fig, own, clamped=clamped, shrunk=shrunk)
    _add_mark(fig, EFFICIENTNET.shares, "EfficientNet", "EfficientNet 1.2 / 1.1 / 1.15", "star")
    return fig


def _map_caption(data: Map, which: Which) -> str:
    belongs = (
        "deployed network; the accuracy is that of its proxy" if which == "deployed" else "trained proxy"
    )
    words = (
        f"A point is a {belongs}. Its place is what depth, width and resolution took of the growth over its "
        "base, with the multipliers that rounding left; a corner is growth in that alone. Colour and size "
        "are the rank of the accuracy among the networks of the same level, so that levels are comparable."
    )
    if any(place.clamped for place in data.places):
        words += " Open symbols: the resolution hit a bound, so gamma is not identified."
    if any(place.shrunk for place in data.places):
        words += " Squares are smaller than their base: the shares are those of shrinking."
    words += _plateau_text(data.plateaus)
    left = len(data.places) - len(_drawn(data.places))
    if left:
        words += f" {left} points that lie under others are not drawn."
    if data.left_out:
        words += f" Left out: {data.left_out}, since {REASON}."
    return words


def _plateau_text(plateaus: Sequence[Plateau]) -> str:
    if not plateaus:
        return " No two drawn coefficient triples gave the same network."
    triples = sum(len(plateau.drawn) for plateau in plateaus)
    gave = "1 network" if len(plateaus) == 1 else f"{len(plateaus)} networks"
    text = (
        f" {triples} drawn coefficient triples gave {gave} only: a ring with a spoke to each of the triples."
    )
    if len(plateaus) > MOST_PLATEAUS:
        text += f" The {MOST_PLATEAUS} of most triples are shown."
    return text


def _drawn(places: Sequence[Place]) -> list[Place]:
    """Return the places that are drawn, the best last, so that it lies on top.

    Of many, the best of each cell of the triangle: about as large as a point, and 1,326 of them.
    """
    rising = sorted(places, key=lambda place: place.rank)
    if len(places) <= MOST:
        return rising
    best = {(round(CELLS * place.shares[0]), round(CELLS * place.shares[1])): place for place in rising}
    return sorted(best.values(), key=lambda place: place.rank)


# Parts of a triangle


def _triangle(caption: str) -> go.Figure:
    fig = figure(TITLE, caption, height=540)
    axis = {
        "tickformat": ".0%",
        "tickvals": [0.25, 0.5, 0.75],
        "gridcolor": "rgba(125,135,148,0.35)",
        "linecolor": MUTED,
        "tickfont": {"size": 11},
        "layer": "below traces",
    }
    names = {"aaxis": "depth α", "baxis": "width β", "caxis": "resolution γ"}
    axes = {key: axis | {"title": {"text": name, "font": {"size": 12}}} for key, name in names.items()}
    fig.update_layout(
        ternary={"sum": 1, "bgcolor": "rgba(0,0,0,0)", **axes},
        margin={"l": 56, "r": 56, "t": 76, "b": 72},
    )
    return fig


def _at(shares: Sequence[Triple]) -> dict[str, list[float]]:
    return {axis: [triple[index] for triple in shares] for index, axis in enumerate("abc")}


def _marker(ranks: Sequence[float], symbol: str, *, bar: bool) -> dict[str, Any]:
    marker: dict[str, Any] = {
        "symbol": symbol,
        "size": [SMALLEST + (LARGEST - SMALLEST) * rank for rank in ranks],
        "color": list(ranks),
        "cmin": 0,
        "cmax": 1,
        "colorscale": SCALE,
        "opacity": 0.85,
        "line": {"width": 1.5} if symbol.endswith("open") else {"width": 0.5, "color": MUTED},
    }
    if bar:
        marker |= {"showscale": True, "colorbar": BAR}
    return marker


def _add_places(fig: go.Figure, places: Sequence[Place], *, clamped: bool, shrunk: bool) -> None:
    symbol = f"{'square' if shrunk else 'circle'}{'-open' if clamped else ''}"
    name = f"{'shrank' if shrunk else 'grew'}{', gamma not identified' if clamped else ''}"
    first = not any(trace.marker.showscale for trace in fig.data)
    fig.add_scatterternary(
        **_at([place.shares for place in places]),
        customdata=[place.number for place in places],
        mode="markers",
        cliponaxis=False,
        hoverinfo="none",
        marker=_marker([place.rank for place in places], symbol, bar=first),
        name=name,
        showlegend=True,
    )


def _add_plateaus(fig: go.Figure, plateaus: Sequence[Plateau]) -> None:
    if not plateaus:
        return
    ends = [(plateau.centre, end) for plateau in plateaus for end in (*plateau.places, *plateau.drawn)]
    spokes = {axis: [value for a, b in ends for value in (a[i], b[i], None)] for i, axis in enumerate("abc")}
    line = {"color": PURPLE, "width": 1}
    fig.add_scatterternary(**spokes, mode="lines", line=line, opacity=0.6, hoverinfo="skip", showlegend=False)
    fig.add_scatterternary(
        **_at([plateau.centre for plateau in plateaus]),
        mode="markers",
        cliponaxis=False,
        marker={"symbol": "circle-open", "size": 18, "color": PURPLE, "line": {"width": 2}},
        name="one network of several triples",
        text=[f"{len(p.drawn)} triples, {len(p.numbers)} trials" for p in plateaus],
        hovertemplate="one network of %{text}<extra></extra>",
        showlegend=True,
    )


def _add_mark(fig: go.Figure, shares: Triple, name: str, hover: str, symbol: str) -> None:
    parts = ", ".join(f"{what} {percent_text(s)}" for what, s in zip(PARTS, shares, strict=True))
    fig.add_scatterternary(
        **_at([shares]),
        mode="markers",
        cliponaxis=False,
        marker={"symbol": symbol, "size": 16, "color": GREEN, "line": {"color": "white", "width": 1}},
        name=name,
        hovertemplate=f"{hover}<br>{parts}<extra></extra>",
        showlegend=True,
    )


# The survey of one base


def _survey_figure(data: FixedBase, report: Mapping[str, Any]) -> go.Figure:
    if not data.grown:
        return empty_figure(TITLE, "The survey of `scalesearch coefficients` has no complete training yet.")
    fig = _triangle(_survey_caption(data, report))
    ranks = [one.rank for one in data.grown]
    fig.add_scatterternary(
        **_at([one.shares for one in data.grown]),
        mode="markers",
        cliponaxis=False,
        marker=_marker(ranks, "circle", bar=True),
        name="trained direction",
        text=[
            f"{label(one.name, 30)}<br>loss {one.loss:.4g}, accuracy {percent_text(one.accuracy)}"
            f"<br>{one.seeds} seed{'s' if one.seeds > 1 else ''}"
            for one in data.grown
        ],
        hovertemplate="%{text}<extra></extra>",
        showlegend=True,
    )
    for rule in data.rules:
        if rule.name == "efficientnet":
            _add_mark(
                fig, rule.shares, "EfficientNet", f"1.2 / 1.1 / 1.15: {_judgement(rule.inside)}", "star"
            )
    if data.optimum is not None:
        _add_mark(fig, data.optimum, "optimum", "fitted optimum", "x")
    return fig


def _judgement(inside: bool | None) -> str:
    if inside is None:
        return "outside the trained points"
    return "as good as the optimum, as far as was measured" if inside else "worse than the optimum"


def _survey_caption(data: FixedBase, report: Mapping[str, Any]) -> str:
    words = (
        "A point is one base grown to equal cost in its own direction; colour and size are the rank by loss. "
    )
    if data.optimum is None:
        words += f"No optimum is fitted yet: {label(report['missing'], 160)}."
    else:
        words += f"Fitted: {label(report['verdict'], 300)}."
        alike = [label(rule.name, 20) for rule in data.rules if rule.inside]
        words += f" Rules on the plateau of the optimum: {', '.join(alike) or 'none'}."
    equal = len(report["points"])
    twins = sum(n for reason, n in report["left_out"].items() if reason.startswith("the same network"))
    if twins:
        words += f" {twins} further directions gave one of these {equal} networks again."
    if data.left_out:
        words += f" Left out: {data.left_out}, since {REASON}."
    return words
