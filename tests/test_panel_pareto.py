"""The panel of accuracy against cost: its data as numbers, and what it draws of them."""

import json
import re
from dataclasses import replace
from math import nan
from time import process_time

import numpy as np
import pytest
from factories import BUDGET, HOSTILE, failed, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesearch.dashboard.panels.alike import alike, entrants
from scalesearch.dashboard.panels.context import Context, Finalist, Reference
from scalesearch.dashboard.panels.framing import thinned
from scalesearch.dashboard.panels.pareto import label_rows, pareto
from scalesearch.dashboard.panels.pareto_data import ACTIVATIONS, AXES, FLOPS, PARAMS, SECONDS, pareto_data


def numbers(points):
    return [point.trial.number for point in points]


def costing(number, accuracy, **costs):
    one = trial(number, accuracy, level=number + 1.0)
    return replace(one, deployed=replace(one.deployed, **costs))


def again(number, accuracy, low, high, rung=0):
    """Return a candidate's new training, and what is said of it."""
    return replace(trial(number, accuracy, role="final"), rung=rung), Finalist(number, accuracy, low, high, 3)


def drawn(figure):
    """Return the visible traces by name."""
    return {trace.name: trace for trace in figure.data if trace.visible is not False}


def compared(name="rival", part="test"):
    """Return a report of `compare` about three networks, the last of which has no complete training."""
    costs = {"flops": 15_000_000, "params": 300_000, "activations": 400_000}
    accuracies = [("ours", 0.80, [0.78, 0.83]), (name, 0.75, [0.72, 0.77]), ("lost", None, None)]
    return {
        "judged": {"part": part, "images": 10_000, "looks": [6]},
        "images": 60_000,
        "networks": [
            {"name": who, "accuracy": value, "interval": interval, "seeds": 3 if value else 0} | costs
            for who, value, interval in accuracies
        ],
        "differences": [{"first": "ours", "second": name, "text": f"ours is ahead of {name}"}],
    }


# The front


def test_front_is_the_hand_computed_one():
    trials = [
        trial(0, 0.50, flops=100),
        trial(1, 0.40, flops=200),  # dearer and worse than 0
        trial(2, 0.60, flops=300),
        trial(3, 0.60, flops=400),  # dearer and no better than 2
        trial(4, 0.70, flops=900),
        trial(5, 0.90, flops=1001),  # over the budget
        failed(6, flops=50),
        trial(7, 0.99, flops=60, status="interrupted"),
        trial(8, nan, flops=70),
        trial(9, 0.95, flops=80, role="final"),
        replace(trial(10, 0.99, flops=90), rung=1),  # trained longer
        failed(11, flops=50, role="final"),
    ]
    data = pareto_data(trials, Context(1000))
    assert numbers(data.front) == [0, 2, 4]
    assert numbers(data.dominated) == [1, 3]
    assert numbers(data.over) == [5]
    assert [record.number for record in (*data.failed, *data.interrupted)] == [6, 7]


def test_each_axis_has_the_hand_computed_front():
    trials = [
        costing(0, 0.5, flops=100, params=9, activations=50),
        costing(1, 0.6, flops=200, params=3, activations=70),
        costing(2, 0.4, flops=300, params=2, activations=20),
        costing(3, 0.9, flops=2000, params=1, activations=1),  # its FLOPs are over the budget
    ]
    fronts = {axis.name: pareto_data(trials, Context(1000), axis) for axis in AXES}
    assert {name: numbers(data.front) for name, data in fronts.items()} == {
        "FLOPs": [0, 1],
        "params": [2, 1],
        "activations": [2, 0, 1],
        "latency": [],  # none was predicted
        "training time": [],  # none was measured
    }
    assert [data.limit for data in fronts.values()] == [1000, None, None, None, None]
    assert all(numbers(fronts[name].over) == [3] for name in ("FLOPs", "params", "activations"))


def test_training_time_is_that_of_the_first_training():
    trials = [trial(0, 0.5, seconds=30.0), trial(1, 0.6, seconds=20.0), failed(2, seconds=1.0)]
    trials.append(replace(trial(1, 0.8, seconds=90.0), rung=1))
    data = pareto_data(trials, axis=SECONDS)
    assert ([point.cost for point in data.front], data.span) == ([20.0], (20.0, 30.0))
    assert numbers(data.dominated) == [0]


