"""The panel of search progress: hypervolumes, clocks and running bests as numbers, and what is drawn."""

import warnings
from dataclasses import replace
from math import log10, nan
from time import process_time

import numpy as np
import optuna
import pytest
from factories import BUDGET, failed, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.panels.hypervolume import hypervolumes
from scalesearch.dashboard.panels.pauses import cut_pauses, without_pauses
from scalesearch.dashboard.panels.progress import progress
from scalesearch.dashboard.panels.progress_data import progress_data, steps

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(-2, 10)), max_size=25)


def timed(number, accuracy, started, finished, **options):
    one = trial(number, accuracy, images=20_000, **options)
    return replace(one, started=started, finished=finished)


def control(one):
    return replace(one, arm="control")


# Hypervolume


def test_hypervolumes_are_the_hand_computed_ones():
    points = [(2, 3), (3, 2), (1, 1), (1, 4), (5, 9), (2, 0), (4, 6)]
    # By 5 x 0: 3 * 3; (3, 2) is beaten; 1 * 1 more; 4 * 4; on the edge; nothing; 1 * (6 - 4) more.
    assert hypervolumes(points, (5, 0)) == [9, 9, 10, 16, 16, 16, 18]
    assert hypervolumes([], (5, 0)) == []


def test_a_point_of_equal_cost_replaces_the_worse_one():
    assert hypervolumes([(1, 1), (1, 3), (1, 2), (0, 3)], (2, 0)) == [1, 3, 3, 6]


@settings(max_examples=200)
@given(POINTS)
def test_hypervolume_never_falls_and_equals_counted_cells(points):
    found = hypervolumes(points, (10, 0))
    assert found == sorted(found)
    cells = np.zeros((10, 10), dtype=bool)
    for (cost, gain), area in zip(points, found, strict=True):
        cells[cost:, : max(gain, 0)] = True  # every cell of 1 x 1 that is dearer and worse
        assert area == cells.sum()


@settings(max_examples=20, deadline=None)
@given(POINTS.filter(bool), st.randoms())
def test_hypervolume_of_all_points_has_no_order(points, random):
    shuffled = random.sample(points, len(points))
    assert hypervolumes(shuffled, (10, 0))[-1] == hypervolumes(points, (10, 0))[-1]


def test_hypervolumes_are_those_of_optuna():
    random = np.random.default_rng(3)
    points = [
        (log10(cost), gain)
        for cost, gain in zip(random.uniform(1e6, 3e8, 60), random.random(60), strict=True)
    ]
    reference = (log10(2e8), 0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(directions=["minimize", "maximize"])
        study.add_trials([optuna.trial.create_trial(values=list(point)) for point in points])
        figure = optuna.visualization.plot_hypervolume_history(study, list(reference))
    assert hypervolumes(points, reference) == pytest.approx(list(figure.data[0].y))


def test_the_reference_point_is_twice_the_budget_and_accuracy_0():
    trials = [trial(0, 0.5, flops=10_000_000), trial(1, 0.9, flops=100_000_001), trial(2, 0.6, flops=10**8)]
    (volume,) = progress_data(trials, budget=1e8).volumes
    # 0.5 over 1.3 decades; over the budget; 0.1 more over 0.3 decades.
    expected = [0.5 * log10(20), 0.5 * log10(20) + 0.1 * log10(2)]
    assert volume.values == pytest.approx(expected)
    assert volume.spent["trials"] == (1, 3)
    assert volume.settled == pytest.approx(expected[1])  # the first trial of the second level
    assert progress_data(trials, budget=1e8).dearest == 2e8
    assert progress_data(trials).dearest == 2 * 100_000_001


# Best so far


def test_progress_is_the_running_best_of_each_level():
    trials = [
        trial(3, 0.3, level=1000),
        trial(0, 0.5, level=1000),
        trial(1, 0.2, level=500),
        failed(2, level=500),
        trial(4, 0.6, level=1000),
        trial(5, nan, level=1000),
        replace(trial(6, 0.9, level=1000), repeats=0),
        replace(trial(0, 0.99, level=1000), rung=1),
        trial(7, 0.99, level=1000, role="final"),
    ]
    high, low = progress_data(trials).lines
    assert (high.level, high.numbers, high.best) == (1000, (0, 3, 4), (0.5, 0.5, 0.6))
    assert (low.level, low.numbers, low.accuracies) == (500, (1,), (0.2,))
    assert high.spent["trials"] == (1, 4, 5)  # the failed one cost a training
    assert high.ends["trials"] == low.ends["trials"] == 6


def test_images_count_all_trainings_in_the_order_in_which_they_ended():
    longer = replace(timed(0, 0.7, 10, 40), rung=1)
    longer = replace(longer, outcome=replace(longer.outcome, images=60_000))
    (line,) = progress_data([timed(0, 0.5, 0, 10), timed(2, 0.6, 10, 50), longer, timed(1, 0.4, 0, 45)]).lines
    assert line.numbers == (0, 1, 2)
    assert line.spent["images"] == (20_000, 100_000, 120_000)
    assert line.spent["time"] == (10, 45, 50)


def test_each_arm_is_counted_by_itself():
    trials = [
        timed(0, 0.5, 0, 10),
        control(timed(1, 0.6, 10, 20)),
        timed(2, 0.7, 20, 30),
        control(timed(3, 0.4, 30, 40)),
    ]
    data = progress_data(trials)
    search, random = data.lines
    assert (search.arm, search.numbers, search.best) == ("search", (0, 2), (0.5, 0.7))
    assert (random.arm, random.numbers, random.best) == ("control", (1, 3), (0.6, 0.6))
    for clock in ("trials", "images"):
        assert search.spent[clock] == random.spent[clock]
    assert (search.spent["time"], random.spent["time"]) == ((10, 30), (20, 40))
    assert [volume.arm for volume in data.volumes] == ["search", "control"]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.booleans()), max_size=30))
