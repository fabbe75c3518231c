"""Equal-cost comparisons against enumeration and simulated arms."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from scalesearch.errors import InputError
from scalesearch.search.comparison import (
    compare_arms,
    expected_best,
    outlook,
    regret_outlook,
    simple_regret,
)


def test_curves_are_the_best_so_far_at_equal_cost():
    found = compare_arms([3.0, 1.0, 2.0, 0.5], [2.0, 2.5, 1.5], images_each=20_000, resamples=9)
    assert found.images.tolist() == [20_000, 40_000, 60_000]
    assert found.search.tolist() == [3.0, 1.0, 1.0]  # the fourth training has no counterpart
    assert found.control.tolist() == [2.0, 2.0, 1.5]
    assert (found.difference, found.top, found.top_difference) == (0.5, 1, 0.5)


@pytest.mark.parametrize("top", [1, 2, 4])
def test_the_p_value_is_that_of_all_permutations(top):
    rng = np.random.default_rng(top)
    search, control = rng.normal(0, 1, 4).round(1), rng.normal(0.8, 1, 4).round(1)
    both = [*search, *control]

    def lead(chosen):
        first = sorted(both[i] for i in chosen)[:top]
        second = sorted(both[i] for i in range(8) if i not in chosen)[:top]
        return np.mean(second) - np.mean(first)

    observed = lead((0, 1, 2, 3))
    every = [abs(lead(chosen)) >= abs(observed) - 1e-12 for chosen in combinations(range(8), 4)]
    found = compare_arms(search, control, top=top)
    assert found.top_difference == pytest.approx(observed)
    assert found.p == pytest.approx(np.mean(every), abs=0.02)


def test_the_p_value_of_all_trainings_is_scipys():
    rng = np.random.default_rng(1)
    search, control = rng.normal(0, 1, 30), rng.normal(0.5, 1, 30)
    rival = stats.permutation_test(
        (control, search), lambda x, y: np.mean(x) - np.mean(y), n_resamples=4000, rng=2
    ).pvalue
    assert compare_arms(search, control, top=30).p == pytest.approx(rival, abs=0.03)


def test_arms_that_do_not_differ_are_seldom_called_different():
    rng = np.random.default_rng(2)
    p = [compare_arms(*rng.gumbel(size=(2, 40)), resamples=199).p for _ in range(300)]
    # 15 of 300 are expected at 0.05; more than 25 or fewer than 5 come by chance once in 200.
    assert 5 <= sum(value <= 0.05 for value in p) <= 25
    assert 120 <= sum(value <= 0.5 for value in p) <= 180


def test_a_search_that_is_ahead_is_called_so_and_one_behind_is_not():
    rng = np.random.default_rng(3)
    better, worse = rng.normal(0.8, 0.05, 60), rng.normal(1.0, 0.05, 60)
    ahead, behind = compare_arms(better, worse), compare_arms(worse, better)
    assert ahead.difference > 0 > behind.difference
    assert ahead.p == pytest.approx(behind.p, abs=0.001)
    assert ahead.p < 0.001
    assert ahead.statement().startswith("the search is ahead of random draws by 0.")
    assert behind.statement().startswith("random draws are ahead of the search by 0.")
    assert "best of each: 0." in ahead.statement()
    none = compare_arms(better, rng.normal(0.8, 0.05, 60)).statement()
    assert none.startswith("no difference shown between the search and random draws")
    assert "best 6, p = " in none


def test_the_p_value_is_never_0():
    apart = compare_arms(np.arange(30.0), np.arange(100.0, 130.0), resamples=99)
    assert apart.p == pytest.approx(0.01)


def test_failed_trainings_count_as_the_worst():
    found = compare_arms([math.nan, 1.0, math.inf], [3.0, 2.0, 4.0], resamples=9)
    assert found.search.tolist() == [4.0, 1.0, 1.0]
    assert expected_best([1.0, math.nan, 3.0], 1) == pytest.approx((1 + 3 + 3) / 3)
    with pytest.raises(InputError, match="none of the 4 trainings succeeded"):
        compare_arms([math.nan] * 2, [math.inf] * 2)


@pytest.mark.parametrize(
    ("search", "control", "top"), [([1], [1, 2], None), ([1, 2], [1, 2], 0), ([1, 2], [1, 2], 3)]
)
def test_too_few_trainings_are_refused(search, control, top):
    with pytest.raises(InputError, match=f"got n = {len(search)}"):
        compare_arms(search, control, top=top)


def test_regret_is_counted_from_the_best_known():
    assert simple_regret([3.0, 2.0, 2.0], 1.5).tolist() == [1.5, 0.5, 0.5]
    assert simple_regret([1.0], 1.5).tolist() == [-0.5]


@pytest.mark.parametrize("draws", range(1, 8))
def test_the_expected_best_is_that_of_all_subsets(draws):
    losses = [0.7, 0.2, 0.9, 0.2, 0.5, 1.4, 0.3]
    every = [min(subset) for subset in combinations(losses, draws)]
    assert expected_best(losses, draws) == pytest.approx(np.mean(every))


def test_the_expected_best_of_many_is_that_of_uniform_order_statistics():
    # The ranks 1..n: the least of k is (n + 1) / (k + 1) in the mean.
    for draws in (1, 10, 1000, 3000):
        assert expected_best(np.arange(1, 3001), draws) == pytest.approx(3001 / (draws + 1))
    for draws in (0, 3001):
        with pytest.raises(InputError, match=f"3000 trainings, got {draws}"):
            expected_best(np.arange(3000), draws)


def test_the_outlook_foretells_the_next_doubling():
    rng = np.random.default_rng(4)
    told, came = [], []
    for _ in range(400):
        losses = rng.normal(size=80)
        told.append(regret_outlook(losses[:40]))
        came.append(losses[:40].min() - losses.min())
    # From n/2 to n a little more is gained than from n to 2 n.
    assert np.mean(came) <= np.mean(told) <= 1.4 * np.mean(came)
    assert regret_outlook([2.0, 1.0, 4.0]) == pytest.approx(7 / 3 - 1)
    assert outlook([2.0, 1.0, 4.0]) == "twice the 3 trials would lower the best loss by about 1.33, or less"
    with pytest.raises(InputError, match="at least 2 trials, got 1"):
        regret_outlook([1.0])
