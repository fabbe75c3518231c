"""Search against random draws in several runs: the test of exchanged arms and the figures of live runs."""

import json
from itertools import combinations

import live
import numpy as np
import pandas as pd
import pytest

from scalesearch.errors import InputError
from scalesearch.search.comparison import compare_arms, exchanged_arms


def lead(both, chosen, top):
    left = [loss for index, loss in enumerate(both) if index not in chosen]
    return np.mean(sorted(left)[:top]) - np.mean(sorted(both[list(chosen)])[:top])


@pytest.mark.parametrize("top", [1, 2])
def test_p_agrees_with_all_exchanges_within_two_runs(top):
    rng = np.random.default_rng(3)
    runs = [np.round(rng.normal([0.0] * 4 + [0.8] * 4), 2) for _ in range(2)]
    every = [[lead(both, chosen, top) for chosen in combinations(range(8), 4)] for both in runs]
    means = np.add.outer(*map(np.array, every)).ravel() / 2
    observed, p = exchanged_arms(runs, top)
    assert observed == pytest.approx(means[0])
    assert p == pytest.approx((np.abs(means) >= abs(means[0]) - 1e-12).mean(), abs=0.02)


def test_several_runs_are_surer_than_one_and_exchanges_stay_within_a_run():
    """Runs of different heights: exchanged between runs, the heights would hide every difference."""
    rng = np.random.default_rng(0)
    runs = [10 * run + np.concatenate([rng.normal(0, 1, 12), rng.normal(1, 1, 12)]) for run in range(5)]
    alone = [exchanged_arms([both], 3)[1] for both in runs]
    assert exchanged_arms(runs, 3)[1] < 0.005 < np.median(alone)
    found = compare_arms(runs[1][:12], runs[1][12:], top=3)
    assert (found.top_difference, found.p) == exchanged_arms([runs[1]], 3)


def test_p_is_even_when_arms_do_not_differ():
    rng = np.random.default_rng(1)
    ps = [exchanged_arms(list(rng.normal(size=(3, 16))), 2, resamples=199)[1] for _ in range(200)]
    assert 0.35 < np.mean(np.array(ps) < 0.5) < 0.65
    assert np.mean(np.array(ps) < 0.05) < 0.11


def table(search, control):
    """Return the table of runs whose arms have these losses, (runs, trainings); None failed."""
    rows = [
        {"run": run, "arm": arm, "val_loss": loss, "status": "failed" if loss is None else "complete"}
        for run, arms in enumerate(zip(search, control, strict=True))
        for arm, losses in zip(("search", "control"), arms, strict=True)
        for loss in losses
    ]
    return pd.DataFrame(rows)


def test_figures_of_runs_with_a_known_answer(capsys):
    control = [[5.0, 4.0, 3.5, 3.0], [5.0, 4.0, 3.5, 3.2]]
    found = live.figures(table([[5.0, 3.0, 2.0, 9.0], [5.0, 3.0, 3.4, None]], control))
    (last,) = found["after"]
    assert (found["runs"], found["trainings"], found["failed"]) == (2, 4, 1)
    assert last["search"]["mean"] == pytest.approx(2.5)
    assert last["difference"]["mean"] == pytest.approx((1.0 + 0.2) / 2)  # above 0: the search is ahead
    assert last["top_difference"] == pytest.approx(last["difference"]["mean"])
    assert last["control_needs"] is None
    turned = live.figures(table(control, [[5.0, 3.0, 2.0, 9.0], [5.0, 3.0, 3.4, 9.0]]))
    assert turned["after"][0]["difference"]["mean"] == pytest.approx(-0.6)
    assert turned["after"][0]["control_needs"] == 2
    json.dumps(found, allow_nan=False)
    live.print_figures(found)
    assert "more" in capsys.readouterr().out


def test_the_longer_arm_is_cut_and_runs_without_a_control_are_refused():
    found = live.figures(table([[3.0, 2.0, 1.0]] * 2, [[3.0, 2.0]] * 2))
    assert found["trainings"] == 2
    assert found["after"][0]["difference"]["mean"] == 0
    with pytest.raises(InputError, match="--control"):
        live.figures(table([[3.0, 2.0]], [[]]))