def test_within_a_level_accuracy_alone_ranks_where_the_level_is_the_cost():
    trials = [trial(0, 0.5, flops=980, level=1000), trial(1, 0.6, flops=990, level=1000)]
    assert numbers(pareto_data(trials).front) == [1]
    small, large = (
        replace(one, deployed=replace(one.deployed, params=params))
        for one, params in zip(trials, (3, 4), strict=True)
    )
    assert numbers(pareto_data([small, large], axis=PARAMS).front) == [0, 1]


def dominates(a, b):
    no_worse = a.cost <= b.cost and a.accuracy >= b.accuracy
    return no_worse and (a.cost, a.accuracy) != (b.cost, b.accuracy)


def beats_in_level(a, b):
    return a.trial.level == b.trial.level and a.accuracy > b.accuracy


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 6), st.integers(1, 3)), max_size=12))
def test_front_equals_that_of_brute_force_domination(found):
    trials = [
        replace(trial(number, accuracy / 10, flops=flops, level=level), arm=("search", "control")[number % 2])
        for number, (flops, accuracy, level) in enumerate(found)
    ]
    data = pareto_data(trials)
    points = [*data.front, *data.dominated]
    assert sorted(numbers(points)) == list(range(len(trials)))
    expected = [p for p in points if not any(dominates(q, p) or beats_in_level(q, p) for q in points)]
    assert sorted(numbers(data.front)) == sorted(numbers(expected))
    assert [p.accuracy for p in data.front] == sorted(p.accuracy for p in data.front)
    assert bool(data.front) == bool(trials)


@pytest.mark.parametrize("axis", [PARAMS, ACTIVATIONS])
def test_published_networks_stand_where_their_cost_is_known(axis):
    references = (
        Reference("dear", 300, params=9000, activations=9000),
        Reference("near", 300, params=3000, activations=3000),
        Reference("nearest", 10**9, params=300, activations=300),
        Reference("unknown", 400),
    )
    data = pareto_data([costing(0, 0.5, params=1000, activations=1000)], Context(None, references), axis)
    assert [(cost, near.name) for cost, near in data.near] == [(300, "nearest"), (3000, "near")]
    assert [(cost, far.name) for cost, far in data.far] == [(9000, "dear")]


def test_references_far_from_the_search_are_named_but_not_drawn():
    references = (Reference("far", 10**9), Reference("near", 3000), Reference("nearest", 300))
    data = pareto_data([trial(flops=500)], Context(1000, references))
    assert [near.name for _, near in data.near] == ["nearest", "near"]
    assert data.span == (300, 3000)
    caption = pareto([trial(flops=500)], context=Context(1000, references))["FLOPs"].layout.title.subtitle
    assert "Outside of the picture: far at 1.00 GFLOPs." in caption.text


# Repeated and longer trainings


def test_a_candidate_trained_again_stands_at_its_own_cost_with_its_interval():
    final, finalist = again(1, 0.55, 0.52, 0.59)
    trials = [trial(0, 0.5, flops=40_000_000), trial(1, 0.6, flops=50_000_000), final]
    figure = pareto(trials, context=Context(BUDGET, finalists=(finalist, Finalist(0, 0.5, 0.4, 0.6, 1))))
    trace = drawn(figure["FLOPs"])["trained again, n = 3"]  # 0 was judged, but not trained again
    assert (trace.x, trace.y, trace.customdata) == ((50_000_000,), (0.55,), (1,))
    assert trace.error_y.array == pytest.approx([0.04])
    assert trace.error_y.arrayminus == pytest.approx([0.03])
    assert "other validation images" in figure["FLOPs"].layout.title.subtitle.text


