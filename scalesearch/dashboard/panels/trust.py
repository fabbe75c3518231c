"""Trust: how well short trainings order networks as longer ones do, beside what is known without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, level_text, nothing_yet
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.framing import thinned
from scalesearch.dashboard.panels.trust_data import (
    STATIC,
    RungPairs,
    Signal,
    Trust,
    recorded_signals,
    trust_data,
)
from scalesearch.dashboard.theme import MUTED, PALETTE, SYMBOLS, empty_figure, figure
from scalesearch.search.ranking import FEWEST_FOR_VERDICT, FEWEST_NETWORKS
from scalesearch.search.records import TrialRecord

TITLE = "Trust"
ROW = 40  # pixels of a signal: its name above its interval
PAIRS = 330  # pixels of the picture of pairs
AROUND = 150  # pixels of axis and legend


def trust(
    trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN
) -> go.Figure | Mapping[str, go.Figure]:
    """Draw the correlation of each signal with longer training, of the run and of a recorded survey."""
    report = context.surveys.get("trust")
    run = _run_figure(trust_data(trials, context.rungs, context.evidence), trials, context)
    return run if report is None else {"this run": run, "recorded survey": _survey_figure(report)}


# This run


def _run_figure(data: Trust, trials: Sequence[TrialRecord], context: Context) -> go.Figure:
    if data.level is None:
        return empty_figure(TITLE, nothing_yet(trials))
    pairs = [one for one in data.comparisons if one.pairs]
    if not (data.signals or pairs):
        words = f"A rank correlation needs {FEWEST_NETWORKS} trained networks of one level"
        return empty_figure(TITLE, f"{words}, and no level has them yet.")
    above, below = PAIRS * bool(pairs), ROW * len(data.signals)
    height = above + below + AROUND
    fig = figure(TITLE, _run_caption(data, context), height=height)
    names = [one.name for one in pairs]
    if data.signals:
        _add_forest(fig, data.signals, [*names, STATIC])
        # The pairs' own marks stand for both in the legend.
        fig.for_each_trace(lambda trace: trace.update(showlegend=False), lambda trace: trace.name in names)
    _add_pairs(fig, pairs, data.level)
    gap = 84 / height if pairs and data.signals else 0
    middle = below / max(1, above + below)
    return fig.update_layout(
        yaxis={"domain": [0, max(middle - gap, 0.001)], "visible": False, "fixedrange": True},
        xaxis={"visible": bool(data.signals)},
        yaxis2={"domain": [middle, 1], "anchor": "x2", "title": {"text": "loss after the longer training"}},
        xaxis2={"anchor": "y2", "title": {"text": "validation loss after the shorter training"}},
    )


def _run_caption(data: Trust, context: Context) -> str:
    words = ""
    if any(one.pairs for one in data.comparisons):
        words = (
            "Above, each mark is a candidate that was trained twice; the closer to one rising line, the "
            "better the shorter training foretells the longer. "
        )
    if data.signals:
        level = label(level_text(data.level or 0.0, context.budget))
        words += (
            f"Rank correlations are among candidates of one level, {level}: 1 orders them as the training it "
            "is held against does, 0 as chance does. Those sent on are the best, so they are harder to order "
            "than all. What is known without training is held against the first rung"
            f"{f', {context.rungs[0]:,} images' if context.rungs else ''}; a short training that does no "
            "better than that is not worth its cost."
        )
    return f"{words} {_short_text(data)}{_open_text(data.signals)}".strip()


def _short_text(data: Trust) -> str:
    if not data.comparisons:
        return "No candidate was trained longer yet, so no shorter training can be judged."
    parts = [f"{name} ({count} pair{'' if count == 1 else 's'})" for name, count in data.short]
    few = f"Fewer than the {FEWEST_NETWORKS} pairs that a correlation needs: {', '.join(parts)}."
    return few if parts else ""


def _open_text(signals: Sequence[Signal]) -> str:
    if not any(signal.n < FEWEST_FOR_VERDICT for signal in signals):
        return ""
    return f" Open marks: fewer than {FEWEST_FOR_VERDICT} networks are too few to say."


def _add_pairs(fig: go.Figure, comparisons: Sequence[RungPairs], level: float) -> None:
    """Draw loss against loss; open marks are of levels other than that of the forest."""
    for index, one in enumerate(comparisons):
        kept = thinned([pair.shorter for pair in one.pairs], [pair.longer for pair in one.pairs])
        # The legend shows the symbol of the first.
        pairs = sorted((one.pairs[place] for place in kept), key=lambda pair: pair.level != level)
        symbol = SYMBOLS[index % len(SYMBOLS)]
        fig.add_scatter(
            x=[pair.shorter for pair in pairs],
            y=[pair.longer for pair in pairs],
            xaxis="x2",
            yaxis="y2",
            customdata=[pair.number for pair in pairs],
            mode="markers",
            hoverinfo="none",
            marker={
                "color": PALETTE[index % len(PALETTE)],
                "symbol": [symbol if pair.level == level else f"{symbol}-open" for pair in pairs],
                "size": 8,
                "opacity": 0.8,
            },
            name=one.name,
            legendgroup=one.name,
            showlegend=True,
        )


# Forests


def _add_forest(fig: go.Figure, signals: Sequence[Signal], kinds: Sequence[str]) -> None:
    """Draw a dot with its interval for each signal, its name above, so that it fits on a narrow screen."""
    rows = dict(zip(signals, range(len(signals) - 1, -1, -1), strict=True))
    fig.add_vline(x=0, line={"color": MUTED, "width": 1}, xref="x", yref="y")
    for index, kind in enumerate(kinds):
        own = [signal for signal in signals if signal.kind == kind]
        if own:
            _add_kind(fig, own, [rows[signal] for signal in own], index)
    fig.add_scatter(
        x=[-1.0] * len(signals),
        y=[rows[signal] + 0.42 for signal in signals],
        mode="text",
        text=[f"{label(signal.name, 40)} (n = {signal.n})" for signal in signals],
        textposition="middle right",
        textfont={"size": 11},
        hoverinfo="skip",
        showlegend=False,
    )
    fig.update_layout(
        xaxis={
            "range": [-1.03, 1.03],
            "title": {"text": "Spearman’s rank correlation, 95 % interval"},
            "dtick": 0.5,
            "fixedrange": True,
        },
        yaxis={"range": [-0.5, len(signals) - 0.3], "visible": False, "fixedrange": True},
        hovermode="closest",
    )


def _add_kind(fig: go.Figure, signals: Sequence[Signal], rows: Sequence[int], index: int) -> None:
    colour, symbol = PALETTE[index % len(PALETTE)], SYMBOLS[index % len(SYMBOLS)]
    fig.add_scatter(
        x=[signal.spearman for signal in signals],
        y=rows,
        error_x={
            "array": [signal.high - signal.spearman for signal in signals],
            "arrayminus": [signal.spearman - signal.low for signal in signals],
            "color": colour,
            "thickness": 2,
            "width": 0,
        },
        mode="markers",
        marker={
            "color": colour,
            "size": 9,
            "symbol": [symbol if one.n >= FEWEST_FOR_VERDICT else f"{symbol}-open" for one in signals],
        },
        name=label(signals[0].kind, 40),
        legendgroup=label(signals[0].kind, 40),
        text=[_signal_text(signal) for signal in signals],
        hovertemplate="%{text}<extra></extra>",
        showlegend=True,
    )


def _signal_text(signal: Signal) -> str:
    figures = f"{signal.spearman:.2f} ({signal.low:.2f} to {signal.high:.2f}), n = {signal.n}"
    return f"{label(signal.name)}<br>{figures}<br>against {label(signal.truth)}"


# The recorded survey


def _survey_figure(report: Mapping[str, Any]) -> go.Figure:
    signals = recorded_signals(report)
    truth = report["truth"]
    if not signals:
        words = f"{truth['networks']} networks have their longest training, and a comparison needs "
        return empty_figure(TITLE, f"{words}{FEWEST_NETWORKS}: `scalesearch trust` continues the survey.")
    fig = figure(TITLE, _survey_caption(report, signals), height=ROW * len(signals) + AROUND)
    _add_forest(fig, signals, list(dict.fromkeys(signal.kind for signal in signals)))
    if truth["ceiling"] is not None:
        fig.add_vline(x=truth["ceiling"], line={"color": MUTED, "width": 2, "dash": "dash"})
    return fig


def _survey_caption(report: Mapping[str, Any], signals: Sequence[Signal]) -> str:
    truth = report["truth"]
    words = (
        f"Each signal against the validation loss after {truth['images']:,} training images, over "
        f"{truth['networks']} networks of a recorded survey"
    )
    data = report.get("data")
    words += f" on {label(data['name'], 40)}." if data else "."
    words += " Larger values of a score are expected to be better; one left of 0 orders the wrong way round."
    if truth["ceiling"] is not None:
        words += f" Dashed: what a perfect signal would reach, {truth['ceiling']:.2f}, since seeds differ."
    return words + _open_text(signals)
