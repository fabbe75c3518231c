"""Accuracy by operator: for each stage of the space, how the trials with each operator did."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import plotly.graph_objects as go

from scalesearch.dashboard.describe import label, nothing_yet
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.importance import comparable
from scalesearch.dashboard.theme import BLUE, MUTED, empty_figure, figure
from scalesearch.search.records import TrialRecord

TITLE = "Accuracy by operator"
CAPTION = (
    "For each stage of the space, the accuracies of the trials that drew an operator there, less the mean of "
    "their level. A box spans the middle half, its line is the median, the whiskers reach the extremes; n is "
    "the number of trials. Other choices went along with the operator: importance says which stages' "
    "operators are told from chance."
)
ABSENT = "absent"
FEWEST = 6
FEWEST_FOR_BOX = 5
MOST_POINTS = 1500
MOST_STAGES = 12
ROW = 19  # pixels
OPERATOR_LEAF = re.compile(r"stages\.(\d+)\.operator")


@dataclass(frozen=True)
class Group:
    """The trials that drew one operator, or none, for a stage.

    Attributes:
        operator: its name, or None where the stage was absent.
        numbers: of the trials. differences: accuracies less their level's mean, fractions.
    """

    operator: str | None
    numbers: tuple[int, ...]
    differences: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean difference, a fraction."""
        return fmean(self.differences)

    @property
    def quartiles(self) -> tuple[float, ...]:
        """Least, lower quartile, median, upper quartile and greatest difference."""
        return tuple(np.quantile(self.differences, [0, 0.25, 0.5, 0.75, 1]).tolist())


@dataclass(frozen=True)
class StageGroups:
    """A stage of the space's table, counted from 1, with its operators: the best mean first."""

    stage: int
    groups: tuple[Group, ...]


def operators_data(trials: Sequence[TrialRecord]) -> tuple[StageGroups, ...]:
    """Return the stages whose operator is a choice that was made in at least two ways, in order.

    Compared are trials with a score on the first rung that share their level with another one.
    """
    by_level: dict[float, list[TrialRecord]] = defaultdict(list)
    for trial in comparable(trials).trials:
        by_level[trial.level].append(trial)
    found: dict[int, dict[str | None, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for level in by_level.values():
        mean = fmean(_accuracy(trial) for trial in level)
        for trial in level if len(level) > 1 else ():
            for stage, operator in _operators(trial):
                found[stage][operator].append((trial.number, _accuracy(trial) - mean))
    return tuple(
        StageGroups(stage + 1, _ranked(groups)) for stage, groups in sorted(found.items()) if len(groups) > 1
    )


def _accuracy(trial: TrialRecord) -> float:
    return trial.outcome.val_accuracy or 0.0


def _operators(trial: TrialRecord) -> list[tuple[int, str | None]]:
    """Return the operator that was drawn for each stage, None where its repeats made it absent."""
    stages = [(OPERATOR_LEAF.fullmatch(leaf), value) for leaf, value in trial.params.items()]
    drawn = [(int(match[1]), value) for match, value in stages if match]
    return [
        (stage, None if trial.params.get(f"stages.{stage}.repeats") == 0 else str(value))
        for stage, value in drawn
    ]


def _ranked(groups: dict[str | None, list[tuple[int, float]]]) -> tuple[Group, ...]:
    made = [
        Group(name, tuple(number for number, _ in rows), tuple(difference for _, difference in rows))
        for name, rows in groups.items()
    ]
    return tuple(sorted(made, key=lambda group: (-group.mean, group.operator or "")))


@dataclass(frozen=True)
class _Row:
    """A line of the picture: a stage's heading, or a group of it."""

    text: str
    group: Group | None = None


def _rows(stages: Sequence[StageGroups]) -> list[_Row]:
    rows = []
    for stage in stages:
        rows.append(_Row(f"<b>stage {stage.stage}</b>"))
        for group in stage.groups:
            name = ABSENT if group.operator is None else label(group.operator, 20)
            rows.append(_Row(f"{name}  n={len(group.numbers)}", group))
    return rows


def _boxes(rows: Sequence[tuple[int, Group]]) -> go.Box:
    spans = [group.quartiles for _, group in rows]
    low, q1, median, q3, high = zip(*spans, strict=True) if spans else ((),) * 5
    return go.Box(
        y=[row for row, _ in rows],
        lowerfence=low,
        q1=q1,
        median=median,
        q3=q3,
        upperfence=high,
        orientation="h",
        width=0.62,
        line={"color": BLUE, "width": 1.5},
        fillcolor="rgba(0,114,178,0.18)",
        hoverinfo="skip",
        showlegend=False,
        visible=bool(rows),
    )


def _points(rows: Sequence[tuple[int, Group]]) -> go.Scatter:
    drawn = [(row, *one) for row, group in rows for one in zip(group.numbers, group.differences, strict=True)]
    return go.Scatter(
        x=[difference for _, _, difference in drawn],
        # Spread by the golden ratio, so that equal accuracies are seen as several.
        y=[row + 0.44 * ((number * 0.618034) % 1 - 0.5) for row, number, _ in drawn],
        customdata=[number for _, number, _ in drawn],
        mode="markers",
        marker={"symbol": "circle", "size": 6, "color": MUTED, "opacity": 0.75},
        hoverinfo="none",
        showlegend=False,
        visible=bool(drawn),
    )


def _caption(stages: int, left_out: int, points: bool) -> str:
    words = CAPTION
    if points:
        words += " Points are the trials."
    else:
        words += f" Points are drawn where there are fewer than {FEWEST_FOR_BOX} trials, for want of a box."
    return words + (f" The first {stages} stages are drawn, {left_out} are not." if left_out else "")


def _why_empty(trials: Sequence[TrialRecord]) -> str | None:
    scored = comparable(trials).trials
    if not scored:
        return nothing_yet(trials)
    if len(scored) < FEWEST:
        return f"Too few trials: {len(scored)} with a score, and operators are compared from {FEWEST} on."
    return None


def operators(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> go.Figure:
    """Draw a box for each operator of each stage; the trials themselves too where they are few."""
    empty = _why_empty(trials)
    if empty is not None:
        return empty_figure(TITLE, empty)
    data = operators_data(trials)
    if not data:
        return empty_figure(TITLE, "No stage had a choice between operators, or levels have one trial each.")
    shown = data[:MOST_STAGES]
    rows = _rows(shown)
    groups = [(row, one.group) for row, one in enumerate(rows) if one.group is not None]
    small = [one for one in groups if len(one[1].numbers) < FEWEST_FOR_BOX]
    all_points = sum(len(group.numbers) for _, group in groups) <= MOST_POINTS
    words = _caption(len(shown), len(data) - len(shown), all_points)
    fig = figure(TITLE, words, height=80 + ROW * len(rows))
    fig.add_trace(_boxes([one for one in groups if len(one[1].numbers) >= FEWEST_FOR_BOX]))
    fig.add_trace(_points(groups if all_points else small))
    fig.add_vline(x=0, line={"color": MUTED, "width": 1, "dash": "dot"})
    fig.update_xaxes(
        title={"text": "accuracy less its level's mean"},
        tickformat="+.1%",
        tickangle=0,
        nticks=5,
        fixedrange=True,
    )
    fig.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[row.text for row in rows],
        tickfont={"size": 11},
        range=[len(rows) - 0.4, -0.6],
        fixedrange=True,
        showgrid=False,
    )
    fig.update_layout(hovermode="closest")
    return fig
