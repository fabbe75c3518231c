"""The sampler `surrogate`: a model chooses among random candidates that keep the budget.

Optuna's study stays the ledger, and is given the values that are chosen. The pool depends on nothing but the
seed and the number (`pool.py`), so a run that is resumed chooses as one that was not interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.budget import Fit, UnfitError
from scalesearch.architecture.document import from_document
from scalesearch.architecture.space import Candidate
from scalesearch.search.features import FEATURES
from scalesearch.search.objectives import OBJECTIVES, told
from scalesearch.search.pool import Pool, seen, text_of
from scalesearch.search.records import TrialRecord
from scalesearch.search.samplers import derived_seed
from scalesearch.search.study import Definition
from scalesearch.search.surrogate import Rows, Surrogate, load_models

Floats = NDArray[np.float64]


class Guide:
    """Chooses the values of the next candidate by what was trained before.

    `fit` gives a candidate's deployed network at a level; it raises UnfitError where there is none.
    """

    def __init__(self, definition: Definition, fit: Callable[[Candidate, float], Fit]) -> None:
        self.definition, self._fit = definition, fit
        study = definition.study
        self._surrogate = Surrogate(startup=study.sampler.startup)
        self._place = next(i for i, name in enumerate(study.objectives) if OBJECTIVES[name].learned)
        self._sign = 1.0 if OBJECTIVES[study.objectives[self._place]].direction == "minimize" else -1.0
        self._pool = Pool(definition)
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
        pool = [one for one in self._pool.at(number) if one.text not in taken]
        trained = [t for t in before if t.number in results]
        pending = [t for t in before if t.number not in results]
        losses = np.array([results[t.number] for t in trained])
        rng = np.random.default_rng(derived_seed(self.definition.study.seed, "surrogate", number))
        # On several threads sums depend on their number, and trainings have the cores.
        with load_models().limit(limits=1):
            while pool:
                rows = np.stack([one.row for one in pool])
                waiting = self._table(pending)
                chosen = pool.pop(
                    self._surrogate.choose(rows, _Table(self._table, trained), losses, waiting, rng)
                )
                if self._deployable(chosen.candidate, number):
                    return chosen.params
        return None

    def prepare(self, number: int) -> None:
        """Draw and load what choosing candidate `number` takes, unless first results are still to come."""
        if number >= self._surrogate.startup and self.definition.arm(number) == "search":
            load_models()
            self._pool.at(number)

    def _loss(self, trial: TrialRecord) -> float:
        if trial.number not in self._losses:
            values = told(self.definition.study.objectives, trial, self.definition.budget)
            self._losses[trial.number] = np.inf if values is None else self._sign * values[self._place]
        return self._losses[trial.number]

    def _text(self, trial: TrialRecord) -> str:
        if trial.number not in self._texts:
            self._texts[trial.number] = text_of(trial.params)
        return self._texts[trial.number]

    def _deployable(self, candidate: Candidate, number: int) -> bool:
        try:
            self._fit(candidate, self.definition.level(number))
        except UnfitError:
            return False
        return True

    def _table(self, trials: Sequence[TrialRecord]) -> Floats:
        for t in trials:
            if t.number not in self._rows:
                self._rows[t.number] = seen(from_document(t.proxy.document))
        return np.array([self._rows[t.number] for t in trials]).reshape(-1, len(FEATURES) + 1)


@dataclass(frozen=True)
class _Table:
    """Features of trials, made when they are asked for: a run that is resumed has none of thousands."""

    made: Callable[[Sequence[TrialRecord]], Floats]
    trials: Sequence[TrialRecord]

    def __getitem__(self, rows: Rows) -> Floats:
        return self.made([self.trials[row] for row in rows])
