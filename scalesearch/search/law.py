"""How the error falls with the cost of a network: error(C) = a C^-b + c, and how far that may be believed.

A saturating power law is judged by extrapolation (Alabdulmohsin, Neyshabur and Zhai 2022); Huber's loss on
log residuals and many starts follow Hoffmann et al. 2022, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalesearch.errors import InputError
from scalesearch.search.powerlaw import descend

Floats = NDArray[np.float64]
Point = tuple[float, int, float]

FEWEST_SIZES = 6
FEWEST_DECADES = 1.5
FEWEST_SEEDS = 3
FURTHEST = 4.0
# The constant at which Huber's estimate keeps 95 % of the efficiency under normal errors (Huber 1981).
HUBER = 1.345


class InsufficientEvidence(InputError):  # noqa: N818  # it names what is wrong with the data, not a fault
    """The trainings do not support what was asked of them: one line that names the rule and the value."""


class Prediction(NamedTuple):
    """The mean error at one cost with its interval; not `supported` beyond 4 times the largest size."""

    value: float
    low: float
    high: float
    supported: bool


@dataclass(frozen=True)
class Law:
    """error(C) = a C^-b + c, with C in multiply-accumulates and the error a fraction.

    `a`, `b`, `c` fit all `n` trainings of the `sizes` (costs, ascending), and `samples`, (resamples, 3), the
    resampled ones; `smallest_error` is the least mean of a size; `level` is that of every interval.
    """

    a: float
    b: float
    c: float
    sizes: tuple[float, ...]
    n: int
    smallest_error: float
    samples: Floats
    level: float

    @property
    def supported_to(self) -> float:
        """The largest cost at which the law may be read: 4 times the largest trained."""
        return FURTHEST * self.sizes[-1]

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The bootstrap intervals of `a`, `b` and `c`."""
        return {name: self._interval(self.samples[:, i]) for i, name in enumerate("abc")}

    @property
    def c_identified(self) -> bool:
        """False where the interval of c holds 0 and reaches above half of the smallest error."""
        low, high = self.intervals["c"]
        return low > 0 or high <= self.smallest_error / 2

    def predict(self, macs: float) -> Prediction:
        """Return the mean error of networks of `macs` multiply-accumulates, with its interval."""
        if not macs > 0:
            raise InputError(f"a cost must be above 0, got {macs}")
        value = self.a * macs**-self.b + self.c
        a, b, c = self.samples.T
        low, high = self._interval(a * macs**-b + c)
        return Prediction(value, low, high, macs <= self.supported_to)

    def statement(self) -> str:
        """Say the law, what it rests on and where it ends."""
        found = self.intervals
        floor = "" if self.c_identified else "; the floor c is not identified"
        return (
            f"error = {self.a:.3g} MACs^-{self.b:.3g} + {self.c:.3g} "
            f"(b {found['b'][0]:.3g} to {found['b'][1]:.3g}, c {found['c'][0]:.3g} to {found['c'][1]:.3g})"
            f"{floor}; {self.n} trainings of {len(self.sizes)} sizes, {self.sizes[0]:.3g} to "
            f"{self.sizes[-1]:.3g} MACs; not supported by evidence beyond {self.supported_to:.3g}"
        )

    def _interval(self, values: Floats) -> tuple[float, float]:
        from scipy.stats import norm, t  # a second to load: a page without a law needs none of it

        # The expanded percentile interval: few trainings make a plain one too narrow (Hesterberg 2015).
        freedom = self.n - 3
        quantile = float(t.ppf((1 + self.level) / 2, freedom)) * math.sqrt(self.n / freedom)
        tail = float(norm.cdf(-quantile))
        low, high = np.quantile(values, [tail, 1 - tail])
        return float(low), float(high)


@dataclass(frozen=True)
class HeldOut:
    """What the law without the largest size says of it.

    `actual` is the mean error trained there; `predicted`, `low`, `high` are the law's; `error` is predicted
    less actual (above 0 the networks did better than the law); `supported` is within 4 times the next size.
    """

    size: float
    predicted: float
    low: float
    high: float
    actual: float
    error: float
    supported: bool


def fit_law(points: Iterable[Point], *, seed: int = 0, resamples: int = 400, level: float = 0.95) -> Law:
    """Fit the law to trainings (multiply-accumulates, seed, error); intervals resample the trainings.

    Raises:
        InsufficientEvidence: fewer than 6 sizes, 1.5 decades, or 3 seeds of a size.
        InputError: a cost or an error that is not above 0, or a training given twice.
    """
    return _fit(_checked(points), seed, resamples, level)


