"""A search by a model: regress the loss on what is known of trained networks, choose among many candidates.

Candidates that keep the budget are cheap, trainings dear. So a pool of candidates is drawn, each described by
a row of figures (`features.py`), and the model says which one to train. The model never proposes a point of
its own, so all that it proposes keeps the budget, and conditional leaves are none of its business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Rng = np.random.Generator

CAUTION = 1.0  # standard deviations below the mean that the confidence bound lies
ROWS = 200  # results that a model rests on at most: a Gaussian process takes time with their cube
GROWTH = 1.1  # by which results grow before a model's parameters are sought again


class Beliefs(NamedTuple):
    """What a model believes of the losses of n candidates: (n,) means and their (n, n) covariance."""

    mean: Floats
    covariance: Floats

    @property
    def deviation(self) -> Floats:
        """(n,) standard deviations."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0))

    def draw(self, rng: Rng) -> Floats:
        """Return (n,), one joint draw."""
        values, vectors = np.linalg.eigh(self.covariance)
        scale = np.sqrt(np.maximum(values, 0))  # rounding leaves tiny negative ones
        return np.asarray(self.mean + vectors @ (scale * rng.standard_normal(len(scale))))


class Model(NamedTuple):
    """A fitted regression: predicted means of rows, full beliefs about them, and itself on other data.

    `again(x, y)` keeps the parameters that were sought, such as lengths and noise.
    """

    predict: Callable[[Floats], Floats]
    believe: Callable[[Floats], Beliefs]
    again: Callable[[Floats, Floats], Model]


Fit = Callable[[Floats, Floats], Model]


@cache
def load_models() -> ThreadpoolController:
    """Load the library that models come from, which takes seconds once; return what limits its threads."""
    import_module("sklearn.gaussian_process")
    return ThreadpoolController()  # it looks through all loaded libraries for those with threads


