"""What a run's own trials say of its result: numbers against plain computations."""

from dataclasses import replace

import numpy as np
import pytest
from factories import failed, trial
from scipy.stats import kendalltau, spearmanr

from scalesearch.search.evidence import evidence

RUNGS = (1000, 3000)


def searched(number, accuracy, rung=0, arm="search", level=1e8, seconds=2.0, params=None):
    made = replace(trial(number, accuracy, level=level, seconds=seconds), rung=rung, arm=arm)
    return made if params is None else replace(made, proxy=replace(made.proxy, params=params))


def test_a_rung_is_compared_with_the_next_over_those_that_were_sent_on():
    rng = np.random.default_rng(0)
    short, long = rng.random(12), rng.random(12)
    trials = [searched(n, short[n]) for n in range(12)]
    trials += [searched(n, long[n], rung=1) for n in range(2, 12)]
    (signal,) = [s for s in evidence(trials, RUNGS)["signals"] if "1,000 images" in s["name"]]
    assert signal["n"] == 10
    assert signal["against_images"] == 3000
    assert signal["spearman"] == pytest.approx(spearmanr(short[2:], long[2:]).statistic)
    assert signal["kendall"] == pytest.approx(kendalltau(short[2:], long[2:]).statistic)


def test_static_costs_stand_beside_as_baselines():
    accuracies = [0.4, 0.5, 0.6, 0.55, 0.45, 0.62, 0.5]
    params = [5, 6, 9, 7, 4, 8, 6]
    trials = [searched(n, a, params=p) for n, (a, p) in enumerate(zip(accuracies, params, strict=True))]
    found = {s["name"]: s for s in evidence(trials, RUNGS)["signals"]}
    assert found["the proxy's params"]["spearman"] == pytest.approx(spearmanr(params, accuracies).statistic)
    assert found["the proxy's activations"]["spearman"] == 0  # all alike: nothing to order by


def test_the_control_arm_is_compared_at_equal_cost_and_direction():
    """The search's losses are lower: a swapped sign or arm would say the opposite."""
    good = [searched(2 * n, 0.60 + 0.001 * n) for n in range(20)]
    poor = [searched(2 * n + 1, 0.40 + 0.001 * n, arm="control") for n in range(24)]
    found = evidence([*good, *poor], RUNGS)["control"]
    assert found["trainings_each"] == 20
    assert found["images_each"] == 20 * RUNGS[0]
    assert found["lead"] > 0
    assert found["p"] < 0.05
    assert found["text"].startswith("the search is ahead of random draws")
    swapped = [replace(t, arm="control" if t.arm == "search" else "search") for t in (*good, *poor)]
    assert evidence(swapped, RUNGS)["control"]["lead"] < 0


def test_only_the_top_level_and_own_trainings_count():
    trials = [searched(n, 0.5 + n / 100) for n in range(6)]
    below = [searched(n, 0.9, level=5e7) for n in range(6, 12)]
    repeated = [replace(searched(n, 0.9), repeats=0) for n in range(12, 18)]
    broken = [failed(n) for n in range(18, 24)]
    alone = evidence(trials, RUNGS)
    found = evidence([*trials, *below, *repeated, *broken], RUNGS)
    assert found["outlook"] == alone["outlook"]
    assert found["outlook"]["trials"] == 6
    assert found["control"] is None
    # Losses are 2 - accuracy: the best of half of six draws on average, less the best of all.
    assert found["outlook"]["gain"] == pytest.approx(0.0075)


def test_seconds_are_stated_by_level_of_the_cascade():
    trials = [searched(n, 0.5) for n in range(4)] + [searched(0, 0.6, rung=1, seconds=9.0)]
    trials += [replace(trial(0, 0.6, role="final", seconds=8.0), rung=1)]
    spent = evidence(trials, RUNGS)["seconds"]
    assert spent == {"1000 images": 8.0, "3000 images": 9.0, "re-training": 8.0}


def test_too_few_trials_give_no_evidence():
    found = evidence([], RUNGS)
    assert (found["outlook"], found["control"], found["signals"], found["seconds"]) == (None, None, [], {})
