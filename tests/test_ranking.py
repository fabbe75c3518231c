"""Rank agreement against SciPy, brute force and data of a known truth."""

import math
import time
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from scalesearch.errors import InputError
from scalesearch.search.ranking import (
    Agreement,
    noise_ceiling,
    partial_agreement,
    rank_agreement,
    resolving_power,
    verdict,
)


def pair(rng, n, correlation, digits=None):
    """Draw n networks of normal values, rounded to `digits` to make ties."""
    truth = rng.normal(size=n)
    signal = correlation * truth + math.sqrt(1 - correlation**2) * rng.normal(size=n)
    return (signal, truth) if digits is None else (signal.round(digits), truth.round(digits))


@pytest.mark.parametrize("digits", [None, 0])
@pytest.mark.parametrize("n", [3, 17, 60])
def test_correlations_are_scipys_with_and_without_ties(n, digits):
    signal, truth = pair(np.random.default_rng(n), n, 0.6, digits)
    found = rank_agreement(signal, truth, resamples=10)
    assert found.n == n
    assert found.spearman == pytest.approx(stats.spearmanr(signal, truth).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(signal, truth).statistic)


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_is_scored_as_scipy_scores_the_repeated_networks(seed):
    signal, truth = pair(np.random.default_rng(4), 12, 0.6, 1)
    repeats = np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12), size=1)[0]
    drawn = np.repeat(signal, repeats), np.repeat(truth, repeats)
    found = rank_agreement(signal, truth, seed=seed, resamples=1)
    assert found.spearman_low == found.spearman_high == pytest.approx(stats.spearmanr(*drawn).statistic)
    assert found.kendall_low == found.kendall_high == pytest.approx(stats.kendalltau(*drawn).statistic)


def test_intervals_are_those_of_scipys_bootstrap():
    signal, truth = pair(np.random.default_rng(5), 40, 0.6, 1)
    found = rank_agreement(signal, truth, level=0.9)
    for statistic, low, high in [
        (stats.spearmanr, found.spearman_low, found.spearman_high),
        (stats.kendalltau, found.kendall_low, found.kendall_high),
    ]:
        rival = stats.bootstrap(
            (signal, truth),
            lambda x, y, of=statistic: of(x, y).statistic,
            paired=True,
            vectorized=False,
            n_resamples=1000,
            confidence_level=0.9,
            method="percentile",
            rng=1,
        ).confidence_interval
        assert (low, high) == pytest.approx((rival.low, rival.high), abs=0.025)


def test_intervals_cover_the_true_correlation():
    rng = np.random.default_rng(2)
    spearman, kendall = 6 / math.pi * math.asin(0.35), 2 / math.pi * math.asin(0.7)  # of normals with r = 0.7
    covered = np.zeros(2)
    for _ in range(300):
        found = rank_agreement(*pair(rng, 20, 0.7), resamples=300)
        covered += [
            found.spearman_low <= spearman <= found.spearman_high,
            found.kendall_low <= kendall <= found.kendall_high,
        ]
    assert ((covered / 300 >= 0.91) & (covered / 300 <= 0.995)).all()


def test_chance_seldom_looks_like_order():
    rng = np.random.default_rng(3)
    found = [rank_agreement(rng.normal(size=6), rng.normal(size=6), resamples=300) for _ in range(400)]
    said = [" does not order " in verdict("it", agreement, None) for agreement in found]
    assert sum(said) / 400 >= 0.88


def test_the_seed_decides_the_interval_and_a_higher_level_widens_it():
    signal, truth = pair(np.random.default_rng(6), 12, 0.5)
    assert rank_agreement(signal, truth) == rank_agreement(signal, truth)
    assert rank_agreement(signal, truth, seed=1) != rank_agreement(signal, truth)
    wide, narrow = rank_agreement(signal, truth, level=0.99), rank_agreement(signal, truth, level=0.5)
    assert wide.spearman_low < narrow.spearman_low < narrow.spearman_high < wide.spearman_high


def test_the_direction_is_larger_is_better_in_both():
    signal, truth = pair(np.random.default_rng(7), 30, 0.8)
    found, turned = rank_agreement(signal, truth), rank_agreement(-signal, truth)
    assert found.spearman_low > 0.3
    assert (turned.spearman, turned.kendall) == (-found.spearman, -found.kendall)


def test_a_constant_signal_orders_nothing():
    assert rank_agreement([1, 1, 1, 1], [1, 2, 3, 4]) == Agreement(4, 0, 0, 0, 0, 0, 0)
    assert resolving_power([1] * 9, range(9)) is None
    # Of 3 networks a ninth of all resamples holds one alone: the lower end of a perfect order is 0.
    assert rank_agreement([1, 2, 3], [1, 2, 3]).spearman_low == 0


def test_2000_resamples_of_300_networks_take_about_a_second():
    signal, truth = pair(np.random.default_rng(8), 300, 0.7)
    start = time.process_time()
    rank_agreement(signal, truth)
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("signal", "truth", "rule"),
    [
        ([1, 2], [1, 2], "at least 3 networks, got 2"),
        ([1, 2, 3], [1, 2], r"got \[3, 2\] values"),
        ([1, 2, math.nan], [1, 2, 3], "finite"),
        ([1, 2, 3], [1, 2, math.inf], "finite"),
    ],
)
def test_bad_input_is_named(signal, truth, rule):
    for measure in (rank_agreement, resolving_power):
        with pytest.raises(InputError, match=rule):
            measure(signal, truth)


