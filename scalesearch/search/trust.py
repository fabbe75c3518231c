"""How sure a reported accuracy is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


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


@dataclass(frozen=True)
class SeedNoise:
    """What is known beforehand of the spread between seeds.

    Attributes:
        deviation: standard deviation of an accuracy between trainings that differ in the seed alone.
        freedom: degrees of freedom of that measurement, its number of trainings less one.
    """

    deviation: float
    freedom: int


def pooled_variance(groups: Sequence[Sequence[float]], known: SeedNoise) -> tuple[float, int]:
    """Return the variance between seeds, pooled with what is known beforehand, and its degrees of freedom.

    Both are weighted by degrees of freedom (the moderated t of Smyth 2004, section 3).
    """
    found, own = seed_variance(groups)
    freedom = own + known.freedom
    return (own * found + known.freedom * known.deviation**2) / freedom, freedom


def estimates(
    accuracies: Mapping[int, Sequence[float]], images: int, known: SeedNoise
) -> dict[int, Estimate]:
    """Estimate each network's accuracy from its trainings, all judged on the same `images` images.

    Two errors add up: that of the images, p (1 - p) / images, and that of the seeds. The seeds' variance
    is pooled over the networks and with what is known beforehand, since a run has few trainings of the
    same network.
    """
    from scipy.special import stdtrit  # half a second: who only lists or counts needs none of it

    variance, freedom = pooled_variance(list(accuracies.values()), known)
    factor = float(stdtrit(freedom, 0.975))
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
