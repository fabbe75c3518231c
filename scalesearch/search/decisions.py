"""What a run trains next: the order of its decisions, each made from earlier results alone.

A decision begins a new candidate on the first rung or sends one to the next rung. Decision n rests on the
results of decisions 0 to n - lag, in the order of decisions (D9), so a run repeats exactly whatever finishes
first; no worker waits for the slowest training while the lag leaves room. An asynchronous study gives that
up: its decisions rest on whatever has ended, in the order in which it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from scalesearch.errors import InputError
from scalesearch.outcome import Outcome
from scalesearch.search.events import check_rungs
from scalesearch.search.objectives import OBJECTIVES
from scalesearch.search.proposals import Proposals, training_key
from scalesearch.search.records import TrialRecord
from scalesearch.search.rungs import Entry, Promotion, promotions
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition

Results = Mapping[tuple[int, int], TrialRecord]  # by number and rung
NEW = "new candidate"


# What values that are not of the space do to whatever takes them for its own.
_MISFITS = ArithmeticError, AttributeError, LookupError, TypeError, ValueError
LONGEST = 200  # characters


class Decisions:
    """Decides what is trained and keeps every decision in the record."""

    def __init__(self, definition: Definition, store: RunStore) -> None:
        self.definition, self._store = definition, store
        self._proposals = Proposals(definition, store)
        self._candidates: dict[int, TrialRecord] = {}
        self._order: list[tuple[int, int]] = []
        self._entries: dict[tuple[int, int], Entry] = {}
        self._settled = 0
        self._known_results: list[TrialRecord] = []  # what the last decision rested on
        self._closed: set[tuple[int, int, tuple[int, ...]]] = set()  # closing promotions in the record

    def restore(self, results: Results) -> list[TrialRecord]:
        """Take up the recorded decisions again and return the trainings that have no result yet."""
        store, rungs = self._store, len(self.definition.study.rungs)
        check_rungs(results.values(), store.events, rungs, store.folder)
        for event in store.events:
            if event["event"] == "asked":
                number = event["number"]
                trial = self._restored(event, results.get((number, 0)))
                self._candidates[trial.number] = trial
                self._order.append((trial.number, 0))
            elif event["event"] == "promoted":
                self._take_up_promotion(event)
        return [self._training(*at) for at in self._order if at not in results]

    def _take_up_promotion(self, event: Mapping[str, Any]) -> None:
        number, rung = event["number"], event["rung"]
        if number not in self._candidates:
            raise InputError(f"{self._store.folder}: the record sends {number} on, but has no such candidate")
        if event["closing"]:
            self._closed.add((number, rung, tuple(event["among"])))
        else:
            self._order.append((number, rung))

    def _restored(self, event: Mapping[str, Any], result: TrialRecord | None) -> TrialRecord:
        number = event["number"]
        try:
            return self._proposals.restore(number, event["level"], event["params"], event["notes"], result)
        except _MISFITS as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"
            raise InputError(
                f"{self._store.folder}: the record's candidate {number} must be one of the space, but: {said}"
            ) from error

    def upcoming(self, results: Results) -> Promotion | str | None:
        """Return what the next decision is to be, or None where the lag wants earlier results first."""
        known = self._known(results)
        if known is None:
            return None
        return next(iter(self._promotions(known)), NEW)

    def take(self, upcoming: Promotion | str, results: Results) -> TrialRecord | None:
        """Make the decision that `upcoming` announced; None where no further candidate can be fitted."""
        if isinstance(upcoming, Promotion):
            self._append(upcoming, closing=False)
            self._order.append((upcoming.number, upcoming.rung))
            return self._training(upcoming.number, upcoming.rung)
        known = self._known(results)
        assert known is not None, "a decision is taken only after it was announced"
        trial = self._proposals.propose([t for t in known if t.rung == 0])
        if trial is not None:
            self._candidates[trial.number] = trial
            self._order.append((trial.number, 0))
        return trial

    def prepare(self) -> None:
        """Do now what the next candidate takes besides its decision."""
        self._proposals.prepare()

    def closing(self, results: Results) -> list[TrialRecord]:
        """Return what the rungs still call for once no candidate is added: it takes no place in the order.

        A run that is extended decides as if it had been longer from the start; a result that it has already
        is used then.
        """
        places = {at: place for place, at in enumerate(self._order)}
        last = len(places)
        ordered = sorted(results, key=lambda at: (places.get(at, last), at))
        known = [results[at] for at in ordered]
        found = [p for p in self._promotions(known) if (p.number, p.rung) not in results]
        for promotion in found:
            own = promotion.number, promotion.rung, tuple(promotion.among)
            if own not in self._closed:  # else a call that was killed before the training's end wrote it
                self._closed.add(own)
                self._append(promotion, closing=True)
        return [self._training(promotion.number, promotion.rung) for promotion in found]

    def _append(self, promotion: Promotion, *, closing: bool) -> None:
        self._store.append("promoted", **asdict(promotion), closing=closing)

    def _known(self, results: Results) -> list[TrialRecord] | None:
        if self.definition.study.asynchronous:
            return list(results.values())
        while self._settled < len(self._order) and self._order[self._settled] in results:
            self._settled += 1
        last = len(self._order) - self.definition.lag
        if last >= self._settled:
            return None
        more = self._order[len(self._known_results) : max(0, last + 1)]
        self._known_results += [results[at] for at in more]
        return self._known_results

    def _promotions(self, known: Sequence[TrialRecord]) -> list[Promotion]:
        study = self.definition.study
        if len(study.rungs) == 1:
            return []
        decided = set(self._order)
        entries = [self._entry(t) for t in known if t.repeats is None]
        found = promotions(entries, len(study.rungs), study.halving)
        return [promotion for promotion in found if (promotion.number, promotion.rung) not in decided]

    def _entry(self, trial: TrialRecord) -> Entry:
        at = trial.number, trial.rung
        if at not in self._entries:
            self._entries[at] = _entry(trial, self.definition.study.objectives, self.definition.budget)
        return self._entries[at]

    def _training(self, number: int, rung: int) -> TrialRecord:
        trial = self._candidates[number]
        key = training_key(self.definition, trial.proxy.document, self.definition.study.seed, rung)
        return replace(trial, rung=rung, key=key, outcome=Outcome("interrupted"))


def _entry(trial: TrialRecord, objectives: Sequence[str], budget: float) -> Entry:
    loss = trial.outcome.val_loss if trial.complete else None
    chosen = (OBJECTIVES[name] for name in objectives)
    costs = tuple(one.measure(trial, budget) for one in chosen if not one.learned)
    return Entry(trial.number, (trial.arm, trial.level), trial.rung, loss, costs)
