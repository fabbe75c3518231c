"""Samplers by name, and the proposer that asks one for candidates in an order that repeats exactly.

What Optuna offers besides does not suit these spaces. Its CMA-ES takes one objective and no categorical
leaf, and of the others those alone that every candidate has: of a space of operators that is next to nothing.
Grid and brute force need finite spaces, and the shares of growth are continuous.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal, NamedTuple

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from threadpoolctl import threadpool_limits

from scalesearch.architecture.domains import Choice, Domain, Suggest, random_values
from scalesearch.architecture.space import Candidate, SearchSpace

optuna.logging.set_verbosity(optuna.logging.WARNING)


Direction = Literal["minimize", "maximize"]
PATIENCE = 200  # repeats or discards in a row after which a space counts as exhausted (D12)
POPULATION = 20  # of the genetic samplers; with Optuna's 50 a search of 100 trainings has two generations


class Seeds(NamedTuple):
    """Of one proposal, and of the whole run."""

    proposal: int
    run: int


@dataclass(frozen=True)
class Sampler:
    """How a sampler is made, and what it sees of a candidate.

    Attributes:
        make: from seeds and the number of random proposals that come first.
        whole: every leaf of the space is drawn for every candidate, those that it does not use too. Models
            and crossovers of these samplers cover the leaves that all trials share, which would be few where
            each operator has options of its own; the unused values travel with a candidate as silent genes.
        guided: a model chooses the values (`guide.py`), and these draws only come before it.
        blind: no result changes what it proposes, so a study that is taken up again holds no values.
        one_thread: its arithmetic is for torch. Sums on several threads depend on their number, so runs
            would not repeat exactly, and beside trainings the threads wait for each other for seconds.
    """

    make: Callable[[Seeds, int], BaseSampler]
    whole: bool = False
    guided: bool = False
    blind: bool = False
    one_thread: bool = False

    def guard(self) -> AbstractContextManager[Any]:
        """Return the context to ask in."""
        if not self.one_thread:
            return nullcontext()
        import_module("torch")  # Optuna loads it late, and only what is loaded can be limited
        limit: AbstractContextManager[Any] = threadpool_limits(1)
        return limit


def _random(seeds: Seeds, _startup: int) -> BaseSampler:
    return optuna.samplers.RandomSampler(seed=seeds.proposal)


def _tpe(seeds: Seeds, startup: int) -> BaseSampler:
    return optuna.samplers.TPESampler(
        n_startup_trials=startup, multivariate=True, group=True, constant_liar=True, seed=seeds.proposal
    )


def _tpe_univariate(seeds: Seeds, startup: int) -> BaseSampler:
    return optuna.samplers.TPESampler(
        n_startup_trials=startup, multivariate=False, constant_liar=True, seed=seeds.proposal
    )


def _nsga2(seeds: Seeds, _startup: int) -> BaseSampler:
    return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seeds.proposal)


def _nsga3(seeds: Seeds, _startup: int) -> BaseSampler:
    return optuna.samplers.NSGAIIISampler(population_size=POPULATION, seed=seeds.proposal)


def _gp(seeds: Seeds, startup: int) -> BaseSampler:
    return optuna.samplers.GPSampler(
        n_startup_trials=startup, seed=seeds.proposal, warn_independent_sampling=False
    )


def _qmc(seeds: Seeds, _startup: int) -> BaseSampler:
    # One scrambled Sobol sequence serves the whole run, so its seed is the run's.
    return optuna.samplers.QMCSampler(
        scramble=True,
        seed=seeds.run,
        independent_sampler=optuna.samplers.RandomSampler(seed=seeds.proposal),
        warn_independent_sampling=False,
    )


# `tpe` and `tpe_univariate` take conditional leaves as they are: one models leaves together, the other alone.
SAMPLERS: dict[str, Sampler] = {
    "surrogate": Sampler(_random, guided=True, blind=True),
    "tpe": Sampler(_tpe),
    "tpe_univariate": Sampler(_tpe_univariate),
    "nsga2": Sampler(_nsga2, whole=True),
    "nsga3": Sampler(_nsga3, whole=True),
    "gp": Sampler(_gp, whole=True, one_thread=True),
    "qmc": Sampler(_qmc, whole=True),
    "random": Sampler(_random, blind=True),
}


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


def random_candidate(space: SearchSpace, rng: np.random.Generator) -> tuple[Candidate, dict[str, Any]]:
    """Return a random candidate of a space, whatever it costs, and its values by leaf."""
    params: dict[str, Any] = {}
    values = random_values(rng)

    def suggest(name: str, domain: Domain) -> Any:
        params[name] = values(name, domain)
        return params[name]

    return space.draw(suggest), params


def suggested(trial: Trial, name: str, domain: Domain) -> Any:
    """Return the value that Optuna's trial gives a leaf."""
    if isinstance(domain, Choice):
        return trial.suggest_categorical(name, domain.values)
    if domain.whole:
        step = int(domain.step or 1)
        return trial.suggest_int(name, int(domain.low), int(domain.high), step=step, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)


