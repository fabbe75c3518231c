"""Trials and networks in words, for hovers and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from math import isfinite
from typing import Any, NamedTuple

from scalesearch.dashboard.theme import count_text, flops_text, milliseconds_text, percent_text
from scalesearch.search.records import TrialRecord

NAMES = {"flops": "FLOPs", "params": "params", "activations": "activations"}
STAGE_COLUMNS = ("channels", "repeats", "kernel", "stride", "expand", "se")


def one_line(text: str, limit: int = 60) -> str:
    """Return text without line breaks and control characters, cut to `limit` characters."""
    printable = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def label(text: str, limit: int = 60) -> str:
    """Return text for Plotly, which honours pseudo-HTML: escaped, so that it shows as it was written."""
    return escape(one_line(text, limit), quote=False)


def scored(trial: TrialRecord) -> float | None:
    """Return the validation accuracy of a complete trial of the search, None where there is no finite one."""
    accuracy = trial.outcome.val_accuracy
    usable = trial.role == "search" and trial.complete and accuracy is not None and isfinite(accuracy)
    return accuracy if usable else None


def pattern_text(document: Mapping[str, Any]) -> str:
    """Return the operators of a network's stages, runs counted: 3 × fused_mbconv, 3 × mbconv."""
    runs = [
        (name, len(list(run))) for name, run in groupby(stage["operator"] for stage in document["stages"])
    ]
    return ", ".join(f"{length} × {one_line(name, 20)}" for name, length in runs)


def resolution_text(size: int | Sequence[int]) -> str:
    """Return the input size of a network in plain text: 224 px, or 16×224×224 for video."""
    return one_line("×".join(map(str, size)) if isinstance(size, list | tuple) else f"{size} px", 30)


class StageRow(NamedTuple):
    """A part of a network as plain text; `cells` are the values of STAGE_COLUMNS, empty where it has none."""

    place: str
    operator: str
    cells: tuple[str, ...]


def stage_rows(document: Mapping[str, Any]) -> list[StageRow]:
    """Return the stem, the numbered stages and, where it has channels, the head of a network."""
    stem = {"repeats": 1, **document["stem"], "operator": "conv"}
    rows = [("stem", stem), *((str(n), stage) for n, stage in enumerate(document["stages"], 1))]
    channels = document["head"].get("channels")
    if channels:
        head = {"operator": "conv", "channels": channels, "repeats": 1, "kernel": 1, "stride": 1}
        rows.append(("head", head))
    return [
        StageRow(place, one_line(row["operator"], 20), tuple(_cell(row.get(name)) for name in STAGE_COLUMNS))
        for place, row in rows
    ]


def _cell(value: Any) -> str:
    if value in (None, 0):
        return ""
    return one_line(f"{value:g}" if isinstance(value, float) else str(value), 8)


def rung_text(rung: int) -> str:
    """Return the name of a rung, which records count from 0."""
    return f"rung {rung + 1}"


def counts_text(counts: Mapping[str, int]) -> str:
    """Return trials by how they ended in plain text; pruned ones are complete."""
    said = {name: f"{count:,} {one_line(name, 20)}" for name, count in counts.items() if count}
    pruned = said.pop("pruned", None)
    if pruned is not None:
        said["complete"] += f" ({counts['pruned']:,} of them pruned)"
    return ", ".join(said.values()) or "none yet"


def level_text(level: float, budget: float | None) -> str:
    """Return a level of the budget with its share of it: 250 MFLOPs (1/8 of the budget)."""
    if budget is None:
        return flops_text(level)
    parts = budget / level
    if round(parts, 6) == 1:
        return f"{flops_text(level)} (the budget)"
    share = f"1/{parts:.0f}" if round(parts, 6) == round(parts) else percent_text(level / budget)
    return f"{flops_text(level)} ({share} of the budget)"


def cost_text(name: str, value: float) -> str:
    """Return a cost or its limit with its unit: 1.98 GFLOPs, 5.3 M params."""
    if name == "latency":
        return f"{milliseconds_text(value)} of predicted latency"
    return flops_text(value) if name == "flops" else f"{count_text(value)} {NAMES[name]}"


def within_text(budget: float, limits: Mapping[str, float]) -> str:
    """Return all limits on the deployed network in words: 2.00 GFLOPs and 5.0 M params."""
    return " and ".join(cost_text(name, limit) for name, limit in ({"flops": budget} | dict(limits)).items())


def belonging(trial: TrialRecord) -> str:
    """Return whose accuracy a trial has: its proxy's, or the deployed network's where they are equal."""
    proxy, deployed = ({**one.document, "name": ""} for one in (trial.proxy, trial.deployed))
    if proxy == deployed:
        return "of the network itself, after a short training"
    where = f"{flops_text(trial.proxy.flops)}, {resolution_text(trial.proxy.document['resolution'])}"
    return f"of the proxy ({where}); the deployed network is not trained"


def failure_reasons(trials: Iterable[TrialRecord], limit: int = 120) -> list[tuple[str, int]]:
    """Return the reasons of failed trainings, one line each, with their counts, the most frequent first.

    A repeat of a failed network is none, since nothing was trained.
    """
    reasons = Counter(
        one_line(trial.outcome.reason or "no reason recorded", limit)
        for trial in trials
        if trial.outcome.status == "failed" and trial.repeats is None
    )
    return reasons.most_common()


def nothing_yet(trials: Sequence[TrialRecord]) -> str:
    """Return in words why no trial can be drawn; plain text."""
    ended = [trial for trial in trials if trial.role == "search"]
    if not ended:
        return "No trial has ended yet."
    reasons = failure_reasons(ended)
    if not reasons:
        return f"No trial has a score yet: {len(ended)} ended without one."
    failed = sum(count for _, count in reasons)
    counted = "The only trial failed" if len(ended) == 1 else f"{failed} of {len(ended)} trials failed"
    return f"No trial is complete. {counted}: {reasons[0][0]}"
