"""The map of a space: what plain random candidates cost, which leaves decide it, and what a budget leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.batch_fit import fit_all
from scalesearch.architecture.batch_scaling import Reals
from scalesearch.architecture.budget import BAND
from scalesearch.architecture.domains import Choice, Domain
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.polynomials import MEASURES, Numbers
from scalesearch.architecture.sampling import Drawn, Sampler

PIECE = 32_768  # candidates that are drawn together: their arrays stay in the processor's cache
SURVEYED = 8 * PIECE  # of the first candidates, by which the influence of leaves is judged
FITTED = 4_096
BINS = 32  # of a range that has more values than that
HISTOGRAM_BINS = 80
Z = NormalDist().inv_cdf(0.975)
Report = Callable[[int], None]


@dataclass(frozen=True)
class Influence:
    """How much of a cost one leaf decides.

    Attributes:
        groups: into how many groups its values part the candidates.
        shares: by cost, eta squared: the share of the variance of the cost's logarithm that lies between
            the groups, from 0 to 1.
        chance: what a leaf without influence has on average: (groups - 1) / (n - 1).
    """

    leaf: str
    groups: int
    shares: Mapping[str, float]
    chance: float


@dataclass(frozen=True, eq=False)
class SpaceMap:
    """The bases of n plain random candidates at their own resolution.

    Attributes:
        costs: (n,) int64 each. seconds: that drawing and costing took.
        influences: of every leaf of the base, by the share of FLOPs, the largest first.
        surveyed: candidates behind them.
    """

    costs: Cost
    seconds: float
    influences: tuple[Influence, ...]
    surveyed: int

    def __len__(self) -> int:
        return len(self.cost("flops"))

    def cost(self, name: str) -> Numbers:
        """Return (n,) one of the costs."""
        costs: Numbers = getattr(self.costs, name)
        return costs


@dataclass(frozen=True)
class Share:
    """`count` of `n`, with Wilson's 95 % interval (1927; Brown, Cai and DasGupta 2001, equation 4)."""

    count: int
    n: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the interval; it lies in [0, 1]."""
        share, inverse = self.value, Z**2 / self.n
        half = Z * sqrt(share * (1 - share) / self.n + inverse / (4 * self.n))
        low, high = ((share + inverse / 2 + sign * half) / (1 + inverse) for sign in (-1, 1))
        return (low if self.count else 0.0), (high if self.count < self.n else 1.0)


@dataclass(frozen=True, eq=False)
class AtBudget:
    """A budget on FLOPs: how many plain draws keep it, and candidates that are fitted to it (D3).

    Attributes:
        within, in_band: plain draws that take at most the budget, and from 97 % of it up to it.
        fitted_within, fitted_in_band: the same of fitted candidates.
        fitted: costs of the fitted candidates that keep the budget.
    """

    budget: float
    within: Share
    in_band: Share
    fitted_within: Share
    fitted_in_band: Share
    fitted: Cost


def draw_map(sampler: Sampler, n: int, seed: int, report: Report = lambda _done: None) -> SpaceMap:
    """Draw and cost n candidates; `report` is told from time to time how many there are.

    Every piece has a generator of its own, so that a larger n begins with the same pieces.
    """
    began = perf_counter()
    costs: list[Cost] = []
    survey: list[Drawn] = []
    for index, rng in enumerate(_generator(seed, 0).spawn(ceil(n / PIECE))):
        draws = sampler.draw(rng, min(PIECE, n - index * PIECE))
        costs.append(draws.bases.cost())
        if index * PIECE < SURVEYED:
            survey.append(draws.drawn)
        report(min(n, (index + 1) * PIECE))
    joined = Cost(*(np.concatenate([getattr(cost, name) for cost in costs]) for name in MEASURES))  # type: ignore[arg-type]
    seconds = perf_counter() - began
    surveyed = min(n, SURVEYED)
    logs = np.log([getattr(joined, name)[:surveyed] for name in MEASURES])
    return SpaceMap(joined, seconds, _influences(sampler.space.domains(), survey, logs), surveyed)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(seed).spawn(stream + 1)[stream]


def at_budget(sampler: Sampler, drawn: SpaceMap, budget: float, seed: int, n: int = FITTED) -> AtBudget:
    """Count the plain draws of a map that keep a budget, and fit n candidates to it."""
    draws = sampler.draw(_generator(seed, 1), n)
    fits = fit_all(draws.bases, draws.alpha, draws.beta, draws.gamma, {"flops": budget})
    plain = drawn.cost("flops") / budget
    kept = fits.batch[np.flatnonzero(fits.share <= 1)].cost() if (fits.share <= 1).any() else _NOTHING
    return AtBudget(budget, *_shares(plain), *_shares(fits.share), kept)


_NOTHING = Cost(*(np.zeros(0, dtype=np.int64) for _ in MEASURES))  # type: ignore[arg-type]


def _shares(taken: Reals) -> tuple[Share, Share]:
    within = taken <= 1
    in_band = within & (taken >= BAND)
    return Share(int(within.sum()), len(taken)), Share(int(in_band.sum()), len(taken))


def quantiles(values: Numbers, levels: tuple[float, ...]) -> list[int]:
    """Return for each level the least of the values that so large a share of them does not exceed."""
    ordered = np.sort(values)
    return [int(ordered[max(0, ceil(level * len(values)) - 1)]) for level in levels]


def histogram(values: Numbers, bins: int = HISTOGRAM_BINS) -> tuple[Reals, Numbers]:
    """Return (bins + 1,) edges over the decimal logarithm, and (bins,) counts."""
    counts, edges = np.histogram(np.log10(values), bins)
    return edges, counts


def groups(domain: Domain, values: NDArray[Any]) -> tuple[Numbers, int]:
    """Return into which group each drawn value of a leaf falls, and how many groups there are.

    A group is one value; a range with more values than BINS has BINS groups of equal width, over the
    logarithm where it is drawn so.
    """
    if isinstance(domain, Choice):
        return values.astype(np.intp), len(domain.values)
    if domain.low == domain.high:
        return np.zeros(len(values), dtype=np.intp), 1
    step = domain.step or (1 if domain.whole else None)
    if step is not None and len(domain) <= BINS:
        return np.rint((values - domain.low) / step).astype(np.intp), len(domain)
    ends = np.array([domain.low, domain.high])
    (low, high), values = (np.log(v) if domain.log else v for v in (ends, values))
    place = (values - low) / (high - low) * BINS
    return np.clip(place.astype(np.intp), 0, BINS - 1), BINS


def eta_squared(group: Numbers, deviations: Reals) -> Reals:
    """Return (m,) the correlation ratio of each row of (m, n) deviations from the row's mean.

    It is the sum of squares between groups over the total (Pearson 1905), and 0 where nothing varies.
    """
    counts = np.maximum(1, np.bincount(group))
    between = [(np.bincount(group, weights=row) ** 2 / counts).sum() for row in deviations]
    total = np.einsum("ij,ij->i", deviations, deviations)
    return np.divide(between, total, out=np.zeros(len(total)), where=total > 0)  # type: ignore[no-any-return]


def _influences(domains: Mapping[str, Domain], survey: list[Drawn], logs: Reals) -> tuple[Influence, ...]:
    # Less the first column first: where nothing varies, all deviations are exactly 0.
    deviations = logs - logs[:, :1]
    deviations -= deviations.mean(axis=1, keepdims=True)
    found = []
    for name, domain in domains.items():
        if name.startswith("coefficients."):  # they grow a base and change none
            continue
        group, count = groups(domain, np.concatenate([drawn[name] for drawn in survey]))
        shares = dict(zip(MEASURES, eta_squared(group, deviations).tolist(), strict=True))
        chance = (count - 1) / max(1, logs.shape[1] - 1)
        found.append(Influence(name, count, shares, min(1.0, chance)))
    return tuple(sorted(found, key=lambda influence: -influence.shares["flops"]))