@pytest.mark.parametrize("digits", [None, 0])
def test_the_partial_agreement_is_that_of_the_residuals_of_ranks(digits):
    rng = np.random.default_rng(9)
    size = rng.normal(size=50)
    columns = [size + rng.normal(size=50), size + rng.normal(size=50), size]
    ranks = [stats.rankdata(x if digits is None else x.round(digits)) for x in columns]
    design = np.column_stack([np.ones(50), ranks[2]])
    left = [(y - design @ np.linalg.lstsq(design, y, rcond=None)[0]).round(9) for y in ranks[:2]]
    found = partial_agreement(*ranks, resamples=10)
    assert found.spearman == pytest.approx(stats.spearmanr(*left).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(*left).statistic)


def test_what_given_explains_is_seldom_taken_for_order():
    rng = np.random.default_rng(13)
    size = rng.normal(size=(300, 12))
    first, second = size + rng.normal(size=size.shape), size + rng.normal(size=size.shape)
    found = [partial_agreement(*columns, resamples=300) for columns in zip(first, second, size, strict=True)]
    assert np.mean([a.spearman_low <= 0 <= a.spearman_high for a in found]) >= 0.88


def test_what_size_alone_explains_is_taken_out():
    rng = np.random.default_rng(10)
    size = rng.normal(size=200)
    signal, truth = size + rng.normal(size=200), size + rng.normal(size=200)
    assert rank_agreement(signal, truth).spearman_low > 0.3
    left = partial_agreement(signal, truth, size)
    assert left.spearman_low < 0 < left.spearman_high
    assert left.kendall_low < 0 < left.kendall_high
    assert partial_agreement(size, truth, size).spearman == 0
    kept = partial_agreement(signal, truth, rng.normal(size=200))
    assert kept.spearman == pytest.approx(rank_agreement(signal, truth).spearman, abs=0.02)


def test_no_signal_agrees_more_with_noisy_trainings_than_the_ceiling():
    rng = np.random.default_rng(11)
    true = rng.normal(0, 3, 20_000)
    noisy = true + rng.normal(0, 2, 20_000)
    assert np.corrcoef(true, noisy)[0, 1] == pytest.approx(noise_ceiling(9, 4), abs=0.01)
    assert (noise_ceiling(1, 0), noise_ceiling(0, 1)) == (1, 0)
    for variances in [(-1, 2), (2, -1), (0, 0)]:
        with pytest.raises(InputError, match="variances must be"):
            noise_ceiling(*variances)


def power_by_enumeration(signal, truth, confidence):
    """Try every difference that occurs, smallest first."""
    pairs = list(combinations(range(len(truth)), 2))
    for d in sorted({abs(truth[i] - truth[j]) for i, j in pairs} - {0}):
        apart = [(i, j) for i, j in pairs if abs(truth[i] - truth[j]) >= d]
        right = sum((signal[i] - signal[j]) * (truth[i] - truth[j]) > 0 for i, j in apart)
        if len(apart) >= 10 and right / len(apart) >= confidence:
            return d
    return None


@pytest.mark.parametrize("case", range(12))
def test_resolving_power_is_that_of_enumeration(case):
    rng = np.random.default_rng(case)
    signal, truth = pair(rng, 14, [0.1, 0.6, 0.95][case % 3])
    if case >= 6:
        signal, truth = (signal * 4).round(), (truth * 4).round()
    for confidence in (0.7, 0.9, 1.0):
        found = resolving_power(signal, truth, confidence=confidence)
        assert found == power_by_enumeration(signal.tolist(), truth.tolist(), confidence)


def test_resolving_power_grows_with_the_noise_of_the_signal():
    rng = np.random.default_rng(12)
    truth = rng.uniform(0, 10, 200)
    powers = [resolving_power(truth + rng.normal(0, noise, 200), truth) for noise in (0.3, 1, 3)]
    # Two networks that differ by d are told apart with probability Phi(d / (noise sqrt 2)).
    assert 0 < powers[0] < powers[1] < powers[2]
    assert resolving_power(truth, truth) == pytest.approx(np.diff(np.sort(truth)).min())
    assert resolving_power(-truth, truth) is None
    assert resolving_power(truth[:4], truth[:4]) is None  # 6 pairs
    assert resolving_power(truth[:5], truth[:5]) is not None  # 10 pairs


@pytest.mark.parametrize(
    ("agreement", "power", "words"),
    [
        (
            Agreement(60, 0.7, 0.5, 0.8, 0.5, 0.4, 0.6),
            1.5,
            "rung 2 orders networks that differ by more than 1.5 points; below that it does not "
            "(Spearman 0.70, 0.50 to 0.80, n = 60)",
        ),
        (
            Agreement(20, 0.1, -0.3, 0.5, 0.1, -0.2, 0.4),
            2.0,
            "rung 2 does not order these networks: its interval includes 0 "
            "(Spearman 0.10, -0.30 to 0.50, n = 20)",
        ),
        (
            Agreement(20, -0.6, -0.8, -0.1, -0.4, -0.6, -0.1),
            None,
            "rung 2 orders these networks the wrong way round (Spearman -0.60, -0.80 to -0.10, n = 20)",
        ),
        (
            Agreement(20, 0.5, 0.1, 0.8, 0.4, 0.1, 0.6),
            None,
            "rung 2 orders these networks better than chance, but no difference reliably "
            "(Spearman 0.50, 0.10 to 0.80, n = 20)",
        ),
        (
            Agreement(5, 1, 1, 1, 1, 1, 1),
            0.1,
            "rung 2: 5 networks are too few to say whether it orders them "
            "(Spearman 1.00, 1.00 to 1.00, n = 5)",
        ),
    ],
)
def test_the_verdict_says_it_in_words(agreement, power, words):
    assert verdict("rung 2", agreement, power) == words
    if power == 1.5:
        assert "1.5 nats" in verdict("rung 2", agreement, power, "nats")