def hold_out(points: Iterable[Point], *, seed: int = 0, resamples: int = 400, level: float = 0.95) -> HeldOut:
    """Predict the largest size by the law fitted without it; the rules hold for all points together.

    Raises what `fit_law` raises.
    """
    trained = _checked(points)
    size = max(trained)
    law = _fit({s: errors for s, errors in trained.items() if s != size}, seed, resamples, level)
    actual = float(np.mean(trained[size]))
    found = law.predict(size)
    error = found.value - actual
    return HeldOut(size, found.value, found.low, found.high, actual, error, found.supported)


def _checked(points: Iterable[Point]) -> dict[float, list[float]]:
    """Return the errors of each size, sizes ascending, if they are evidence enough."""
    trained: dict[float, dict[int, float]] = {}
    for macs, seed, error in sorted(points):
        if not (0 < macs < math.inf and 0 < error < math.inf):
            raise InputError(f"a cost and an error must be above 0 and finite, got {macs} and {error}")
        if seed in trained.setdefault(macs, {}):
            raise InputError(f"the size {macs} with seed {seed} is given twice")
        trained[macs][seed] = error
    _check_evidence(trained)
    return {size: list(errors.values()) for size, errors in trained.items()}


def _check_evidence(trained: dict[float, dict[int, float]]) -> None:
    if len(trained) < FEWEST_SIZES:
        raise InsufficientEvidence(f"a law needs at least {FEWEST_SIZES} sizes, got {len(trained)}")
    decades = math.log10(max(trained) / min(trained))
    if decades < FEWEST_DECADES:
        raise InsufficientEvidence(
            f"the sizes of a law must span at least {FEWEST_DECADES} decades, got {decades:.2f}"
        )
    size, errors = min(trained.items(), key=lambda item: len(item[1]))
    if len(errors) < FEWEST_SEEDS:
        raise InsufficientEvidence(
            f"a law needs at least {FEWEST_SEEDS} seeds of each size, got {len(errors)} of size {size}"
        )


def _fit(trained: dict[float, list[float]], seed: int, resamples: int, level: float) -> Law:
    sizes = np.repeat(list(trained), [len(errors) for errors in trained.values()]).astype(np.float64)
    errors = np.concatenate(list(trained.values()))
    centre = math.exp(float(np.log(sizes).mean()))  # about which a and b are nearly uncorrelated
    x, y = np.log(sizes / centre), np.log(errors)
    # The median over sizes: a failed training must not widen the scale that is to find it.
    noise = math.sqrt(np.median([np.var(np.log(group), ddof=1) for group in trained.values()]))
    scale = max(HUBER * noise, 1e-4)
    starts = _starts(x, errors)
    fits, costs = descend(x, y, np.ones((len(starts), len(x))), starts, scale)
    best = fits[costs.argmin()]
    rng = np.random.default_rng(seed)
    counts = np.array([_resample(rng, sizes) for _ in range(resamples)])
    fits = np.vstack([best, descend(x, y, counts, np.tile(best, (resamples, 1)), scale)[0]])
    fits[:, 0] = np.exp(fits[:, 0]) * centre ** fits[:, 1]
    a, b, c = fits[0].tolist()
    smallest = min(float(np.mean(group)) for group in trained.values())
    return Law(a, b, c, tuple(trained), len(sizes), smallest, fits[1:], level)


def _starts(x: Floats, errors: Floats) -> Floats:
    """Return (log a, b, c) over gentle and steep slopes and low and high floors."""
    grid = product((0.1, 0.3, 0.6, 1.2), (0.0, 0.3, 0.6, 0.9))
    floors = [(b, share * float(errors.min())) for b, share in grid]
    return np.array([[np.median(np.log(errors - c) + b * x), b, c] for b, c in floors])


def _resample(rng: np.random.Generator, sizes: Floats) -> NDArray[np.int64]:
    """Return how often each training is drawn, of at least 4 sizes: 3 leave no residual."""
    while True:
        rows = rng.integers(len(sizes), size=len(sizes))
        if len(np.unique(sizes[rows])) > 3:
            return np.bincount(rows, minlength=len(sizes))
