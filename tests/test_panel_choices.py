"""Choices, their importance, and accuracy by operator: as numbers, and as pictures of 0 to 5,000 trials."""

import json
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from factories import BUDGET, HOSTILE, failed, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesearch.dashboard.panels.choices import choices
from scalesearch.dashboard.panels.importance import effects, importance_panel
from scalesearch.dashboard.panels.operators import operators, operators_data
from scalesearch.errors import InputError
from scalesearch.search.importance import FEWEST_TRIALS, importance, leaf_order

OPERATORS = ("mbconv", "fused_mbconv", "shufflenet_v2")


def made(params, accuracies, levels=None):
    """Return trials with these choices and accuracies, on the levels that are given, else on one."""
    levels = levels or [BUDGET] * len(params)
    numbers = range(len(params))
    return [
        replace(trial(n, accuracies[n], level=levels[n]), params=params[n])
        if accuracies[n] is not None
        else replace(failed(n, level=levels[n]), params=params[n])
        for n in numbers
    ]


def drawn(n, seed, effect=0.0, leaves=12):
    """Return n draws of a leaf `planted` that makes `effect` of the variance, and of useless leaves."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    kinds = (
        lambda: int(rng.integers(16, 64)),
        lambda: bool(rng.integers(2)),
        lambda: [None, "a", "b"][rng.integers(3)],
    )
    rows = [
        {"planted": "xyz"[code]} | {f"other.{leaf}": kinds[leaf % 3]() for leaf in range(leaves)}
        for code in codes
    ]
    scores = np.sqrt(effect * 1.5) * (codes - 1.0) + np.sqrt(1 - effect) * rng.standard_normal(n)
    levels = np.arange(n) % 2
    return rows, (scores + 3.0 * levels).tolist(), levels.tolist()


def test_the_share_of_a_choice_by_hand():
    # Means 1 and 3 about 2: between groups 24 squares, within 24 over 22 degrees of freedom.
    rows = [{"kernel": 3}] * 12 + [{"kernel": 5}] * 12
    (effect,) = importance(rows, [0.0, 2.0] * 6 + [2.0, 4.0] * 6, [1.0] * 24)
    assert effect.share == pytest.approx((24 - 24 / 22) / 48)
    assert (effect.leaf, effect.asked, effect.groups) == ("kernel", 24, 2)
    assert effect.low < effect.share < effect.high
    assert effect.told


def squares_left(y, columns):
    """Return the sum of squares that a linear regression leaves."""
    design = np.column_stack([np.ones(len(y)), *columns])
    return float(((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum()), design.shape[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 60))
def test_the_share_is_that_of_two_nested_regressions(seed, n):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, n)  # 3 is: not asked
    values[:4] = [0, 1, 2, 3]
    y = rng.standard_normal(n) + (values == 1)
    rows = [{"leaf": "abc"[value]} if value < 3 else {} for value in values]
    asked = (values < 3).astype(float)
    before, fewer = squares_left(y, [asked])
    after, parameters = squares_left(y, [asked, *((values == k).astype(float) for k in (0, 1))])
    noise = after / (n - parameters)
    expected = (before - after - (parameters - fewer) * noise) / ((y - y.mean()) ** 2).sum()
    (effect,) = importance(rows, y.tolist(), [1.0] * n, resamples=5)
    assert effect.share == pytest.approx(max(0.0, expected))


def test_a_planted_choice_is_found_and_its_share_lies_in_the_interval():
    found = [{e.leaf: e for e in importance(*drawn(150, seed, 0.3), resamples=100)} for seed in range(20)]
    assert all(effects["planted"].told for effects in found)
    assert sum(next(iter(effects)) == "planted" for effects in found) == 20
    assert sum(effects["planted"].low <= 0.3 <= effects["planted"].high for effects in found) >= 16


def test_nothing_is_claimed_where_nothing_matters():
    # 5 of 100 may be: more than 10 of 80 by chance has a probability below 0.002.
    claims = [
        any(effect.told for effect in importance(*drawn(40, seed), resamples=100)) for seed in range(80)
    ]
    assert sum(claims) <= 10


def test_what_an_operator_decides_is_not_counted_for_the_option_that_only_it_takes():
    rng = np.random.default_rng(0)
    rows = [
        {"operator": "mbconv", "expand": int(rng.integers(1, 4))} if n % 2 else {"operator": "other"}
        for n in range(80)
    ]
    y = (np.arange(80) % 2 + 0.1 * rng.standard_normal(80)).tolist()
    found = {effect.leaf: effect for effect in importance(rows, y, [1.0] * 80)}
    assert found["operator"].share > 0.9
    assert found["expand"].share < 0.02
    assert not found["expand"].told


def test_differences_between_levels_count_for_no_choice():
    rows, scores, levels = drawn(60, 0, 0.2)
    moved = [score + 50 * level for score, level in zip(scores, levels, strict=True)]
    first, second = importance(rows, scores, levels), importance(rows, moved, levels)
    assert [effect.leaf for effect in first] == [effect.leaf for effect in second]
    assert [effect.share for effect in first] == pytest.approx([effect.share for effect in second])
    assert first == importance(rows, scores, levels)  # and it repeats


def test_the_order_of_leaves_is_that_of_their_shares():
    data = drawn(100, 1, 0.4)
    shares = {effect.leaf: effect.share for effect in importance(*data, resamples=5)}
    ordered = [shares[leaf] for leaf in leaf_order(*data)]
    assert ordered == sorted(ordered, reverse=True)
    assert leaf_order(*data)[0] == "planted"


def test_values_of_all_kinds_are_told_apart():
    values = [True, "true", None, "null", 1, 2]
    rows = [{"leaf": values[n % 6]} for n in range(72)]
    (effect,) = importance(rows, [float(n % 6) for n in range(72)], [1.0] * 72, resamples=5)
    assert effect.groups == 6
    assert effect.share == pytest.approx(1)


def test_too_few_trials_and_unequal_columns_are_refused():
    rows, scores, levels = drawn(FEWEST_TRIALS - 1, 0)
    with pytest.raises(InputError, match="24 trials or more, 4 on a level, got 23"):
        importance(rows, scores, levels)
    with pytest.raises(InputError, match="of one length"):
        importance(rows, scores[1:], levels)


def test_optunas_importance_finds_the_same_choice():
    import optuna
    from optuna.distributions import CategoricalDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows, scores, levels = drawn(200, 3, 0.5, leaves=6)
    rows = [
        {leaf: value for leaf, value in row.items() if leaf in ("planted", "other.0", "other.1")}
        for row in rows
    ]
    kinds = {
        "planted": CategoricalDistribution(list("xyz")),
        "other.0": IntDistribution(16, 64),
        "other.1": CategoricalDistribution([False, True]),
    }
    study = optuna.create_study(direction="maximize")
    for row, score, level in zip(rows, scores, levels, strict=True):
        study.add_trial(optuna.trial.create_trial(params=row, distributions=kinds, value=score - 3 * level))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0, n_trees=16)
    rival = optuna.importance.get_param_importances(study, evaluator=evaluator)
    assert next(iter(rival)) == leaf_order(rows, scores, levels)[0] == "planted"


# Operators


def test_accuracy_by_operator_is_the_difference_from_the_level_by_hand():
    names = ["mbconv", "mbconv", "fused_mbconv", "fused_mbconv"] * 2
    params = [{"stages.1.operator": name, "stages.1.repeats": 2} for name in names]
    params[3] = params[3] | {"stages.1.repeats": 0}
    accuracies = [0.5, 0.4, 0.3, 0.2, 0.8, 0.8, 0.6, 0.6]
    levels = [BUDGET / 2] * 4 + [BUDGET] * 4
    lone = made([{"stages.1.operator": "mbconv"}], [0.9], [BUDGET / 4])
    (stage,) = operators_data([*made(params, accuracies, levels), *lone])
    assert stage.stage == 2
    found = {group.operator: group for group in stage.groups}
    assert [group.operator for group in stage.groups] == ["mbconv", "fused_mbconv", None]
    assert found["mbconv"].differences == pytest.approx([0.15, 0.05, 0.1, 0.1])
    assert found["mbconv"].numbers == (0, 1, 4, 5)
    assert found["mbconv"].quartiles == pytest.approx([0.05, 0.0875, 0.1, 0.1125, 0.15])
    assert found["fused_mbconv"].mean == pytest.approx((-0.05 - 0.1 - 0.1) / 3)
    assert found[None].differences == pytest.approx([-0.15])


def searched(n, seed=0, stages=5):
    """Return n trials of a space in which the operator of stage 3 makes half of the variance."""
    rng, found = random.Random(seed), []
    for number in range(n):
        params = {"stem.act": rng.choice(["relu", "silu"]), "head.channels": rng.choice([None, 640])}
        for stage in range(stages):
            params[f"stages.{stage}.operator"] = rng.choice(OPERATORS)
            params[f"stages.{stage}.repeats"] = rng.randrange(4)
            params[f"stages.{stage}.kernel"] = rng.choice([3, 5])
            params[f"stages.{stage}.channels"] = rng.randrange(16, 200, 8)
        accuracy = 0.4 + 0.05 * OPERATORS.index(params["stages.2.operator"]) + rng.gauss(0, 0.04)
        found.append(replace(trial(number, accuracy, level=BUDGET / 2 ** (number % 4)), params=params))
    return found


def test_a_repeated_network_and_a_longer_training_count_once():
    trials = searched(40)
    again = [replace(one, rung=1) for one in trials] + [replace(trials[0], number=99, repeats=0)]
    assert operators_data([*trials, *again]) == operators_data(trials)
    assert effects([*trials, *again]) == effects(trials)


def said(figure):
    (annotation,) = figure.layout.annotations
    return annotation.text.replace("<br>", " ")


@pytest.mark.parametrize("panel", [importance_panel, operators])
def test_without_enough_trials_the_panels_say_so_in_words(panel):
    words = [said(panel(trials)) for trials in ([], [trial(0)], [failed(n) for n in range(3)])]
    assert "No trial has ended yet." in words[0]
    assert "Too few trials" in words[1]
    assert "3 of 3 trials failed" in words[2]


def test_too_few_trials_are_counted_and_equal_ones_named():
    assert "23 can be compared" in said(importance_panel(searched(23)))
    same = [replace(one, outcome=replace(one.outcome, val_accuracy=0.5)) for one in searched(40)]
    assert "varied enough" in said(importance_panel(same))
    fixed = [replace(one, params={"stem.act": "relu"}) for one in searched(40)]
    assert "No stage had a choice" in said(operators(fixed))


def test_5000_trials_are_drawn_with_few_marks_and_fast():
    trials = searched(5000)
    began = time.process_time()
    importances, boxes, lines = importance_panel(trials), operators(trials), choices(trials)
    assert time.process_time() - began < 3  # about 0.7 where nothing else runs
    assert sum(len(trace.y) for trace in importances.data) < 100
    assert sum(len(trace.y) for trace in boxes.data) < 100
    told = next(trace for trace in importances.data if trace.name == "told from chance")
    assert "stages.2.operator" in told.text[0]
    assert lines.leaves[0] == "stages.2.operator"


def test_few_trials_are_all_there_as_points():
    points = operators(searched(40)).data[1]
    assert sorted(points.customdata) == sorted([*range(40)] * 5)
    assert points.hoverinfo == "none"


def test_hostile_leaves_and_operators_are_escaped():
    trials = [
        replace(one, params={f"{HOSTILE[n % 2]}": n, "stages.0.operator": HOSTILE[n % 5]})
        for n, one in enumerate(searched(60))
    ]
    for figure in (importance_panel(trials), operators(trials)):
        texts = json.dumps(figure.to_dict(), default=list)
        assert "&lt;script&gt;" in texts or "&lt;img" in texts
        assert "<script" not in texts
        assert "<img" not in texts
        assert "<a " not in texts


def test_without_an_order_the_lines_have_the_documents():
    assert choices([]).leaves == ()
    assert choices([]).kind == "choices"
    assert "explain most" not in choices([trial(0)]).caption
