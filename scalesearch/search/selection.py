"""Which candidates are the best, by what was trained (decision D4)."""

from __future__ import annotations

from collections.abc import Iterable

from scalesearch.search.records import TrialRecord


def _searched(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    return [t for t in trials if t.complete and t.role == "search" and t.repeats is None]


def _at_top_level(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    searched = _searched(trials)
    level = max((t.level for t in searched), default=0.0)
    return [t for t in searched if t.level == level]


def final_rung(trials: Iterable[TrialRecord]) -> int:
    """Return the highest rung that a candidate of the highest level reached completed; 0 without any."""
    return max((t.rung for t in _at_top_level(trials)), default=0)


def latest(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return each candidate's complete search training of its highest rung, by number."""
    found: dict[int, TrialRecord] = {}
    for trial in sorted(_searched(trials), key=lambda t: (t.number, t.rung)):
        found[trial.number] = trial
    return list(found.values())


def ranked(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the candidates of the highest level reached, best first, by their latest trainings.

    Those of a higher rung come first; within a rung the lowest validation loss does.
    """
    top = latest(_at_top_level(trials))
    return sorted(top, key=lambda t: (-t.rung, t.outcome.val_loss or 0.0, t.number))
