"""Failures: why trainings failed, and what became of the candidates at each rung."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import plotly.graph_objects as go

from scalesearch.dashboard.describe import failure_reasons, label, one_line, rung_text
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.theme import BLUE, GREEN, MUTED, PURPLE, VERMILLION, empty_figure, figure
from scalesearch.search.records import TrialRecord

TITLE = "Failures"
MOST_REASONS = 12
# How a training ended, with colour and pattern, since colour never stands alone.
FATES = {
    "went on to a longer training": (BLUE, ""),
    "ended here": (GREEN, "/"),
    "failed": (PURPLE, "x"),
    "repeated another's network": (MUTED, "."),
    "interrupted": (VERMILLION, "\\"),
}


@dataclass(frozen=True)
class Rung:
    """What became of the trainings of one rung, or of all re-trainings (`rung` is None).

    Attributes:
        images: of a training, or None where that is not known. fates: counts by the names in FATES.
    """

    rung: int | None
    images: int | None
    fates: Mapping[str, int]


@dataclass(frozen=True)
class FailureData:
    """Failed trainings by their full reason on one line, the most frequent first; and all by rung.

    A repeat of a failed network is a repeat, since nothing was trained.
    """

    reasons: tuple[tuple[str, int], ...]
    rungs: tuple[Rung, ...]

    @property
    def failed(self) -> int:
        """Failed trainings."""
        return sum(count for _, count in self.reasons)

    def count(self, fate: str) -> int:
        """Return how many trainings ended so."""
        return sum(rung.fates.get(fate, 0) for rung in self.rungs)


def failure_data(trials: Sequence[TrialRecord], rungs: Sequence[int] = ()) -> FailureData:
    """Count reasons and fates; `rungs` are the training images of each rung, as far as they are known."""
    reached: dict[int, int] = {}
    fates: dict[int | None, Counter[str]] = {}
    for t in trials:
        if t.role == "search":
            reached[t.number] = max(t.rung, reached.get(t.number, 0))
    for t in trials:
        at = t.rung if t.role == "search" else None
        fates.setdefault(at, Counter())[_fate(t, reached.get(t.number, 0))] += 1
    order = sorted(rung for rung in fates if rung is not None) + ([None] if None in fates else [])
    found = (Rung(at, None if at is None or at >= len(rungs) else rungs[at], fates[at]) for at in order)
    return FailureData(tuple(failure_reasons(trials, 2000)), tuple(found))


def _fate(trial: TrialRecord, reached: int) -> str:
    if trial.repeats is not None:
        return "repeated another's network"
    if trial.outcome.status != "complete":
        return trial.outcome.status
    goes_on = trial.role == "search" and trial.rung < reached
    return "went on to a longer training" if goes_on else "ended here"


def failures(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> dict[str, go.Figure]:
    """Draw the reasons of failed trainings, and behind the switch what became of all of them by rung."""
    data = failure_data(trials, context.rungs)
    if not data.rungs:
        nothing = empty_figure(TITLE, "No training has ended yet.")
        return {"reasons": nothing, "by rung": nothing}
    return {"reasons": _reasons(data), "by rung": _by_rung(data, context)}


def _counts_text(data: FailureData) -> str:
    total = sum(sum(rung.fates.values()) for rung in data.rungs)
    repeated, interrupted = data.count("repeated another's network"), data.count("interrupted")
    words = f"{f'{data.failed:,}' if data.failed else 'None'} of {total - repeated:,} trainings failed"
    if repeated:
        words += f"; {repeated:,} more candidates repeated a network that was trained before"
    return words + (f"; {interrupted:,} were interrupted and have no score." if interrupted else ".")


def _reasons(data: FailureData) -> go.Figure:
    if not data.reasons:
        return empty_figure(TITLE, _counts_text(data))
    shown = list(data.reasons[:MOST_REASONS])
    words = f"{_counts_text(data)} A long reason is cut here; the card of its trial has more of it."
    rest = data.reasons[MOST_REASONS:]
    if rest:
        shown.append((f"{len(rest):,} other reasons", sum(count for _, count in rest)))
    rows = len(shown)
    fig = figure(TITLE, words, height=110 + 46 * rows)
    counts = [count for _, count in shown]
    fig.add_bar(
        x=counts,
        y=list(range(rows)),
        orientation="h",
        width=0.4,
        marker={"color": PURPLE, "pattern": {"shape": "x", "fillmode": "replace", "size": 6}},
        hoverinfo="text",
        hovertext=[_wrapped(reason) for reason, _ in shown],
        showlegend=False,
    )
    # A reason stands above its bar: beside it, it would leave a narrow screen no room for the bars.
    fig.add_scatter(
        x=[0] * rows,
        y=[row - 0.38 for row in range(rows)],
        mode="text",
        text=[f" {count:,} × {label(reason, 42)}" for reason, count in shown],
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    fig.update_yaxes(range=[rows - 0.6, -0.8], visible=False)
    fig.update_xaxes(range=[0, 1.02 * max(counts)], title={"text": "failed trainings"}, tickformat="~s")
    whole = {"dtick": 1} if max(counts) < 6 else {"nticks": 6}
    return fig.update_layout(hovermode="closest", xaxis=whole)


def _wrapped(reason: str) -> str:
    return "<br>".join(label(line, 60) for line in wrap(one_line(reason, 400), 56))


def _by_rung(data: FailureData, context: Context) -> go.Figure:
    words = (
        f"{_counts_text(data)} A candidate that ended here was pruned, since halving sends only the best of "
        "a rung on, or it waits for the rest of its group, or the rung is the longest."
    )
    fig = figure(TITLE, words, height=170 + 44 * len(data.rungs))
    names = [_rung_name(rung) for rung in data.rungs]
    for fate, (colour, pattern) in FATES.items():
        counts = [rung.fates.get(fate, 0) for rung in data.rungs]
        if any(counts):
            fig.add_bar(
                x=counts,
                y=list(range(len(names))),
                orientation="h",
                name=fate,
                showlegend=True,
                marker={"color": colour, "pattern": {"shape": pattern, "fillmode": "replace", "size": 6}},
                hovertemplate=f"%{{x:,}} {fate}<extra></extra>",
            )
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[len(names) - 0.4, -0.6])
    fig.update_xaxes(title={"text": "trainings"}, rangemode="tozero", nticks=7)
    order = {"traceorder": "normal"}
    return fig.update_layout(barmode="stack", bargap=0.4, hovermode="closest", legend=order)


def _rung_name(rung: Rung) -> str:
    if rung.rung is None:
        return "re-trainings"
    return rung_text(rung.rung) + (f"<br>{rung.images:,} images" if rung.images is not None else "")