class Proposer:
    """Asks a sampler for candidates; keeps the Optuna study in memory.

    A fresh sampler with a seed of its own serves each number, so that a proposal depends only on the seed,
    the number and the trials told before it: a resumed run proposes what an uninterrupted one would have.
    What a sampler keeps in the study is noted with each proposal and comes back with `restore`.
    """

    def __init__(
        self,
        space: SearchSpace,
        sampler: str,
        startup: int,
        seed: int,
        directions: Sequence[Direction] = ("minimize", "minimize"),
    ) -> None:
        self.space, self.startup, self.seed = space, startup, seed
        self._sampler = SAMPLERS[sampler]
        self._storage = optuna.storages.InMemoryStorage()
        self.study = optuna.create_study(storage=self._storage, directions=list(directions))
        self._study_id = self._storage.get_study_id_from_name(self.study.study_name)
        self._noted = self._study_attributes()
        self._distributions = {name: distribution(leaf) for name, leaf in space.domains().items()}
        self._places = 0  # of the study that are taken
        self._trials: dict[int, int] = {}  # places in the study by number
        self._silent: dict[int, dict[str, Any]] = {}

    def ask(
        self, number: int, attempt: int = 0, given: Mapping[str, Any] | None = None
    ) -> tuple[Candidate, dict[str, Any]]:
        """Return the candidate of trial `number`; another attempt draws anew after a discard.

        `given` values take the place of the sampler's: the trial is one like all others to it.
        """
        seeds = Seeds(derived_seed(self.seed, number, attempt), derived_seed(self.seed, "run"))
        if given is not None:
            self.study.enqueue_trial(dict(given))
        with warnings.catch_warnings(), self._sampler.guard():
            # What Optuna marks experimental is chosen by a benchmark, not by the mark.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = self._sampler.make(seeds, self.startup)
            trial = self.study.ask()
            candidate = self.space.draw(partial(suggested, trial))
            params = trial.params
            unused = self.space.domains().items() if self._sampler.whole else ()
            silent = {name: suggested(trial, name, leaf) for name, leaf in unused if name not in params}
        self._trials[number], self._silent[number] = trial.number, silent
        self._places = trial.number + 1
        return candidate, params

    def discard(self, number: int) -> None:
        """Forget a proposal that cannot be fitted to its level; the sampler does not learn from it."""
        self.study.tell(self._trials.pop(number), state=TrialState.FAIL)

    def notes(self, number: int) -> dict[str, Any]:
        """Return what `restore` needs besides the values: plain data, given once for each proposal.

        `place` in Optuna's study, which discards take too; `silent` values of leaves that the candidate does
        not use; what the sampler keeps with the trial, and what it changed in the study since the last notes.
        """
        now, before = self._study_attributes(), self._noted
        self._noted = now
        place = self._trials[number]
        notes = {
            "place": place,
            "silent": self._silent[number],
            "trial": dict(self._trial(place).system_attrs),
            "study": {key: value for key, value in now.items() if before.get(key) != value},
        }
        return {name: value for name, value in notes.items() if value != {}}

    def restore(self, number: int, params: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
        """Take up a recorded proposal again, as one whose result is not told yet."""
        values = {} if self._sampler.blind else {**params, **notes.get("silent", {})}
        place = notes["place"]
        if place not in range(self._places, self._places + PATIENCE):
            raise ValueError(f"its place is one of the {PATIENCE} from {self._places}, but got {place!r}")
        for _ in range(self._places, place):
            self.study.add_trial(create_trial(state=TrialState.FAIL))  # a discard
        self._trials[number], self._places = place, place + 1
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=values,
                distributions={name: self._distributions[name] for name in values},
                system_attrs=dict(notes.get("trial", {})),
            )
        )
        for key, value in notes.get("study", {}).items():
            self._storage.set_study_system_attr(self._study_id, key, value)
        self._noted = self._study_attributes()

    def tell(self, number: int, values: Sequence[float] | None) -> None:
        """Tell a result, a finite value for each objective, or a failure (None)."""
        trial = self._trials[number]
        if values is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, list(values))

    def _trial(self, place: int) -> FrozenTrial:
        key = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, place)
        return self._storage.get_trial(key)

    def _study_attributes(self) -> dict[str, Any]:
        return dict(self._storage.get_study_system_attrs(self._study_id))