def test_longer_trainings_are_a_picture_of_their_own():
    final, finalist = again(0, 0.75, 0.7, 0.8, rung=1)
    trials = [trial(0, 0.5), trial(1, 0.6), replace(trial(0, 0.8), rung=1), final]
    views = pareto(trials, context=Context(BUDGET, rungs=(20_000, 60_000), finalists=(finalist,)))
    first, longest = drawn(views["FLOPs"]), drawn(views["longest training"])
    assert (list(first["front"].y), list(longest["front"].y)) == ([0.6], [0.8])
    assert "trained again, n = 3" in longest
    assert not [name for name in first if name and "again" in name]  # as long as the others' it is not
    assert views["longest training"].layout.yaxis.title.text.endswith("of the proxy after 60,000 images")
    assert views["params"].layout.yaxis.title.text.endswith("of the proxy after 20,000 images")


def test_a_run_without_measured_times_or_rungs_has_no_such_views():
    assert list(pareto([trial()])) == ["FLOPs", "params", "activations"]
    assert list(pareto([trial(seconds=3.0)])) == ["FLOPs", "params", "activations", "training time"]


# The comparison


def test_entrants_are_those_with_an_accuracy_worst_first():
    second, first = entrants(compared())
    assert (first.name, first.first, first.accuracy, first.low, first.high) == ("ours", True, 0.8, 0.78, 0.83)
    assert (second.difference, first.difference) == ("ours is ahead of rival", "")


def test_a_comparison_is_never_drawn_among_the_trials():
    views = pareto([trial(0, 0.5)], context=Context(BUDGET, surveys={"compare": compared()}))
    traces = drawn(views["trained alike"])
    assert (traces["compared with the others"].x, traces["trained alike"].x) == ((0.8,), (0.75,))
    assert traces["trained alike"].error_x.arrayminus == pytest.approx([0.03])
    assert views["trained alike"].layout.yaxis.ticktext[1] == "ours<br>15.0 MFLOPs"
    caption = views["trained alike"].layout.title.subtitle.text
    for part in ("60,000 images", "3 times", "10,000 test images", "not comparable", "complete training: 1."):
        assert part in caption
    assert not any(0.8 in trace.y for trace in views["FLOPs"].data)


def test_a_comparison_stands_where_no_trial_can_be_drawn():
    views = pareto([], context=Context(BUDGET, surveys={"compare": compared()}))
    assert list(views) == ["FLOPs", "trained alike"]
    assert "No trial has ended yet" in views["FLOPs"].layout.annotations[0].text


def test_a_comparison_without_a_test_part_or_without_results_says_so():
    assert "validation accuracy" in alike("", compared(part="report")).layout.xaxis.title.text
    lost = compared()
    for one in lost["networks"]:
        one["accuracy"] = None
    assert alike("", lost) is None


# The picture


def test_the_wall_the_front_and_the_chosen_are_where_they_belong():
    trials = [trial(0, 0.4, flops=25_000_000), trial(1, 0.6)]
    figure = pareto(trials, context=Context(BUDGET, (Reference("known", 80_000_000),), 1))["FLOPs"]
    traces = drawn(figure)
    assert [shape.x0 for shape in figure.layout.shapes] == [BUDGET, BUDGET]
    assert list(traces["front"].y) == [0.4, 0.6]
    reference = traces["published network, at its cost"]
    assert (reference.x, reference.yaxis) == ((80_000_000,), "y2")  # off the accuracy axis
    assert list(traces["chosen"].x) == [trials[1].deployed.flops]
    line = next(trace for trace in figure.data if trace.mode == "lines")
    assert (line.x[-1], line.y[-1], line.line.shape) == (BUDGET, 0.6, "hv")


def test_each_limited_cost_has_a_wall_and_what_is_beyond_one_is_on_no_front():
    views = pareto([trial(0, 0.5, seconds=3.0)], context=Context(BUDGET))
    assert [name for name, figure in views.items() if figure.layout.shapes] == [FLOPS.name]
    limited = Context(BUDGET, limits={"params": 1e3})
    views = pareto([trial(0, 0.5, seconds=3.0)], context=limited)
    assert [name for name, figure in views.items() if figure.layout.shapes] == [FLOPS.name, PARAMS.name]
    assert pareto_data([trial(0, 0.5)], limited).front == ()
    assert len(pareto_data([trial(0, 0.5)], limited).over) == 1


