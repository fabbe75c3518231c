"""Intervals and ties by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from scalesearch.search.trust import SeedNoise, estimates, seed_variance, ties

VAGUE = SeedNoise(0.01, 5)


def test_variance_between_seeds_is_pooled_within_networks():
    variance, freedom = seed_variance([[0.5, 0.52], [0.7, 0.7, 0.73], [0.9]])
    assert freedom == 3
    by_hand = (0.01**2 * 2 + (0.01**2 + 0.01**2 + 0.02**2)) / 3
    assert variance == pytest.approx(by_hand)
    assert seed_variance([[0.5], [0.6]]) == (0.0, 0)


def test_an_interval_holds_both_errors():
    found = estimates({7: [0.5, 0.52]}, 2500, VAGUE)[7]
    variance = (1 * 0.0002 + 5 * 0.01**2) / 6
    error = stats.t.ppf(0.975, 6) * math.sqrt(variance / 2 + 0.51 * 0.49 / 2500)
    assert (found.mean, found.n) == (pytest.approx(0.51), 2)
    assert (found.low, found.high) == (pytest.approx(0.51 - error), pytest.approx(0.51 + error))
    alone = estimates({7: [0.51]}, 2500, VAGUE)[7]
    assert alone.high - alone.low > found.high - found.low


def test_intervals_cover_what_they_promise():
    rng = np.random.default_rng(0)
    covered, repeats = 0, 400
    for _ in range(repeats):
        images = rng.binomial(2500, 0.6) / 2500 - 0.6  # the luck of the images, shared by the seeds
        accuracies = (0.6 + images + rng.normal(0, 0.012, 2)).tolist()
        known = SeedNoise(0.012 * math.sqrt(rng.chisquare(5) / 5), 5)
        found = estimates({0: accuracies}, 2500, known)[0]
        covered += found.low <= 0.6 <= found.high
    assert 0.92 <= covered / repeats <= 0.995


def test_ties_are_the_networks_that_the_interval_cannot_tell_apart():
    found = estimates({1: [0.60, 0.61], 2: [0.61], 3: [0.50], 4: [0.7]}, 2500, VAGUE)
    assert ties(1, found) == [2]
