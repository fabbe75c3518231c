"""The methods of a replay: samplers, plain Optuna, the model among candidates, and random order.

A method that proposes points of the space trains the network that is left and most like its proposal, and is
told the values of that network, because that is what was trained. A network's like is found by the features
of both proxies: the losses of nearest networks agree better by them than by the leaves of the space, most of
which decide little. A method that chooses among candidates sees the networks themselves. The first kind loses
aim by that; how much is seen from `ChosenNearest`, which chooses like the second kind and is mapped like the
first, and from how well the nearest network predicts a loss (`nearest` of the regressions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import optuna
from replay import Floats, Rows, Values, View

from scalesearch.architecture.budget import UnfitError
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import Candidate, SearchSpace
from scalesearch.errors import InputError
from scalesearch.search.features import features
from scalesearch.search.samplers import SAMPLERS, Proposer, suggested
from scalesearch.search.surrogate import Surrogate

STARTUP = 10  # random proposals of every method that learns
CHOICES = 256  # candidates that the model of `ChosenNearest` chooses among
MOST_ASKS = 100  # for one training
TINY = 1e-9  # a feature that spreads less is constant


@dataclass(frozen=True)
class Fitting:
    """How a candidate of a space becomes the network that is trained: as in the survey."""

    space: SearchSpace
    policy: ProxyPolicy
    classes: int
    side: int

    def features(self, candidate: Candidate) -> Floats | None:
        """Return (k,) features of the proxy, or None where the candidate cannot be fitted."""
        try:
            proxy = candidate.proxy(self.policy, self.policy.flops, self.classes, self.side)
        except UnfitError:
            return None
        return features(proxy.network)


class Nearest:
    """Which network of (n, k) features is most like another: city blocks between standardised features."""

    def __init__(self, table: Floats) -> None:
        spread = table.std(axis=0)
        self._scale = np.where(spread > TINY, spread, np.inf)
        self._table = table / self._scale

    def to(self, one: Floats, left: Rows) -> int:
        """Return which of the rows that are left is nearest to (k,) features; the first among equals."""
        return int(left[np.argmin(np.abs(self._table[left] - one / self._scale).sum(axis=1))])


class Random:
    """Trains the networks in random order."""

    def __init__(self, seed: int) -> None:
        self.asks, self._rng = 0, np.random.default_rng(seed)

    def choose(self, left: Rows) -> int:
        """Return any one."""
        self.asks += 1
        return int(self._rng.choice(left))

    def learn(self, row: int, loss: float) -> None:
        """Learn nothing."""


class Sampled:
    """A sampler of scalesearch, by name."""

    def __init__(self, fitting: Fitting, view: View, sampler: str, seed: int) -> None:
        self.asks, self._view, self._fitting = 0, view, fitting
        self._nearest = Nearest(view.features)
        self._proposer = Proposer(fitting.space, sampler, STARTUP, seed, ["minimize"])
        self._whole = SAMPLERS[sampler].whole
        self._numbers: dict[int, int] = {}

    def choose(self, left: Rows) -> int:
        """Return the network that is nearest to a proposal."""
        number, proposer = len(self._numbers), self._proposer
        for attempt in range(MOST_ASKS):
            self.asks += 1
            candidate, proposed = proposer.ask(number, attempt)
            found = self._fitting.features(candidate)
            notes = proposer.notes(number)
            # What is trained in its place comes in after it; to the study it is a discard itself.
            proposer.discard(number)
            if found is not None:
                row = self._nearest.to(found, left)
                self._restore(number, row, proposed, notes)
                return row
        raise InputError(f"{MOST_ASKS} proposals in a row cannot be fitted")

    def _restore(self, number: int, row: int, proposed: Values, notes: Mapping[str, Any]) -> None:
        trained = self._view.params[row]
        genes = {**proposed, **notes.get("silent", {})} if self._whole else {}
        silent = {name: value for name, value in genes.items() if name not in trained}
        self._proposer.restore(number, trained, {**notes, "place": notes["place"] + 1, "silent": silent})
        self._numbers[row] = number

    def learn(self, row: int, loss: float) -> None:
        """Tell the sampler."""
        self._proposer.tell(self._numbers[row], [loss])


class PlainOptuna:
    """Optuna as one writes it down: its default sampler, the space as it is, the budget as a constraint.

    Nothing scales a proposal to the budget: the base itself is the network, and one over the budget costs an
    ask, is told as a violation and is not trained. A proposal far below the budget is credited with its
    nearest network, which makes full use of it, so what is measured here is flattered. Its own values are
    told: those of the nearest network describe a base that need not keep the budget.
    """

    def __init__(self, fitting: Fitting, view: View, flops: float, seed: int) -> None:
        self.asks, self._fitting, self._flops = 0, fitting, flops
        self._nearest = Nearest(view.features)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        self._numbers: dict[int, int] = {}

    def choose(self, left: Rows) -> int:
        """Return the network that is nearest to a proposal within the budget."""
        for _ in range(MOST_ASKS):
            trial, found = self._ask()
            if found is not None:
                row = self._nearest.to(found, left)
                self._numbers[row] = trial.number
                return row
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        raise InputError(f"--budget-flops: {MOST_ASKS} proposals in a row cost more than {self._flops:,.0f}")

    def _ask(self) -> tuple[optuna.Trial, Floats | None]:
        self.asks += 1
        trial = self._study.ask()
        candidate = self._fitting.space.draw(partial(suggested, trial))
        excess = candidate.base.cost().flops / self._flops - 1
        trial.set_constraint("flops", excess)
        return trial, self._fitting.features(candidate) if excess <= 0 else None

    def learn(self, row: int, loss: float) -> None:
        """Tell the study."""
        self._study.tell(self._numbers[row], loss)


@dataclass
class Chosen:
    """The model of `surrogate.py`, which chooses among the networks that are left."""

    view: View
    surrogate: Surrogate
    rng: np.random.Generator
    asks: int = 0
    _rows: list[int] = field(default_factory=list)
    _losses: list[float] = field(default_factory=list)

    def choose(self, left: Rows) -> int:
        """Return the model's choice."""
        return int(left[self.pick(self.view.features[left])])

    def pick(self, pool: Floats) -> int:
        """Return which of (n, k) candidates the model takes."""
        self.asks += 1
        trained = self.view.features[self._rows]
        return self.surrogate.choose(pool, trained, np.array(self._losses), pool[:0], self.rng)

    def learn(self, row: int, loss: float) -> None:
        """Remember the result."""
        self._rows.append(row)
        self._losses.append(loss)


class ChosenNearest:
    """The same model among random candidates of the space, as a live search has them, then the nearest."""

    def __init__(self, model: Chosen, cloud: Floats) -> None:
        self._model, self._nearest, self._cloud = model, Nearest(model.view.features), cloud

    @property
    def asks(self) -> int:
        """Proposals so far."""
        return self._model.asks

    def choose(self, left: Rows) -> int:
        """Return the network that is nearest to the model's choice."""
        n = len(self._cloud)
        some = self._model.rng.choice(n, min(n, CHOICES), replace=False)
        return self._nearest.to(self._cloud[some[self._model.pick(self._cloud[some])]], left)

    def learn(self, row: int, loss: float) -> None:
        """Remember the result."""
        self._model.learn(row, loss)


def draw_cloud(fitting: Fitting, count: int, seed: int) -> Floats:
    """Return (count, k) features of random candidates of a space."""
    values, cloud = random_values(np.random.default_rng(seed)), []
    while len(cloud) < count:
        found = fitting.features(fitting.space.draw(values))
        if found is not None:
            cloud.append(found)
    return np.array(cloud)