def test_points_carry_the_numbers_of_their_trials_and_no_text():
    trials = [
        trial(0, 0.4, flops=25_000_000),
        trial(1, 0.6),
        trial(2, 0.3),
        failed(3),
        trial(4, 0.9, flops=2 * 10**8),
    ]
    final, finalist = again(1, 0.55, 0.5, 0.6)
    figure = pareto([*trials, final], context=Context(BUDGET, (), 1, finalists=(finalist,)))["FLOPs"]
    carried = {
        name: list(trace.customdata) for name, trace in drawn(figure).items() if trace.customdata is not None
    }
    assert carried == {
        "dominated": [2],
        "over budget": [4],
        "front": [0, 1],
        "trained again, n = 3": [1],
        "chosen": [1],
        "failed": [3],
    }
    for trace in figure.data:
        assert trace.customdata is None or (trace.hoverinfo, trace.hovertext) == ("none", None)


def test_control_draws_are_squares_and_the_legend_shows_the_search():
    trials = [replace(trial(0, 0.3), arm="control"), trial(1, 0.4), trial(2, 0.5)]
    figure = pareto(trials)["FLOPs"]
    dominated = drawn(figure)["dominated"]
    assert list(zip(dominated.customdata, dominated.marker.symbol, strict=True)) == [
        (1, "circle"),
        (0, "square"),
    ]
    assert drawn(figure)["front"].marker.symbol == "circle"
    assert "Squares are random draws" in figure.layout.title.subtitle.text


def test_labels_share_a_row_only_where_they_do_not_overlap():
    assert label_rows([0.0, 0.1, 0.5], [0.2, 0.2, 0.2]) == [0, 1, 0]
    assert label_rows([0.0, 0.01, 0.02, 0.03], [0.3] * 4) == [0, 1, 2, None]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_of_a_comparison_reach_plotly_escaped(text):
    context = Context(BUDGET, surveys={"compare": compared(name=text)})
    written = json.dumps(
        [json.loads(figure.to_json()) for figure in pareto([trial()], context=context).values()]
    )
    assert not re.search("[<>]", re.sub("<br>|<extra></extra>", "", written))


# Many trials


def many(count=5000):
    levels, random = [BUDGET / 8, BUDGET / 4, BUDGET / 2, BUDGET], np.random.default_rng(0)
    for number in range(count):
        level = levels[number % 4]
        one = trial(number, random.normal(0.5, 0.05), flops=int(level * random.uniform(0.97, 1)), level=level)
        params, activations = map(int, random.integers(10**5, 10**7, 2))
        deployed = replace(one.deployed, params=params, activations=activations)
        deployed = replace(deployed, latency=1e-9 * deployed.activations)
        yield replace(one, deployed=deployed, outcome=replace(one.outcome, seconds=random.uniform(5, 60)))


def test_five_thousand_trials_are_a_bounded_picture_with_an_exact_front():
    trials = list(many())
    pareto(trials[:100])  # Plotly loads its classes at their first use
    began = process_time()
    views = pareto(trials, context=Context(BUDGET))
    assert process_time() - began < 2  # about 0.2 s
    for axis in AXES:
        points = sum(len(trace.x) for trace in views[axis.name].data)
        assert 500 < points < 1700
        assert len(drawn(views[axis.name])["front"].x) == len(
            pareto_data(trials, Context(BUDGET), axis).front
        )
    assert re.search(
        r"Of 4,9\d\d dominated trials 1,\d\d\d are drawn", views["params"].layout.title.subtitle.text
    )


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(1, 60), st.integers(0, 2**32))
def test_thinning_keeps_the_best_and_one_of_each_neighbourhood(count, most, seed):
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, 9, count), random.integers(0, 5, count) / 10
    kept = thinned(x, y, most)
    assert kept == sorted(set(kept))
    assert len(kept) == count if count <= most else 1 <= len(kept) <= most
    assert max(y[kept]) == max(y)


def test_thinning_loses_only_points_that_lie_on_others():
    x = [place / 10 for place in range(11)]
    assert sorted(np.array(x * 3)[thinned(x * 3, [0.5] * 33, 20)]) == x
