"""Where the loss is lowest among ways to spend the same growth on depth, width and resolution.

In log space a way to grow is a point of a triangle: the shares of the growth d w^2 r^2 that depth, width and
resolution take, which sum to 1 (the growth constraint of Tan and Le 2019, equation 3). A quadratic in two of
them is fitted to the losses (a response surface, Box and Wilson 1951).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtri

from scalesearch.errors import InputError
from scalesearch.search.quadratic import AXES, Coordinates, hull, lowest, terms
from scalesearch.search.trust import seed_variance

Floats = NDArray[np.float64]
NAMES = ("alpha", "beta", "gamma")
WIDEST_GROWTH = 1.5


@dataclass(frozen=True)
class ScaledPoint:
    """Realised multipliers of depth, width and resolution, and the loss of each training (a seed each)."""

    depth: float
    width: float
    resolution: float
    losses: tuple[float, ...]

    @property
    def growth(self) -> float:
        """What the multipliers multiply the FLOPs by: d w^2 r^2."""
        return self.depth * self.width**2 * self.resolution**2


class Shares(NamedTuple):
    """The shares of the growth that depth, width and resolution take; they sum to 1."""

    depth: float
    width: float
    resolution: float


class Interval(NamedTuple):
    """A value with its interval."""

    value: float
    low: float
    high: float


class Inside(NamedTuple):
    """Whether a triple cannot be told from the optimum: its loss less the optimum's, with interval."""

    inside: bool
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Surface:
    """The fitted surface and its optimum within the trained points.

    Attributes:
        optimum: the shares of least loss inside the hull of the trained points.
        at_edge: whether it lies on that hull's edge, so that the true optimum may lie beyond.
        fixed: the axis whose multiplier all points share and whose coefficient is not identified, or None.
        points, trainings: their numbers.
        samples: (resamples, 3), the optimum's shares under resampled noise.
        level: of every interval.
        fit: the quadratic's coefficients over `coordinates`, and their `covariance`.
        reach: standard errors within which all differences lie at once.
    """

    optimum: Shares
    at_edge: bool
    fixed: str | None
    points: int
    trainings: int
    samples: Floats
    level: float
    coordinates: Coordinates
    fit: Floats
    covariance: Floats
    reach: float

    def loss(self, shares: Sequence[float]) -> float:
        """Return the mean loss where the growth is spent by `shares`."""
        return float(self._terms(shares) @ self.fit)

    def coefficients(self, growth: float = 2.0) -> dict[str, Interval]:
        """Return alpha, beta and gamma of the optimum where one step of phi multiplies FLOPs by `growth`."""
        if not growth > 1:
            raise InputError(f"a growth must be above 1, got {growth}")
        powers = np.array([1, 2, 2])
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        ends = np.quantile(growth ** (self.samples / powers), tails, axis=0)
        found = np.vstack([growth ** (np.array(self.optimum) / powers), ends]).T.tolist()
        return {name: Interval(*numbers) for name, numbers in zip(NAMES, found, strict=True)}

    def plateau(self, alpha: float, beta: float, gamma: float) -> Inside:
        """Say whether the loss at a triple differs from the optimum's by more than the noise.

        The interval holds for all pairs of triples at once (Scheffe 1953), because the optimum was chosen on
        the same trainings: if no triple is better than another, all are inside with probability `level`.
        Where an axis is fixed, only the split between the other two is judged.

        Raises:
            InputError: a multiplier not above 0, or a triple that does not grow.
        """
        contrast = self._terms(_shares(ScaledPoint(alpha, beta, gamma, ()))) - self._terms(self.optimum)
        difference = float(contrast @ self.fit)
        error = self.reach * math.sqrt(float(contrast @ self.covariance @ contrast))
        return Inside(difference <= error + 1e-12, difference, difference - error, difference + error)

    def verdict(self, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15, growth: float = 2.0) -> str:
        """Say where the optimum is, and whether the triple (EfficientNet's by default) is as good."""
        found = self.coefficients(growth).items()
        parts = ", ".join(f"{n} {v.value:.3g} ({v.low:.3g} to {v.high:.3g})" for n, v in found)
        place = self.plateau(alpha, beta, gamma)
        where = "is inside the plateau" if place.inside else "is worse than the optimum"
        edge = ", at the edge of the points: the true one may lie beyond" if self.at_edge else ""
        lost = ""
        if self.fixed:
            lost = f"; {NAMES[AXES.index(self.fixed)]} is not identified: all points share one {self.fixed}"
        return (
            f"optimum {parts}{edge}{lost}; {alpha:g}/{beta:g}/{gamma:g} {where} (loss "
            f"{place.difference:+.3g}, {place.low:+.3g} to {place.high:+.3g}); "
            f"{self.trainings} trainings of {self.points} points"
        )

    def _terms(self, shares: Sequence[float]) -> Floats:
        return terms(self.coordinates.place(np.asarray(shares, dtype=np.float64)))


