"""Trials to run: what the sampler proposes, fitted to its level and described down to its proxy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scalesearch.architecture.budget import Budget, Fit, UnfitError
from scalesearch.architecture.document import to_document
from scalesearch.architecture.space import Candidate
from scalesearch.outcome import Outcome
from scalesearch.search.guide import Guide
from scalesearch.search.objectives import directions, told
from scalesearch.search.records import Member, TrialRecord
from scalesearch.search.samplers import PATIENCE, SAMPLERS, Proposer, derived_seed, replay
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition, digest


class Proposals:
    """Proposes candidates in the order of their numbers and remembers in the record what it proposed.

    The arms of a study have proposers of their own: the control's draws teach the search's sampler nothing.
    """

    def __init__(self, definition: Definition, store: RunStore) -> None:
        self.definition, self._store = definition, store
        study, space = definition.study, definition.space
        sought = directions(study.objectives)
        self._proposers = {
            "search": Proposer(space, study.sampler.name, study.sampler.startup, study.seed, sought),
            "control": Proposer(space, "random", 0, derived_seed(study.seed, "control"), sought),
        }
        guided = SAMPLERS[study.sampler.name].guided
        self._guide = Guide(definition, self._fit) if guided else None
        self._fitted: tuple[Candidate, float, Fit] | None = None
        self._told: set[int] = set()
        self._asked: list[TrialRecord] = []

    def restore(
        self,
        number: int,
        level: float,
        params: dict[str, Any],
        notes: dict[str, Any],
        result: TrialRecord | None = None,
    ) -> TrialRecord:
        """Take up a recorded proposal again, as one whose result is not told yet.

        A result describes its candidate, so that of thousands of trials nothing is fitted again.
        """
        if number != len(self._asked):
            raise ValueError(f"candidates are numbered as they were proposed, so this is {len(self._asked)}")
        self._proposer(number).restore(number, params, notes)
        if result is None:
            candidate = self.definition.space.draw(replay(params))
            trial = self._describe(number, candidate, (self._fit(candidate, level), level), params)
        else:
            trial = _unfinished(result)
        self._asked.append(trial)
        return trial

    def propose(self, known: Sequence[TrialRecord]) -> TrialRecord | None:
        """Return the next candidate, proposed from first-rung results, or None where none fits its level."""
        number = len(self._asked)
        self._tell(known)
        for attempt in range(PATIENCE):
            given = None if attempt else self._given(number, known)
            candidate, params = self._proposer(number).ask(number, attempt, given)
            try:
                trial = self._describe(number, candidate, self._deployed(candidate, number), params)
            except UnfitError:
                self._proposer(number).discard(number)
                continue
            self._asked.append(trial)
            notes = self._proposer(number).notes(number)
            self._store.append("asked", number=number, level=trial.level, params=params, notes=notes)
            return trial
        return None

    def prepare(self) -> None:
        """Do what the next proposal takes and rests on no result."""
        if self._guide is not None:
            self._guide.prepare(len(self._asked))

    def _given(self, number: int, known: Sequence[TrialRecord]) -> Mapping[str, Any] | None:
        """Return values that are not for the sampler to draw: a warm start's, or those that a model chose."""
        start = self.definition.start(number)
        if start is not None or self._guide is None or self.definition.arm(number) == "control":
            return start
        return self._guide.choose(number, known, self._asked)

    def _proposer(self, number: int) -> Proposer:
        return self._proposers[self.definition.arm(number)]

    def _tell(self, known: Iterable[TrialRecord]) -> None:
        for trial in known:
            if trial.number not in self._told:
                values = told(self.definition.study.objectives, trial, self.definition.budget)
                self._proposer(trial.number).tell(trial.number, values)
                self._told.add(trial.number)

    def _fit(self, candidate: Candidate, level: float) -> Fit:
        # A guide asks for its choice's fit just before the proposal does.
        if self._fitted is None or self._fitted[:2] != (candidate, level):
            found = deployed_for(candidate, self.definition.classes, self.definition.budget_at(level))
            self._fitted = candidate, level, found
        return self._fitted[2]

    def _deployed(self, candidate: Candidate, number: int) -> tuple[Fit, float]:
        """Fit the candidate to its level, or to the next higher one that its shape can get down to."""
        d = self.definition
        levels = sorted(level for level in set(d.levels) if level >= d.level(number))
        for level in levels[:-1]:
            try:
                return self._fit(candidate, level), level
            except UnfitError:
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
            deployed=Member.of(
                _named(deployed, f"trial_{number}"), d.budget_at(level), d.latency_of(deployed.network)
            ),
            proxy=Member.of(_named(proxy, f"trial_{number}_proxy"), Budget(flops)),
            outcome=Outcome("interrupted"),
            key=training_key(d, to_document(proxy.network), d.study.seed, rung=0),
            arm=d.arm(number),
        )


def _unfinished(result: TrialRecord) -> TrialRecord:
    """Return a first training as it was before it began."""
    return replace(
        result,
        outcome=Outcome("interrupted"),
        repeats=None,
        started=0.0,
        finished=0.0,
        worker=0,
        predicted_seconds=None,
    )


def _named(fit: Fit, name: str) -> Fit:
    return replace(fit, network=replace(fit.network, name=name))


def deployed_for(candidate: Candidate, classes: int, budget: Budget) -> Fit:
    """Return a candidate's network for so many classes, fitted to a budget; UnfitError if there is none."""
    return replace(candidate, base=replace(candidate.base, classes=classes)).deployed(budget)


def training_key(definition: Definition, proxy: Mapping[str, Any], seed: int, rung: int) -> str:
    """Return what identifies a training of a study (D12)."""
    fixed = definition.resolved
    images = definition.study.rungs[rung]
    return key_of(proxy, fixed["recipe"], images, fixed["data"]["fingerprint"], seed)


def key_of(network: Mapping[str, Any], recipe: Any, images: int, fingerprint: str, seed: int) -> str:
    """Return what identifies a training (D12): network without its name, recipe, length, data, seed."""
    unnamed = {name: value for name, value in network.items() if name != "name"}
    return digest([unnamed, recipe, images, fingerprint, seed])
