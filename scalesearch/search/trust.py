"""How sure a reported accuracy is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """An accuracy (a fraction) from `n` trainings with different seeds, with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


def seed_variance(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the variance between seeds pooled over networks, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(np.var(group)) * len(group) for group in groups)
    return (squares / freedom if freedom else 0.0), freedom


def estimates(accuracies: Mapping[int, Sequence[float]], images: int) -> dict[int, Estimate]:
    """Estimate each network's accuracy from its trainings, all judged on the same `images` images.

    Two errors add up: that of the images, p (1 - p) / images, and that of the seeds, whose variance is
    pooled over the networks since each has few. With one training a network only the first is known.
    """
    variance, freedom = seed_variance(list(accuracies.values()))
    factor = float(stats.t.ppf(0.975, freedom)) if freedom else float(stats.norm.ppf(0.975))
    result = {}
    for network, values in accuracies.items():
        mean = float(np.mean(values))
        error = factor * math.sqrt(variance / len(values) + mean * (1 - mean) / images)
        result[network] = Estimate(mean, max(0.0, mean - error), min(1.0, mean + error), len(values))
    return result


def ties(best: int, found: Mapping[int, Estimate]) -> list[int]:
    """Return the networks whose mean lies inside the interval of `best`: the data cannot tell them apart."""
    interval = found[best]
    return [n for n, e in found.items() if n != best and interval.low <= e.mean <= interval.high]
