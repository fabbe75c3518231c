"""Trials to run: what the sampler proposes, fitted to its level and described down to its proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scalesearch.architecture.budget import Budget, Fit, OverBudgetError
from scalesearch.architecture.document import to_document
from scalesearch.architecture.space import Candidate
from scalesearch.outcome import Outcome
from scalesearch.search.records import Member, TrialRecord
from scalesearch.search.samplers import Proposer
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition, digest

PATIENCE = 200  # repeats or discards in a row after which a space counts as exhausted (D12)


class Proposals:
    """Proposes trials in the order of their numbers and remembers in the record what it proposed."""

    def __init__(self, definition: Definition, store: RunStore) -> None:
        self.definition, self._store = definition, store
        study = definition.study
        self._proposer = Proposer(definition.space, study.sampler.name, study.sampler.startup, study.seed)
        self._told = 0
        self.next = 0

    def restore(self, finished: Mapping[int, TrialRecord]) -> list[TrialRecord]:
        """Take up the recorded proposals again and return the trials that have no result yet."""
        trials = []
        for event in self._store.events:
            if event["event"] == "asked":
                candidate = self._proposer.restore(event["number"], event["params"])
                self.next = event["number"] + 1
                if event["number"] not in finished:
                    fitted = self._fit(candidate, event["level"]), event["level"]
                    trials.append(self._describe(event["number"], candidate, fitted, event["params"]))
        return trials

    def propose(self, finished: Mapping[int, TrialRecord]) -> TrialRecord | None:
        """Return the next trial, or None where the space gives nothing that fits its level."""
        number = self.next
        self._tell_up_to(number - self.definition.lag, finished)
        for attempt in range(PATIENCE):
            candidate, params = self._proposer.ask(number, attempt)
            try:
                trial = self._describe(number, candidate, self._deployed(candidate, number), params)
            except OverBudgetError:
                self._proposer.discard(number)
                continue
            self.next = number + 1
            self._store.append("asked", number=number, level=trial.level, params=params)
            return trial
        return None

    def _tell_up_to(self, last: int, finished: Mapping[int, TrialRecord]) -> None:
        while self._told <= last:
            trial = finished[self._told]
            loss = trial.outcome.val_loss if trial.complete else None
            self._proposer.tell(self._told, loss, trial.deployed.flops)
            self._told += 1

    def _fit(self, candidate: Candidate, level: float) -> Fit:
        base = replace(candidate.base, classes=self.definition.classes)
        return replace(candidate, base=base).deployed(self.definition.budget_at(level))

    def _deployed(self, candidate: Candidate, number: int) -> tuple[Fit, float]:
        """Fit the candidate to its level, or to the next higher one that its shape can get down to."""
        d = self.definition
        levels = sorted(level for level in set(d.levels) if level >= d.level(number))
        for level in levels[:-1]:
            try:
                return self._fit(candidate, level), level
            except OverBudgetError:
                continue
        return self._fit(candidate, levels[-1]), levels[-1]

    def _describe(
        self, number: int, candidate: Candidate, fitted: tuple[Fit, float], params: dict[str, Any]
    ) -> TrialRecord:
        d, (deployed, level) = self.definition, fitted
        flops = d.policy.flops_at(level, d.budget)
        proxy = candidate.proxy(d.policy, flops, d.classes, d.resolution)
        return TrialRecord(
            number=number,
            role="search",
            level=level,
            rung=0,
            params=params,
            coefficients=candidate.coefficients,
            deployed=Member.of(_named(deployed, f"trial_{number}"), d.budget_at(level)),
            proxy=Member.of(_named(proxy, f"trial_{number}_proxy"), Budget(flops)),
            outcome=Outcome("interrupted"),
            key=training_key(d, to_document(proxy.network), d.study.seed),
        )


def _named(fit: Fit, name: str) -> Fit:
    return replace(fit, network=replace(fit.network, name=name))


def training_key(definition: Definition, proxy: Mapping[str, Any], seed: int) -> str:
    """Return what identifies a training (D12): proxy without its name, recipe, length, data, seed."""
    unnamed = {name: value for name, value in proxy.items() if name != "name"}
    fixed = definition.resolved
    images = definition.study.images
    return digest([unnamed, fixed["recipe"], images, fixed["data"]["fingerprint"], seed])