def fit_surface(
    points: Sequence[ScaledPoint], *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> Surface:
    """Fit a quadratic in the shares to every training's loss; intervals resample points' and seeds' noise.

    6 coefficients in two shares, or 3 in one where all points share a multiplier: depth, width or resolution.

    Raises:
        InputError: fewer points than coefficients + 2, growths that differ by more than 1.5 times, points
            that leave a coefficient open (on a line, say), a point without training, a value that cannot be.
    """
    shares = np.array([_shares(point) for point in points]).reshape(-1, 3)
    coordinates = _coordinates(points, shares)
    places = coordinates.place(shares)
    design = terms(places)
    _check(points, design)
    means = np.array([np.mean(point.losses) for point in points])
    counts = np.array([float(len(point.losses)) for point in points])
    inverse = np.linalg.inv((design.T * counts) @ design)
    hat = inverse @ (design.T * counts)
    fit = hat @ means
    left = np.sqrt(counts) * (means - design @ fit)
    variance, freedom = _noise(left, design.shape[1], [point.losses for point in points])

    pool = np.concatenate([left, *(np.array(p.losses) - np.mean(p.losses) for p in points)])
    noise = _draws(pool, variance, freedom, (resamples, len(points)), seed)
    fits = np.vstack([fit, fit + noise / np.sqrt(counts) @ hat.T])
    edges, walls = hull(places)
    places = lowest(fits, edges, walls)
    optima = coordinates.shares(places)
    free = design.shape[1] - 1
    return Surface(
        optimum=Shares(*optima[0].tolist()),
        at_edge=bool((walls @ np.append(places[0], 1) > -1e-9).any()),
        fixed=None if coordinates.fixed is None else AXES[coordinates.fixed],
        points=len(points),
        trainings=int(counts.sum()),
        samples=optima[1:],
        level=level,
        coordinates=coordinates,
        fit=fit,
        covariance=variance * inverse,
        reach=math.sqrt(free * float(fdtri(free, freedom, level))),
    )


def _shares(point: ScaledPoint) -> Shares:
    multipliers = (point.depth, point.width, point.resolution)
    if not (min(multipliers) > 0 and 1 < point.growth < math.inf):
        raise InputError(f"multipliers must be above 0 and d w^2 r^2 above 1, got {multipliers}")
    total = math.log(point.growth)
    return Shares(*(p * math.log(m) / total for p, m in zip((1, 2, 2), multipliers, strict=True)))


def _coordinates(points: Sequence[ScaledPoint], shares: Floats) -> Coordinates:
    spreads = [np.ptp([math.log(getattr(p, axis)) for p in points]) if points else 0.0 for axis in AXES]
    fixed = [axis for axis in range(3) if spreads[axis] < 1e-6]
    if len(fixed) > 1:
        raise InputError(
            f"a surface needs points that differ in two multipliers, got {len(points)} that do not"
        )
    return Coordinates(fixed[0], float(shares[:, fixed[0]].mean())) if fixed else Coordinates()


def _check(points: Sequence[ScaledPoint], design: Floats) -> None:
    number, coefficients = design.shape
    if number < coefficients + 2:
        raise InputError(f"{coefficients} coefficients need at least {coefficients + 2} points, got {number}")
    if not all(point.losses and np.isfinite(point.losses).all() for point in points):
        raise InputError("every point needs a training, and every training a finite loss")
    growths = [point.growth for point in points]
    if max(growths) > WIDEST_GROWTH * min(growths):
        raise InputError(f"points must have one growth, got {min(growths):.3g} to {max(growths):.3g}")
    if np.linalg.matrix_rank(design) < coefficients:
        raise InputError(f"the points leave one of the {coefficients} coefficients open: they lie on a curve")


def _noise(left: Floats, coefficients: int, losses: list[tuple[float, ...]]) -> tuple[float, int]:
    """Return the variance of one training's loss about the surface, and its degrees of freedom.

    Residuals of points and spread of seeds are pooled, unless the surface misses the points by more than the
    seeds explain (the test of lack of fit at 0.1): then the residuals alone count.
    """
    freedom = len(left) - coefficients
    found = float(left @ left) / freedom
    seeds, own = seed_variance(losses)
    if own == 0 or found > seeds * float(fdtri(freedom, own, 0.9)):
        return found, freedom
    return (freedom * found + own * seeds) / (freedom + own), freedom + own


def _draws(pool: Floats, variance: float, freedom: int, shape: tuple[int, int], seed: int) -> Floats:
    """Draw residuals of either sign at the size of `variance`, known to `freedom` degrees of freedom."""
    rng = np.random.default_rng(seed)
    signed = np.concatenate([pool, -pool])
    signed *= math.sqrt(variance) / max(float(signed.std()), 1e-300)
    # So few residuals leave the size of the noise open too: each resample draws its own.
    sizes: Floats = np.sqrt(freedom / rng.chisquare(freedom, (shape[0], 1)))
    return rng.choice(signed, shape) * sizes
