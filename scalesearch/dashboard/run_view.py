"""A run as pages see it."""

from __future__ import annotations

from dataclasses import dataclass

from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.summary import Summary
from scalesearch.search.records import TrialRecord


@dataclass(frozen=True)
class RunView:
    """One run: its trials, and what is known of it; `title` and `notice` are plain text."""

    title: str
    trials: tuple[TrialRecord, ...]
    context: Context
    summary: Summary
    notice: str | None = None
