"""Which of two networks is better, judged on the same images, with seeds and images both drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """By how much the first accuracy (a fraction) exceeds the second, with its 95 % interval.

    `p` is the two-sided p-value of no difference between the networks.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def tie(self) -> bool:
        """Whether the interval includes 0."""
        return self.low <= 0 <= self.high


def difference(first: Right, second: Right, variance: float, freedom: int) -> Difference:
    """Compare two networks by which images each of their trainings got right.

    Seeds and images are both samples: the difference is meant for other seeds and other images. Its variance
    is what the images contribute, plus what the seeds do, less what both of these count, which is the chance
    in one training's answer to one image (the crossed random effects of Dorfman, Berbaum and Metz 1992). The
    images are the same for both networks, so only those that they answer differently count, as in McNemar's
    test. The t distribution has the freedom of the seeds' variance, the smaller of the two.

    Args:
        first: (trainings, images), True where the answer is right.
        second: (trainings, images), on the same images in the same order.
        variance: of an accuracy between seeds.
        freedom: its degrees of freedom.
    """
    from scipy.special import stdtr, stdtrit  # where scipy.stats has them from, which takes a second to load

    images = first.shape[1]
    answers = first.mean(0) - second.mean(0)
    value = float(answers.mean())
    seeds = variance * (1 / len(first) + 1 / len(second))
    drawn = float(np.var(answers, ddof=1)) / images
    both = (_chance(first) + _chance(second)) / images
    error = math.sqrt(max(drawn + seeds - both, drawn, seeds))  # neither part exceeds the whole
    reach = float(stdtrit(freedom, 0.975)) * error
    p = float(2 * stdtr(freedom, -abs(value) / error))
    return Difference(value, value - reach, value + reach, p)


def _chance(right: Right) -> float:
    """Return the variance of the mean answer to an image that the trainings' own chance makes.

    0 for a single training, which cannot show it: the difference is then taken for less sure than it is.
    """
    trainings = len(right)
    if trainings < 2:
        return 0.0
    own = right - right.mean(1, keepdims=True)  # a training that is better on all images is no chance here
    return float(np.var(own, axis=0, ddof=1).mean()) / trainings
