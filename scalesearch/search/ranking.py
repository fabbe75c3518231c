"""How well a cheap signal orders networks: rank correlation, its ceiling, and the differences it resolves.

The truth is a long training, the signal anything cheaper: a short training, a zero-cost score, a static
cost. Larger is better on both sides; a caller negates losses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalesearch.errors import InputError

Floats = NDArray[np.float64]
Values = Sequence[float] | Floats

FEWEST_NETWORKS = 3
FEWEST_PAIRS = 10
# Below 6 networks the resamples of an accidental order are too alike: their interval leaves out 0 too often.
FEWEST_FOR_VERDICT = 6


@dataclass(frozen=True)
class Agreement:
    """Rank correlations over `n` networks, each with its bootstrap interval.

    Both lie in -1..1. Spearman is the correlation of midranks; Kendall is tau-b, so both allow for ties.
    """

    n: int
    spearman: float
    spearman_low: float
    spearman_high: float
    kendall: float
    kendall_low: float
    kendall_high: float


def rank_agreement(
    signal: Values,
    truth: Values,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Agreement:
    """Return how far `signal` orders networks as `truth` does; larger is better in both.

    Percentile intervals over resampled networks (Efron & Tibshirani 1993, section 13.3). Where signal or
    truth has one value alone, nothing is ordered: that counts as 0, in a resample too.

    Raises:
        InputError: fewer than 3 networks, lengths that differ, or a value that is not finite.
    """
    first, second = _signs(signal, truth)
    n = len(first)
    # A resample is how often it holds each network: row 0 is the data themselves, each network once.
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    counts = np.vstack([np.ones((1, n)), drawn])
    tails = [(1 - level) / 2, (1 + level) / 2]
    figures: list[float] = []
    for correlation in (_spearman, _kendall):
        values = correlation(counts, first, second)
        figures += [float(values[0]), *np.quantile(values[1:], tails).tolist()]
    return Agreement(n, *figures)


def partial_agreement(
    signal: Values,
    truth: Values,
    given: Values,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Agreement:
    """Return the agreement that is left once `given` (for example log params) is regressed out of the ranks.

    The agreement of the residuals of signal's and truth's midranks in least squares on those of `given`;
    unlike Kendall's partial tau (1942) it is near 0 where `given` alone makes the two agree. 0 where `given`
    orders the networks as signal or truth does, because nothing is left.

    Raises:
        InputError: as `rank_agreement`.
    """
    ranks = [signs.sum(0) for signs in _signs(signal, truth, given)]
    slopes = [(rank @ ranks[2]) / max(ranks[2] @ ranks[2], 1.0) for rank in ranks[:2]]
    # Rounded, because residuals that are equal but for the rounding of floats are tied.
    left = [(rank - slope * ranks[2]).round(9) for rank, slope in zip(ranks, slopes, strict=False)]
    return rank_agreement(left[0], left[1], seed=seed, resamples=resamples, level=level)


def noise_ceiling(variance_between: float, variance_seed: float) -> float:
    """Return the correlation that a perfect signal would reach with one noisy training of each network.

    The square root of the reliability, between / (between + seed) (Spearman 1904). `variance_between` is that
    of the networks' true values: the variance seen over single trainings less the seeds'.

    Raises:
        InputError: a negative variance, or two of 0.
    """
    if min(variance_between, variance_seed) < 0 or variance_between + variance_seed == 0:
        raise InputError(
            f"variances must be 0 or more, one above 0: between {variance_between}, seed {variance_seed}"
        )
    return math.sqrt(variance_between / (variance_between + variance_seed))


def resolving_power(signal: Values, truth: Values, *, confidence: float = 0.9) -> float | None:
    """Return the smallest difference in truth from which on the signal orders pairs of networks right.

    That is the smallest d > 0 such that, of all pairs that differ by d or more in truth, the signal orders a
    share of at least `confidence` right; a pair with equal signals is not ordered right. None where no d
    holds, or where fewer than 10 pairs differ by as much. In the unit of `truth`.

    Raises:
        InputError: as `rank_agreement`.
    """
    first, second = _signs(signal, truth)
    pairs = np.triu_indices(len(first), 1)
    values = np.asarray(truth, dtype=np.float64)
    differences = np.abs(values[pairs[0]] - values[pairs[1]])
    largest_first = np.argsort(-differences, kind="stable")
    differences = differences[largest_first]
    right = (first * second)[pairs][largest_first] > 0
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    # Pairs of one difference belong together: only the last of them has counted all.
    last = np.append(differences[1:] < differences[:-1], True)
    enough = np.arange(1, len(right) + 1) >= FEWEST_PAIRS
    held = differences[last & enough & (differences > 0) & (share >= confidence)]
    return float(held[-1]) if len(held) else None


def verdict(name: str, agreement: Agreement, power: float | None, unit: str = "points") -> str:
    """Say in one sentence what the signal `name` is good for; `power` is in `unit`."""
    low, high = agreement.spearman_low, agreement.spearman_high
    figures = f"Spearman {agreement.spearman:.2f}, {low:.2f} to {high:.2f}, n = {agreement.n}"
    if agreement.n < FEWEST_FOR_VERDICT:
        return f"{name}: {agreement.n} networks are too few to say whether it orders them ({figures})"
    if low <= 0 <= high:
        return f"{name} does not order these networks: its interval includes 0 ({figures})"
    if high < 0:
        return f"{name} orders these networks the wrong way round ({figures})"
    if power is None:
        return f"{name} orders these networks better than chance, but no difference reliably ({figures})"
    return (
        f"{name} orders networks that differ by more than {power:.3g} {unit}; "
        f"below that it does not ({figures})"
    )


def _signs(*columns: Values) -> list[Floats]:
    """Return for each column the matrix sign(value of network j - value of network i)."""
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        raise InputError(f"every network needs one value of each: got {lengths} values")
    if lengths[0] < FEWEST_NETWORKS:
        raise InputError(f"a rank correlation needs at least {FEWEST_NETWORKS} networks, got {lengths[0]}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError("only finite values have an order: leave out networks with nan or inf")
    return [np.sign(array[None, :] - array[:, None]) for array in arrays]


def _spearman(counts: Floats, first: Floats, second: Floats) -> Floats:
    # The signs against all others sum to twice the midrank less its mean.
    a, b = counts @ first, counts @ second
    return _over((counts * a * b).sum(1), (counts * a * a).sum(1) * (counts * b * b).sum(1))


def _kendall(counts: Floats, first: Floats, second: Floats) -> Floats:
    def pairs(signs: Floats) -> Floats:
        total: Floats = ((counts @ signs) * counts).sum(1)
        return total

    return _over(pairs(first * second), pairs(first**2) * pairs(second**2))


def _over(cross: Floats, squares: Floats) -> Floats:
    """Return cross / sqrt(squares), 0 where there is nothing to order."""
    return np.divide(cross, np.sqrt(squares), out=np.zeros_like(cross), where=squares > 0)