def _gp(x: Floats, y: Floats) -> Model:
    """Fit a Gaussian process with one length for all features (Rasmussen, Williams 2006, algorithm 2.1)."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    length = float(np.sqrt(x.shape[1]))
    smooth = ConstantKernel(1.0, (0.05, 20.0)) * RBF(length, (length / 5, length * 10))
    model = GaussianProcessRegressor(smooth + WhiteKernel(0.3, (0.01, 2.0)))
    _quietly(lambda: model.fit(x, y))
    return _process(model)


def _process(model: Any) -> Model:
    noise = model.kernel_.k2.noise_level

    def believe(rows: Floats) -> Beliefs:
        mean, covariance = model.predict(rows, return_cov=True)
        # What is sought is the network, not the chance of its training.
        return Beliefs(mean, covariance - noise * np.eye(len(rows)))

    def again(x: Floats, y: Floats) -> Model:
        return _process(type(model)(model.kernel_, optimizer=None).fit(x, y))

    return Model(model.predict, believe, again)


def _ridge(x: Floats, y: Floats) -> Model:
    """Fit a linear regression with a prior on its weights whose width the data decide (MacKay 1992)."""
    from sklearn.linear_model import BayesianRidge

    model = BayesianRidge().fit(x, y)

    def believe(rows: Floats) -> Beliefs:
        centred = rows - x.mean(axis=0)
        return Beliefs(model.predict(rows), centred @ model.sigma_ @ centred.T)

    return Model(model.predict, believe, _ridge)  # whose parameters cost nothing


def _quietly(work: Callable[[], Any]) -> None:
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # With few networks a length or the noise ends at a bound, as it should.
        warnings.simplefilter("ignore", ConvergenceWarning)
        work()


def _thompson(beliefs: Beliefs, _best: float, rng: Rng) -> Floats:
    """Return one draw of the losses (Thompson 1933)."""
    return beliefs.draw(rng)


def _bound(beliefs: Beliefs, _best: float, _rng: Rng) -> Floats:
    """Return the lower confidence bound (Srinivas et al. 2010)."""
    return beliefs.mean - CAUTION * beliefs.deviation


def _improvement(beliefs: Beliefs, best: float, _rng: Rng) -> Floats:
    """Return minus the expected improvement on the best (Jones, Schonlau and Welch 1998, equation 15)."""
    from scipy.special import ndtr

    deviation = np.maximum(beliefs.deviation, 1e-12)
    gain = best - beliefs.mean
    z = gain / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return -np.asarray(gain * ndtr(z) + deviation * density, dtype=np.float64)


class Results(Protocol):
    """Features of m networks, of which any (n,) rows may be asked for: an array is one."""

    def __getitem__(self, rows: Rows, /) -> Floats:
        """Return (n, k) of these networks."""
        ...


MODELS: dict[str, Fit] = {"gp": _gp, "ridge": _ridge}
# Each gives (n,) figures of which the least is chosen.
ACQUISITIONS: dict[str, Callable[[Beliefs, float, Rng], Floats]] = {
    "thompson": _thompson,
    "bound": _bound,
    "improvement": _improvement,
}


@dataclass(frozen=True)
class Surrogate:
    """Chooses the next candidate of a pool.

    Attributes:
        startup: with fewer results than that the choice is random.
        model, acquisition: by name. The defaults are those of the benchmark of recorded trainings.
    """

    startup: int = 10
    model: str = "gp"
    acquisition: str = "bound"

    def __post_init__(self) -> None:
        for name, known in (("model", MODELS), ("acquisition", ACQUISITIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}, but got {getattr(self, name)!r}")
        if self.startup < 0:
            raise ValueError(f"startup must be at least 0, but got {self.startup}")

    def choose(self, pool: Floats, trained: Results, losses: Floats, pending: Floats, rng: Rng) -> int:
        """Return the row of the pool to train next, the same for the same arguments and state of `rng`.

        Args:
            pool: (n, k) features of candidates.
            trained: (m, k) of networks with a result; asked for those rows alone that the model rests on.
            losses: (m,) their validation losses; one that is not finite counts as the worst.
            pending: (p, k) of networks under way, taken to end as predicted (Ginsbourger et al. 2010).
            rng: the only source of chance.

        Raises:
            ValueError: an empty pool.
        """
        if not len(pool):
            raise ValueError("a choice needs at least one candidate, but the pool has 0")
        if len(losses) < max(2, self.startup) or not _differ(losses):
            return int(rng.integers(len(pool)))
        rows = telling(losses)
        x, seen, waiting = _alike(pool, trained[rows], pending)
        y = standardised(losses)[rows]
        model = _sought(self.model, trained, losses).again(seen, y)
        if len(waiting):
            y = np.concatenate([y, model.predict(waiting)])
            model = model.again(np.vstack([seen, waiting]), y)
        return int(np.argmin(ACQUISITIONS[self.acquisition](model.believe(x), float(y.min()), rng)))


def telling(losses: Floats) -> Rows:
    """Return the results that a model rests on: all, or the better half of `ROWS` and as many of the rest.

    Those are every so manieth by rank, so that the model knows too what is bad. In the order of the results.
    """
    if len(losses) <= ROWS:
        return np.arange(len(losses))
    order = np.argsort(np.where(np.isfinite(losses), losses, np.inf), kind="stable")
    best = ROWS // 2
    rest = np.linspace(best, len(order) - 1, ROWS - best).round().astype(np.intp)
    return np.sort(np.concatenate([order[:best], order[rest]]))


def _sought(model: str, trained: Results, losses: Floats) -> Model:
    """Return a model with parameters from the first so many results.

    How many depends on the number of results alone, so a run that is resumed finds the same ones.
    """
    first = _milestone(len(losses))
    if not _differ(losses[:first]):
        first = len(losses)
    rows = telling(losses[:first])
    y = standardised(losses[:first])[rows]
    (x,) = _alike(trained[rows])
    return _found(model, x.tobytes(), y.tobytes())


@lru_cache(maxsize=8)  # of several searches in one process
def _found(model: str, x: bytes, y: bytes) -> Model:
    target = np.frombuffer(y)
    return MODELS[model](np.frombuffer(x).reshape(len(target), -1), target)


def _milestone(count: int) -> int:
    """Return the last of 2, 3, ... 20, 22, ..., each a tenth more than the one before, up to a count."""
    reached = 2
    while (following := max(reached + 1, int(reached * GROWTH))) <= count:
        reached = following
    return reached


def _differ(losses: Floats) -> bool:
    return len(np.unique(losses[np.isfinite(losses)])) > 1


def standardised(losses: Floats) -> Floats:
    """Return logarithms of losses with mean 0 and deviation 1; a failed training counts as the worst."""
    finite = np.isfinite(losses)
    logs = np.log(np.where(finite, losses, losses[finite].max()))
    return np.asarray((logs - logs.mean()) / logs.std(), dtype=np.float64)


def _alike(*parts: Floats) -> list[Floats]:
    """Return parts of one table, every column with mean 0 and deviation 1, or 0 where it is constant."""
    whole = np.vstack(parts)
    spread = whole.std(axis=0)
    scale = np.where(spread > 1e-9 * (1 + np.abs(whole).max(axis=0)), spread, np.inf)
    table = (whole - whole.mean(axis=0)) / scale
    return np.split(table, np.cumsum([len(part) for part in parts])[:-1])
