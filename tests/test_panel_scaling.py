"""Scaling curves: the report's own law and its ends, the levels without a law, and words where nothing is."""

import json
import math
import re
from dataclasses import replace
from functools import cache

import pytest
from factories import BUDGET, HOSTILE, failed, trial

from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.cli.law_families import of_network
from scalesearch.cli.law_report import make_report
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.panels.scaling import scaling
from scalesearch.dashboard.panels.scaling_data import families_of, level_points
from scalesearch.search.members import default_range, members, sizes_between

A, B, C = 12.0, 0.25, 0.1
WOBBLE = (0.98, 1.0, 1.03)  # of the error, by seed
RUNGS = (1000, 4000)


@cache
def found():
    policy = ProxyPolicy()
    family = of_network("efficientnet_b0")
    return family, members(family, sizes_between(*default_range(policy), 6), policy, 10, 32)


def report(budget=1e8, seeds=3, sizes=6):
    """What `scalesearch law` reports of trainings that follow a known law."""
    family, own = found()
    rows = [
        {
            "name": one.name,
            "status": "complete",
            "seed": seed,
            "flops": (flops := one.fit.network.cost().flops),
            "val_accuracy": 1 - (A * flops**-B + C) * WOBBLE[seed],
        }
        for one in own[:sizes]
        for seed in range(seeds)
    ]
    return make_report([family], own, rows, budget) | {"claim": "this is the law of this schedule"}


def law_context(budget=1e8, **options):
    return Context(budget=budget, surveys={"law": report(budget, **options)})


def traces(figure, mode):
    return [trace for trace in figure.data if trace.mode == mode]


def test_sizes_are_those_of_the_report_as_accuracies():
    (family,) = families_of(report(), 1e8)
    assert family.name == "efficientnet_b0"
    assert len(family.sizes) == 6
    for size in family.sizes:
        error = A * size.flops**-B + C
        assert size.accuracies == pytest.approx([1 - error * factor for factor in WOBBLE])
        assert size.mean == pytest.approx(1 - error * 3.01 / 3)


def test_the_curve_is_the_reports_own_law_within_its_interval():
    described = report()
    law = described["families"][0]["law"]
    a, b, c = (law[name][0] for name in "abc")
    (family,) = families_of(described, 1e8)
    curve = family.curve
    assert curve.values == pytest.approx([1 - (a * cost**-b + c) for cost in curve.flops], rel=1e-12)
    assert all(low <= value <= high for low, value, high in zip(*_band(curve), strict=True))
    value, low, high = law["at_budget"]["error"]
    assert family.at_budget == pytest.approx((1 - value, 1 - high, 1 - low), rel=1e-12)
    held = law["hold_out"]
    assert family.held_out.predicted - family.held_out.actual == pytest.approx(-held["error"])
    assert family.held_out.low < family.held_out.predicted < family.held_out.high


def _band(curve):
    return curve.low, curve.values, curve.high


@pytest.mark.parametrize("budget", [1e8, 2e9])
def test_nothing_is_drawn_beyond_four_times_the_largest_size(budget):
    figure = scaling((), context=law_context(budget))
    largest = max(point["flops"] for point in report()["families"][0]["points"])
    (line,) = traces(figure, "lines")
    (band,) = traces(figure, "none")
    assert min(line.x) == min(band.x) == report()["families"][0]["points"][0]["flops"]
    assert max(line.x) == max(band.x) == pytest.approx(4 * largest)
    wall = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert wall.x0 == pytest.approx(4 * largest)
    assert math.log10(wall.x1) == figure.layout.xaxis.range[1]
    assert wall.x1 > max(budget, wall.x0)
    words = [annotation.text for annotation in figure.layout.annotations]
    assert "not supported by evidence" in words
    caption = figure.layout.title.subtitle.text
    assert ("At the budget: not supported by evidence." in caption) == (budget > 4 * largest)


def test_the_caption_holds_the_hold_out_error_and_the_claim():
    caption = scaling((), context=law_context()).layout.title.subtitle.text
    (family,) = families_of(report(), 1e8)
    points = 100 * (family.held_out.predicted - family.held_out.actual)
    assert f"a hold-out error of {points:+.1f} points" in caption
    assert "this is the law of this schedule" in caption


