"""The sampler `surrogate`: a model chooses among random candidates that keep the budget.

Optuna's study stays the ledger, and is given the values that are chosen. Each number draws a few candidates
of its own, and those of the numbers before it on the same level are in its pool too: the pool depends on
nothing but the seed and the number, so a run that is resumed chooses as one that was not interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from scalesearch.architecture.budget import OverBudgetError
from scalesearch.architecture.document import from_document
from scalesearch.architecture.network import Network
from scalesearch.architecture.space import Candidate
from scalesearch.search.features import FEATURES, features
from scalesearch.search.objectives import OBJECTIVES, told
from scalesearch.search.records import TrialRecord
from scalesearch.search.samplers import derived_seed, random_candidate
from scalesearch.search.study import Definition
from scalesearch.search.surrogate import Surrogate

EACH = 12  # candidates that a number draws, at about 20 milliseconds each
WINDOW = 16  # numbers of one level whose candidates a pool holds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Pooled:
    candidate: Candidate
    params: dict[str, Any]
    row: Floats


class Guide:
    """Chooses the values of the next candidate by what was trained before."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        study = definition.study
        self._surrogate = Surrogate(startup=study.sampler.startup)
        self._place = next(i for i, name in enumerate(study.objectives) if OBJECTIVES[name].learned)
        self._sign = 1.0 if OBJECTIVES[study.objectives[self._place]].direction == "minimize" else -1.0
        self._drawn: dict[int, list[_Pooled]] = {}
        self._rows: dict[int, Floats] = {}
        self._texts: dict[int, str] = {}
        self._losses: dict[int, float] = {}

    def choose(
        self, number: int, known: Iterable[TrialRecord], asked: Iterable[TrialRecord]
    ) -> dict[str, Any] | None:
        """Return the values of candidate `number`, or None where a random draw is to come first.

        `known` are first-rung results that the decision may rest on; `asked` is everything proposed before.
        """
        before = [t for t in asked if t.arm == "search"]
        results = {t.number: self._loss(t) for t in known if t.arm == "search" and t.repeats is None}
        if len(results) < self._surrogate.startup:
            return None
        taken = {self._text(t) for t in before}
        pool = [one for one in self._pool(number) if _text(one.params) not in taken]
        trained = [t for t in before if t.number in results]
        pending = [t for t in before if t.number not in results]
        losses = np.array([results[t.number] for t in trained])
        rng = np.random.default_rng(derived_seed(self.definition.study.seed, "surrogate", number))
        # On several threads sums depend on their number, and trainings have the cores.
        with threadpool_limits(1):
            while pool:
                rows = np.stack([one.row for one in pool])
                chosen = pool.pop(
                    self._surrogate.choose(rows, self._table(trained), losses, self._table(pending), rng)
                )
                if self._deployable(chosen.candidate, number):
                    return chosen.params
        return None

    def _loss(self, trial: TrialRecord) -> float:
        if trial.number not in self._losses:
            values = told(self.definition.study.objectives, trial, self.definition.budget)
            self._losses[trial.number] = np.inf if values is None else self._sign * values[self._place]
        return self._losses[trial.number]

    def _text(self, trial: TrialRecord) -> str:
        if trial.number not in self._texts:
            self._texts[trial.number] = _text(trial.params)
        return self._texts[trial.number]

    def _deployable(self, candidate: Candidate, number: int) -> bool:
        budget = self.definition.budget_at(self.definition.level(number))
        sized = replace(candidate, base=replace(candidate.base, classes=self.definition.classes))
        try:
            sized.deployed(budget)
        except OverBudgetError:
            return False
        return True

    def _table(self, trials: Sequence[TrialRecord]) -> Floats:
        for t in trials:
            if t.number not in self._rows:
                self._rows[t.number] = _row(from_document(t.proxy.document))
        return np.array([self._rows[t.number] for t in trials]).reshape(-1, len(FEATURES) + 1)

    # The pool

    def _pool(self, number: int) -> list[_Pooled]:
        window = list(islice(self._turns(number), WINDOW))
        self._forget(number, window)
        return [one for turn in reversed(window) for one in self._of(turn)]

    def _forget(self, number: int, window: Sequence[int]) -> None:
        """Let go of this level's candidates that no later pool holds: a long run would drown in them."""
        level = self.definition.level(number)
        left = [turn for turn in self._drawn if self.definition.level(turn) == level]
        for turn in set(left).difference(window):
            del self._drawn[turn]

    def _turns(self, number: int) -> Iterator[int]:
        """Yield the numbers of the search arm that share a level with `number`, itself first, backwards."""
        d = self.definition
        for turn in range(number, -1, -1):
            if d.arm(turn) == "search" and d.level(turn) == d.level(number):
                yield turn

    def _of(self, number: int) -> list[_Pooled]:
        if number not in self._drawn:
            seed = derived_seed(self.definition.study.seed, "pool", number)
            rng = np.random.default_rng(seed)
            found = (self._random(number, rng) for _ in range(EACH))
            self._drawn[number] = [one for one in found if one is not None]
        return self._drawn[number]

    def _random(self, number: int, rng: np.random.Generator) -> _Pooled | None:
        d = self.definition
        candidate, params = random_candidate(d.space, rng)
        flops = d.policy.flops_at(d.level(number), d.budget)
        try:
            proxy = candidate.proxy(d.policy, flops, d.classes, d.resolution)
        except OverBudgetError:
            return None
        return _Pooled(candidate, params, _row(proxy.network))


def _row(network: Network) -> Floats:
    """Return what the model sees: the features, and the cost, which differs between levels."""
    return np.append(features(network), log2(network.cost().flops))


def _text(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
