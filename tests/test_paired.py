"""Differences of networks judged on the same images: intervals against worlds whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from scalesearch.cli.compare_report import statement
from scalesearch.search.paired import Difference, difference
from scalesearch.search.trust import SeedNoise, estimates, pooled_variance

KNOWN = SeedNoise(0.006, 6)


def sampled(rng, ability, bias, images, n):
    """Answers of n trainings: chances by image, and a deviation of each training on all images."""
    seeds = rng.normal(0, 0.006, (n, 1))
    chances = np.clip(ability + bias + seeds, 0, 1)
    return rng.random((n, images)) < chances


def compared(first, second, known=KNOWN):
    groups = [first.mean(1).tolist(), second.mean(1).tolist()]
    return difference(first, second, *pooled_variance(groups, known))


def abilities(rng, images, gap=0.01):
    """Chances of two networks by image: images are hard or easy for both, less so for one than the other."""
    common = rng.beta(2, 1, images)
    first, second = np.clip(common + rng.normal(0, 0.1, (2, images)), 0.02, 0.98)
    return first, np.clip(second - gap, 0, 1)


def test_intervals_of_differences_cover_the_truth_over_seeds_and_images():
    rng = np.random.default_rng(1)
    whole = abilities(rng, 1_000_000)
    truth = float(np.mean(whole[0] - whole[1]))
    between = math.sqrt(0.006**2 + np.mean(whole[0] * (1 - whole[0])) / 1500)  # seeds of one network
    covered, reach, unpaired = 0, [], []
    for _ in range(400):
        first, second = (sampled(rng, own, 0, 1500, 3) for own in abilities(rng, 1500))
        # What is known beforehand is itself an estimate from a few trainings.
        known = SeedNoise(between * math.sqrt(rng.chisquare(6) / 6), 6)
        found = compared(first, second, known)
        covered += found.low <= truth <= found.high
        reach.append(found.high - found.low)
        alone = estimates({0: first.mean(1), 1: second.mean(1)}, 1500, known)
        unpaired.append(math.hypot(*(one.high - one.low for one in alone.values())))
    assert 0.93 <= covered / 400 <= 0.99
    assert np.mean(reach) < 0.8 * np.mean(unpaired)


def test_the_error_agrees_with_trainings_on_other_seeds_and_images():
    """Against the spread of the difference itself, over worlds with fresh images and fresh seeds."""
    rng = np.random.default_rng(2)
    values, errors = [], []
    for _ in range(600):
        first, second = (sampled(rng, own, 0, 500, 6) for own in abilities(rng, 500))
        variance = float(np.mean([np.var(one.mean(1), ddof=1) for one in (first, second)]))
        found = difference(first, second, variance, 1_000_000)
        values.append(found.value)
        errors.append((found.high - found.value) / 1.959964)
    assert math.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.1)


def test_only_images_that_are_answered_differently_count():
    """With one training each and no noise of seeds the statistic is McNemar's without its correction."""
    rng = np.random.default_rng(3)
    easy = np.ones(9000, dtype=bool)
    first = np.concatenate([easy, rng.random(1000) < 0.7])[None]
    second = np.concatenate([easy, rng.random(1000) < 0.5])[None]
    found = difference(first, second, 1e-18, 1_000_000)
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    assert found.value == pytest.approx((b - c) / 10_000)
    z = found.value / ((found.high - found.value) / 1.959964)
    assert z**2 == pytest.approx((b - c) ** 2 / (b + c), rel=0.05)
    assert not found.tie


def test_a_difference_changes_sign_with_its_order_and_is_a_tie_where_p_says_so():
    rng = np.random.default_rng(4)
    chances = rng.beta(2, 1, 1000)
    for gap in (0.0, 0.005, 0.05, 0.1):
        first, second = sampled(rng, chances, gap, 1000, 3), sampled(rng, chances, 0, 1000, 2)
        one, other = compared(first, second), compared(second, first)
        assert (one.low, one.value, one.p) == pytest.approx((-other.high, -other.value, other.p))
        assert one.tie == (one.p >= 0.05)
    same = compared(first, first)
    assert (same.value, same.p, same.tie) == (0, 1, True)
    assert same.high > 0  # other seeds would differ


def test_the_variance_of_seeds_is_pooled_as_in_intervals_of_one_network():
    groups = [[0.70, 0.71, 0.73], [0.6, 0.62]]
    variance, freedom = pooled_variance(groups, KNOWN)
    found = estimates(dict(enumerate(groups)), 10_000, KNOWN)[0]
    error = math.sqrt(variance / 3 + found.mean * (1 - found.mean) / 10_000)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, freedom) * error)


@pytest.mark.parametrize(
    ("between", "text"),
    [
        (Difference(0.0131, 0.0042, 0.022, 0.006), "a is ahead of b by 1.31 points [0.42, 2.20], p = 0.006"),
        (Difference(-0.0131, -0.022, -0.0042, 0.006), "a is behind b by 1.31 points [0.42, 2.20], p = 0.006"),
        (Difference(-0.001, -0.01, 0.008, 0.8), "a and b are a tie: -0.10 points [-1.00, +0.80], p = 0.8"),
    ],
)
def test_a_statement_says_who_is_ahead(between, text):
    assert statement("a", "b", between) == text
