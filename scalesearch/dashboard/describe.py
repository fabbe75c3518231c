"""Trials and networks in words, for hovers and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from math import isfinite
from typing import Any

from scalesearch.dashboard.theme import count_text, flops_text, percent_text
from scalesearch.search.records import TrialRecord

NAMES = {"flops": "FLOPs", "params": "params", "activations": "activations"}


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


def resolution_text(document: Mapping[str, Any]) -> str:
    """Return the input size of a network: 224 px, or 16×224×224 for video."""
    size = document["resolution"]
    return "×".join(map(str, size)) if isinstance(size, list | tuple) else f"{size} px"


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
    return flops_text(value) if name == "flops" else f"{count_text(value)} {NAMES[name]}"


def within_text(budget: float, limits: Mapping[str, float]) -> str:
    """Return all limits on the deployed network in words: 2.00 GFLOPs and 5.0 M params."""
    return " and ".join(cost_text(name, limit) for name, limit in ({"flops": budget} | dict(limits)).items())


def belonging(trial: TrialRecord) -> str:
    """Return whose accuracy a trial has: its proxy's, or the deployed network's where they are equal."""
    proxy, deployed = ({**one.document, "name": ""} for one in (trial.proxy, trial.deployed))
    if proxy == deployed:
        return "of the network itself, after a short training"
    where = f"{flops_text(trial.proxy.flops)}, {resolution_text(trial.proxy.document)}"
    return f"of the proxy ({where}); the deployed network is not trained"


def failure_reasons(trials: Sequence[TrialRecord]) -> list[tuple[str, int]]:
    """Return the reasons of failed trials with their counts, the most frequent first."""
    reasons = Counter(
        one_line(trial.outcome.reason or "no reason recorded", 120)
        for trial in trials
        if trial.outcome.status == "failed"
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