def test_every_scored_trial_is_in_one_line_and_all_lines_rise(found):
    trials = [
        failed(number, level=1000)
        if not score
        else (control if arm else replace)(trial(number, score / 10, level=level + 1))
        for number, (level, score, arm) in enumerate(found)
    ]
    data = progress_data(trials)
    assert sorted(number for line in data.lines for number in line.numbers) == [
        t.number for t in trials if t.complete
    ]
    for line in data.lines:
        assert list(line.best) == sorted(line.best)
        assert line.best[-1] == max(line.accuracies)
        assert all(list(spent) == sorted(spent) for spent in line.spent.values())
    assert all(list(volume.values) == sorted(volume.values) for volume in data.volumes)


# Time


def elapsed(started, finished):
    cuts = cut_pauses(zip(started, finished, strict=True))
    pauses = tuple(end - begin for begin, end in cuts)
    return without_pauses(finished, min(started, default=0), cuts), pauses


def test_time_runs_from_the_first_start_and_leaves_pauses_out():
    started, finished = [100, 130, 1130, 1250], [130, 150, 1200, 1270]
    time, pauses = elapsed(started, finished)
    assert pauses == (980,)  # from 150 to 1130; the 50 s from 1200 to 1250 are no pause
    assert time.tolist() == [30, 50, 120, 190]


def test_a_training_that_bridges_others_leaves_no_pause():
    time, pauses = elapsed([0, 1, 900], [1000, 2, 910])
    assert (time.tolist(), pauses) == ([1000, 2, 910], ())
    assert elapsed([], [])[1] == ()


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 400)), min_size=1, max_size=12))
def test_time_less_pauses_is_the_time_that_something_was_trained_or_nearly(found):
    started, finished = [begin for begin, _ in found], [begin + length for begin, length in found]
    time, pauses = elapsed(started, finished)
    assert max(time) == max(finished) - min(started) - sum(pauses)
    assert all(pause > 60 for pause in pauses)
    order = np.argsort(finished, kind="stable")
    assert (np.diff(time[order]) >= 0).all()
    assert (np.diff(time[order]) <= np.diff(np.array(finished)[order])).all()


def test_steps_are_the_rises_and_the_end():
    assert steps((1, 2, 3, 4), (0.1, 0.1, 0.3, 0.3), 9) == ((1, 3, 9), (0.1, 0.3, 0.3))
    assert steps((5,), (0.2,), 5) == ((5, 5), (0.2, 0.2))


# The picture


def test_the_views_are_the_clocks_that_were_measured():
    assert list(progress([trial()])) == ["trials"]
    views = progress([timed(0, 0.5, 0, 10), timed(1, 0.6, 10, 7100)])
    assert list(views) == ["trials", "images", "time"]
    assert "(minutes)" in views["time"].layout.xaxis.title.text
    assert max(views["time"].data[0].x) == pytest.approx(7100 / 60)


def test_points_carry_the_numbers_of_their_trials():
    views = progress([timed(0, 0.5, 0, 10), control(timed(1, 0.6, 10, 20))], context=Context(BUDGET))
    for figure in views.values():
        points = [trace for trace in figure.data if trace.mode == "markers"]
        assert [list(trace.customdata) for trace in points] == [[0], [1]]
        assert {trace.hoverinfo for trace in points} == {"none"}
        assert [trace.marker.symbol for trace in points] == ["circle", "circle-open"]


def test_the_random_draws_have_lines_of_their_own():
    figure = progress([timed(0, 0.5, 0, 10), control(timed(1, 0.6, 10, 20)), timed(2, 0.7, 20, 30)])["trials"]
    lines = [trace for trace in figure.data if "lines" in trace.mode]
    assert [(trace.x, trace.y[-1], trace.yaxis) for trace in lines[:2]] == [
        ((1, 2, 2), 0.7, None),
        ((1, 1), 0.6, None),
    ]
    assert [trace.yaxis for trace in lines[2:]] == ["y2", "y2"]
    assert [trace.name for trace in figure.data if trace.showlegend][-1] == "random draws of equal cost"
    assert "trained at equal cost" in figure.layout.title.subtitle.text


def test_the_caption_says_reference_point_and_pauses():
    trials = [timed(0, 0.5, 0, 10), timed(1, 0.6, 1000, 1010)]
    views = progress(trials, context=Context(1e8))
    assert "a network of 200 MFLOPs that is never right" in views["trials"].layout.title.subtitle.text
    caption = views["time"].layout.title.subtitle.text
    assert "A time without a training of the search, 16 min 30 s in all, is left out." in caption


def test_five_thousand_trials_are_a_bounded_picture_with_exact_lines():
    random = np.random.default_rng(0)
    trials = [
        timed(
            number, random.normal(0.5, 0.05), 10 * number, 10 * number + 9, level=BUDGET / 2 ** (number % 4)
        )
        for number in range(5000)
    ]
    progress(trials[:100])  # Plotly loads its classes at their first use
    began = process_time()
    views = progress(trials, context=Context(BUDGET))
    assert process_time() - began < 1.5  # about 0.1 s
    best = max(one.outcome.val_accuracy for one in trials if one.level == BUDGET)
    for figure in views.values():
        assert 400 < sum(len(trace.x) for trace in figure.data) < 1800
        assert best in [max(trace.y) for trace in figure.data if trace.mode == "lines"]
        assert best in [max(trace.y) for trace in figure.data if trace.mode == "markers"]
