"""Samplers by name, and the proposer that asks one for candidates in an order that repeats exactly."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from scalesearch.architecture.domains import Choice, Domain, Suggest
from scalesearch.architecture.space import Candidate, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)


def _tpe(seed: int, startup: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        # `multivariate` and `group` are marked experimental; the default follows a benchmark, not the mark.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            n_startup_trials=startup, multivariate=True, group=True, constant_liar=True, seed=seed
        )


def _random(seed: int, _startup: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {"tpe": _tpe, "random": _random}


def distribution(domain: Domain) -> BaseDistribution:
    """Return Optuna's form of a domain."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def derived_seed(*parts: object) -> int:
    """Return a 31-bit seed that depends on every part and nothing else."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def replay(params: Mapping[str, Any]) -> Suggest:
    """Return a suggest that gives a recorded trial's values again."""
    return lambda name, _domain: params[name]


class Proposer:
    """Asks a sampler for candidates; keeps the Optuna study in memory.

    A fresh sampler with a seed of its own serves each number, so that a proposal depends only on the seed,
    the number and the trials told before it: a resumed run proposes what an uninterrupted one would have.
    """

    def __init__(self, space: SearchSpace, sampler: str, startup: int, seed: int) -> None:
        self.space, self.startup, self.seed = space, startup, seed
        self._sampler = SAMPLERS[sampler]
        self.study = optuna.create_study(directions=["minimize", "minimize"])
        self._trials: dict[int, int] = {}

    def ask(self, number: int, attempt: int = 0) -> tuple[Candidate, dict[str, Any]]:
        """Return the candidate of trial `number`; another attempt draws anew after a discard."""
        self.study.sampler = self._sampler(derived_seed(self.seed, number, attempt), self.startup)
        trial = self.study.ask()
        self._trials[number] = trial.number

        def suggest(name: str, domain: Domain) -> Any:
            if isinstance(domain, Choice):
                return trial.suggest_categorical(name, domain.values)
            if domain.whole:
                step = int(domain.step or 1)
                return trial.suggest_int(name, int(domain.low), int(domain.high), step=step, log=domain.log)
            return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)

        return self.space.draw(suggest), trial.params

    def discard(self, number: int) -> None:
        """Forget a proposal that cannot be fitted to its level; the sampler does not learn from it."""
        self.study.tell(self._trials.pop(number), state=TrialState.FAIL)

    def restore(self, number: int, params: Mapping[str, Any]) -> Candidate:
        """Take up a recorded proposal again, as one whose result is not told yet."""
        distributions: dict[str, BaseDistribution] = {}

        def suggest(name: str, domain: Domain) -> Any:
            distributions[name] = distribution(domain)
            return params[name]

        candidate = self.space.draw(suggest)
        self._trials[number] = len(self.study.get_trials(deepcopy=False))
        self.study.add_trial(
            create_trial(state=TrialState.RUNNING, params=dict(params), distributions=distributions)
        )
        return candidate

    def tell(self, number: int, val_loss: float | None, flops: int) -> None:
        """Tell a result: validation loss and deployed cost, or a failure (None)."""
        trial = self._trials[number]
        if val_loss is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, [val_loss, math.log10(flops)])
