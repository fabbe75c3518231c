"""Importance: what share of the variance of accuracy each choice explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import plotly.graph_objects as go
from pydantic import Field

from scalesearch.dashboard.describe import label, nothing_yet, scored
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.theme import BLUE, MUTED, VERMILLION, empty_figure, figure, percent_text
from scalesearch.search.importance import (
    FEWEST_OF_LEVEL,
    FEWEST_TRIALS,
    Effect,
    importance,
    leaf_order,
    usable,
)
from scalesearch.search.records import TrialRecord

TITLE = "Importance of choices"
CAPTION = (
    "The share of the variance of accuracy within a level that a choice explains by itself (one-way analysis "
    "of variance, epsilon squared), with the 95 % interval over random halves of the trials. A filled point "
    "beyond its bar is told from chance: where nothing matters, 95 of 100 pages have no such point. What two "
    "choices do only together is not seen, and choices that went together share what they explain. Where a "
    "choice was not asked, the operator or the repeats that decided so are counted instead."
)
ROW = 24  # pixels


@dataclass(frozen=True)
class Comparable:
    """First-rung trials with a score, as three columns: choices, accuracy (a fraction) and level."""

    trials: tuple[TrialRecord, ...]

    @property
    def columns(self) -> tuple[list[dict[str, object]], list[float], list[float]]:
        """Choices, accuracies and levels."""
        accuracies = [trial.outcome.val_accuracy or 0.0 for trial in self.trials]
        return [trial.params for trial in self.trials], accuracies, [trial.level for trial in self.trials]

    @property
    def usable(self) -> int:
        """How many of them share their level with enough others."""
        return int(usable([trial.level for trial in self.trials]).sum())


def comparable(trials: Sequence[TrialRecord]) -> Comparable:
    """Return the trials by whose accuracies choices can be judged: on equal training, each network once."""
    first = [trial for trial in trials if trial.rung == 0 and trial.repeats is None]
    return Comparable(tuple(trial for trial in first if scored(trial) is not None))


def effects(trials: Sequence[TrialRecord]) -> tuple[Effect, ...]:
    """Return the effects of all leaves, the largest first; none where there are too few trials."""
    found = comparable(trials)
    return importance(*found.columns) if found.usable >= FEWEST_TRIALS else ()


def order(trials: Sequence[TrialRecord]) -> tuple[str, ...]:
    """Return the leaves by their estimated share, the largest first; none where there are too few trials."""
    found = comparable(trials)
    return leaf_order(*found.columns) if found.usable >= FEWEST_TRIALS else ()


def _why_empty(trials: Sequence[TrialRecord]) -> str:
    found = comparable(trials)
    if not found.trials:
        return nothing_yet(trials)
    if found.usable < FEWEST_TRIALS:
        return (
            f"Too few trials: {found.usable} can be compared, {FEWEST_OF_LEVEL} or more on each level. "
            f"Importance needs at least {FEWEST_TRIALS}."
        )
    return f"No choice and no accuracy varied enough within a level, over {found.usable} trials."


def _hover(effect: Effect) -> str:
    verdict = "told from chance" if effect.told else "not told from chance"
    return (
        f"{label(effect.leaf)}<br>{percent_text(effect.share)}, 95 % interval {percent_text(effect.low)} to "
        f"{percent_text(effect.high)}<br>{verdict}: that gives up to {percent_text(effect.chance)}<br>"
        f"asked in {effect.asked} trials, {effect.groups} groups of values"
    )


def _points(rows: Sequence[tuple[int, Effect]], **style: object) -> go.Scatter:
    found = [effect for _, effect in rows]
    return go.Scatter(
        x=[effect.share for effect in found],
        y=[row for row, _ in rows],
        mode="markers",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [effect.high - effect.share for effect in found],
            "arrayminus": [effect.share - effect.low for effect in found],
            "thickness": 1.5,
            "width": 3,
        },
        text=[_hover(effect) for effect in found],
        hovertemplate="%{text}<extra></extra>",
        visible=bool(rows),
        **style,
    )


def _chance(shown: Sequence[Effect]) -> go.Scatter:
    return go.Scatter(
        x=[effect.chance for effect in shown],
        y=list(range(len(shown))),
        mode="markers",
        marker={"symbol": "line-ns", "size": 13, "line": {"width": 2, "color": VERMILLION}},
        name="most that chance gives",
        hoverinfo="skip",
    )


def importance_panel(
    trials: Sequence[TrialRecord],
    *,
    context: Context = NOTHING_KNOWN,
    top: Annotated[int, Field(ge=1)] = 15,
) -> go.Figure:
    """Draw the `top` leaves by their share, the most important one first."""
    found = effects(trials)
    if not found:
        return empty_figure(TITLE, _why_empty(trials))
    shown = found[:top]
    usable_trials = comparable(trials).usable
    words = f"{CAPTION} {usable_trials} trials with a score are compared."
    if len(found) > len(shown):
        words += f" {len(found) - len(shown)} more choices explain {percent_text(shown[-1].share)} or less."
    fig = figure(TITLE, words, height=110 + ROW * len(shown))
    rows = list(enumerate(shown))
    fig.add_trace(_chance(shown))
    told = {"symbol": "circle", "size": 10, "color": BLUE}
    open_ = {"symbol": "circle-open", "size": 9, "color": MUTED, "line": {"width": 2}}
    fig.add_trace(_points([row for row in rows if row[1].told], marker=told, name="told from chance"))
    fig.add_trace(
        _points([row for row in rows if not row[1].told], marker=open_, name="not told from chance")
    )
    fig.update_xaxes(
        title={"text": "share of variance explained"},
        tickformat=".0%",
        rangemode="tozero",
        fixedrange=True,
    )
    fig.update_yaxes(
        tickvals=[row for row, _ in rows],
        ticktext=[label(effect.leaf, 28) for effect in shown],
        range=[len(shown) - 0.4, -0.6],
        fixedrange=True,
        showgrid=False,
    )
    return fig