def test_seeds_show_as_marks_and_as_the_span_of_their_mean():
    figure = scaling((), context=law_context())
    seeds, means = traces(figure, "markers")
    assert len(seeds.x) == 18
    assert len(means.x) == 6
    for place, mean in enumerate(means.y):
        own = [y for x, y in zip(seeds.x, seeds.y, strict=True) if x == means.x[place]]
        assert mean + means.error_y.array[place] == pytest.approx(max(own))
        assert mean - means.error_y.arrayminus[place] == pytest.approx(min(own))


@pytest.mark.parametrize("missing", [{"seeds": 2}, {"sizes": 4}])
def test_a_family_without_a_law_shows_its_points_and_why(missing):
    figure = scaling((), context=law_context(**missing))
    assert not traces(figure, "lines")
    assert len(traces(figure, "markers")[1].x) == missing.get("sizes", 6)
    assert "no law yet: a law needs at least" in figure.layout.title.subtitle.text
    assert not any(shape.type == "rect" for shape in figure.layout.shapes)


def test_a_report_without_a_training_is_no_picture_of_a_law():
    for empty in (report(sizes=0), {"schema": 1, "families": [], "left": 8}):
        context = Context(BUDGET, surveys={"law": {"budget_flops": None, **empty}})
        assert "scalesearch law --run RUN" in words_of(scaling([trial()], context=context))


# Without a survey


def words_of(figure):
    (annotation,) = figure.layout.annotations
    return annotation.text.replace("<br>", " ")


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ((), "No trial has ended yet."),
        ((failed(0), failed(1)), "2 of 2 trials failed"),
        ((trial(0), trial(1)), "No law is fitted"),
    ],
)
def test_without_levels_the_words_name_the_command(trials, words):
    found = words_of(scaling(trials))
    assert words in found
    assert "`scalesearch law --run RUN`" in found


def test_the_best_of_each_level_are_the_hand_picked_ones():
    trials = [
        trial(0, 0.3, level=100),
        trial(1, 0.5, level=100),
        trial(2, 0.4, level=100),
        failed(3, level=100),
        replace(trial(4, 0.9, level=100), rung=1),
        replace(trial(5, 0.9, level=100), repeats=1),
        trial(6, 0.9, level=100, role="final"),
        trial(7, 0.6, level=200),
    ]
    points = level_points(trials, most=2)
    assert [(point.number, point.level) for point in points] == [(1, 100), (2, 100), (7, 200)]
    assert {point.flops for point in points} == {trials[0].proxy.flops}


def test_levels_are_plain_points_and_no_law():
    trials = [trial(0, 0.5, level=1e8), trial(1, 0.4, level=5e7), failed(2, level=5e7)]
    figure = scaling(trials, context=Context(BUDGET, rungs=RUNGS))
    assert {trace.mode for trace in figure.data} == {"markers"}
    assert [tuple(trace.customdata) for trace in figure.data] == [(0,), (1,)]
    assert {trace.hoverinfo for trace in figure.data} == {"none"}
    assert [trace.y for trace in figure.data] == [(0.5,), (0.4,)]
    caption = figure.layout.title.subtitle.text
    assert "after 1,000 training images" in caption
    assert "No law is fitted" in caption


def test_five_thousand_trials_are_five_points_a_level():
    trials = [trial(n, 0.2 + n / 10_000, level=[1e8, 5e7][n % 2]) for n in range(5000)]
    figure = scaling(trials)
    assert [tuple(trace.customdata) for trace in figure.data] == [
        (4998, 4996, 4994, 4992, 4990),
        (4999, 4997, 4995, 4993, 4991),
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_markup_of_others_reaches_plotly(text):
    fitted, little = report(), report(seeds=2)
    for described in (fitted, little):
        family = described["families"][0] | {"name": text, "source": text}
        if family["law"] is None:
            family["missing"] = text
        context = Context(BUDGET, surveys={"law": described | {"claim": text, "families": [family]}})
        written = json.dumps(json.loads(scaling((), context=context).to_json()))
        assert not re.search("[<>]", re.sub("<br>|<extra></extra>", "", written))
