"""The coefficient map: shares by hand, ranks within levels, plateaus, and the survey of a fixed base."""

import json
import math
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from factories import HOSTILE, failed, trial
from hypothesis import given
from hypothesis import strategies as st

from scalesearch import documents
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli.coefficients_report import make_report
from scalesearch.dashboard.panels.coefficients import MOST_PLATEAUS, coefficients
from scalesearch.dashboard.panels.coefficients_data import coefficient_map, fixed_base, midranks, shares_of
from scalesearch.dashboard.panels.context import Context
from scalesearch.search import directions

ROOT = math.sqrt(2)


def grown(number, accuracy=0.5, deployed=(2, 1, 1), proxy=(1, 2, 1), **changes):
    """A trial with the multipliers of its two networks."""
    made = trial(
        number, accuracy, level=changes.pop("level", 100), name=f"network {changes.pop('net', number)}"
    )
    clamped = changes.pop("clamped", False)
    return replace(
        made,
        deployed=replace(made.deployed, realised=deployed),
        proxy=replace(made.proxy, realised=proxy, clamped=clamped),
        **changes,
    )


# Data


@pytest.mark.parametrize(
    ("multipliers", "shares"),
    [
        ((2, 1, 1), (1, 0, 0)),
        ((1, 3, 1), (0, 1, 0)),
        ((1, 1, 1.5), (0, 0, 1)),
        ((2, ROOT, ROOT), (1 / 3, 1 / 3, 1 / 3)),
        ((4, 2, 1), (1 / 2, 1 / 2, 0)),
        ((1 / 4, 1 / 2, 1), (1 / 2, 1 / 2, 0)),  # shrunk by the same shares
    ],
)
def test_shares_are_the_hand_computed_ones(multipliers, shares):
    assert shares_of([multipliers])[0] == pytest.approx(shares)


@pytest.mark.parametrize("multipliers", [(1, 1, 1), (2, 0.9, 1), (0.5, 1, 1.1), (4, 0.5, 1)])
def test_what_grew_and_shrank_has_no_place(multipliers):
    assert np.isnan(shares_of([multipliers])).all()


@given(
    st.tuples(st.floats(1, 2), st.floats(1, 2), st.floats(1.01, 2)),
    st.one_of(st.floats(0.1, 5), st.floats(-5, -0.1)),
)
def test_shares_of_a_member_are_those_of_its_family_whatever_phi(triple, phi):
    multipliers = tuple(value**phi for value in triple)
    found = tuple(shares_of([multipliers])[0])
    assert found == pytest.approx(Coefficients(*triple).shares, abs=1e-6)
    assert found == pytest.approx(directions.shares_of(multipliers, "flops"), abs=1e-6)


def test_midranks_put_the_median_at_a_half_and_ties_together():
    assert midranks([5, 1, 3]) == pytest.approx([5 / 6, 1 / 6, 1 / 2])
    assert midranks([2, 2]) == [0.5, 0.5]
    assert midranks([7]) == [0.5]
    assert midranks([]) == []


def test_ranks_are_within_the_level_and_a_repeat_counts_once():
    trials = [
        grown(0, 0.1, level=100),
        grown(1, 0.2, level=100),
        grown(2, 0.7, level=200),
        grown(3, 0.9, level=200),
        grown(4, 0.9, level=200, key="key-3", repeats=3),
        failed(5),
        grown(6, 0.99, rung=1),
    ]
    ranks = {place.number: place.rank for place in coefficient_map(trials, "deployed").places}
    assert ranks == {0: 0.25, 1: 0.75, 2: 0.25, 3: 0.75, 4: 0.75}


def test_the_views_take_the_multipliers_of_their_own_network():
    trials = [grown(0, deployed=(2, 1, 1), proxy=(0.5, 1 / ROOT, 1 / ROOT), clamped=True)]
    (deployed,) = coefficient_map(trials, "deployed").places
    (proxy,) = coefficient_map(trials, "proxy").places
    assert (deployed.shares, deployed.clamped, deployed.shrunk) == ((1, 0, 0), False, False)
    assert proxy.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert (proxy.clamped, proxy.shrunk) == (True, True)


def test_what_has_no_place_is_counted():
    trials = [grown(0, deployed=(2, 0.9, 1)), grown(1, deployed=(1, 1, 1)), grown(2)]
    found = coefficient_map(trials, "deployed")
    assert ([place.number for place in found.places], found.left_out) == ([2], 2)
    figure = coefficients(trials)["deployed"]
    assert "Left out: 2" in figure.layout.title.subtitle.text


def test_a_plateau_is_one_training_of_several_triples():
    triples = [Coefficients(1.2, 1.1, 1.15), Coefficients(1.3, 1.1, 1.15), Coefficients(1.2, 1.1, 1.15)]
    trials = [grown(n, key="same", coefficients=triple, proxy=(2, 1, 1)) for n, triple in enumerate(triples)]
    trials += [grown(3, coefficients=triples[1], proxy=(1, 2, 1))]
    (plateau,) = coefficient_map(trials, "proxy").plateaus
    assert plateau.numbers == (0, 1, 2)
    assert plateau.drawn == (triples[0].shares, triples[1].shares)
    assert plateau.places == ((1, 0, 0),)
    assert tuple(plateau.centre) == (1, 0, 0)
    assert coefficient_map(trials[::2], "proxy").plateaus == ()  # one triple, twice


def test_deployed_networks_are_equal_by_document_but_for_the_name():
    triples = [Coefficients(1.2, 1.1, 1.15), Coefficients(1.3, 1.1, 1.15)]
    trials = [grown(n, coefficients=triple, net=n) for n, triple in enumerate(triples)]
    (plateau,) = coefficient_map(trials, "deployed").plateaus
    assert plateau.numbers == (0, 1)
    assert coefficient_map(trials, "proxy").plateaus == ()  # trained apart
    other = trials[1].deployed.document | {"resolution": 999}
    apart = replace(trials[1], deployed=replace(trials[1].deployed, document=other))
    assert coefficient_map([trials[0], apart], "deployed").plateaus == ()


# Pictures


def named(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def test_points_carry_their_trials_and_open_symbols_a_clamped_gamma():
    trials = [grown(0), grown(1, clamped=True), grown(2, proxy=(1, 0.5, 1)), grown(3, 0.9)]
    found = named(coefficients(trials)["proxy"])
    assert tuple(found["grew, gamma not identified"].customdata) == (1,)
    assert found["grew, gamma not identified"].marker.symbol == "circle-open"
    assert found["shrank"].marker.symbol == "square"
    assert sorted(found["grew"].customdata) == [0, 3]
    assert found["grew"].hoverinfo == "none"
    assert sum(bool(trace.marker.showscale) for trace in found.values()) == 1


def test_efficientnets_point_is_where_its_coefficients_put_it():
    star = named(coefficients([grown(0)])["deployed"])["EfficientNet"]
    growth = math.log(1.2 * 1.1**2 * 1.15**2)
    place = (star.a[0], star.b[0], star.c[0])
    assert place == pytest.approx((math.log(1.2) / growth, *(2 * math.log(m) / growth for m in (1.1, 1.15))))


def test_a_plateau_is_a_ring_with_a_spoke_to_each_drawn_triple():
    triples = [Coefficients(1.2, 1.1, 1.15), Coefficients(1.3, 1.1, 1.15)]
    trials = [grown(n, key="same", coefficients=c, proxy=(2, 1, 1)) for n, c in enumerate(triples)]
    figure = coefficients(trials)["proxy"]
    assert "2 drawn coefficient triples gave 1 network only" in figure.layout.title.subtitle.text
    ring = named(figure)["one network of several triples"]
    assert ((ring.a[0], ring.b[0], ring.c[0]), ring.text) == ((1, 0, 0), ("2 triples, 2 trials",))
    (spokes,) = (trace for trace in figure.data if trace.mode == "lines")
    ends = [value for value in spokes.a if value not in (None, 1)]
    assert ends == pytest.approx([triple.shares[0] for triple in triples])


@pytest.mark.parametrize(
    ("trials", "words"),
    [((), "No trial has ended yet"), ((failed(0), failed(1)), "2 of 2 trials failed")],
)
def test_without_scores_words_say_why(trials, words):
    (annotation,) = coefficients(trials).layout.annotations
    assert words in annotation.text.replace("<br>", " ")


def test_trials_without_a_place_are_said_in_words():
    figure = coefficients([grown(0, deployed=(2, 0.9, 1))])["deployed"]
    assert "None of 1 deployed networks has a place" in figure.layout.annotations[0].text.replace("<br>", " ")


def test_five_thousand_trials_stay_a_bounded_picture_that_says_so():
    random = np.random.default_rng(0)
    places = (1 + random.random((5000, 3))).tolist()
    trials = [grown(n, float(random.random()), proxy=tuple(place)) for n, place in enumerate(places)]
    figure = coefficients(trials)["proxy"]
    shown = len(named(figure)["grew"].customdata)
    assert 500 < shown <= 1500
    assert f"{5000 - shown} points that lie under others are not drawn" in figure.layout.title.subtitle.text
    best = max(trials, key=lambda one: one.outcome.val_accuracy).number
    assert named(figure)["grew"].customdata[-1] == best  # on top


def test_only_the_largest_plateaus_are_drawn_and_the_caption_says_so():
    few, many = Coefficients(1.3, 1.1, 1.15), MOST_PLATEAUS + 2
    trials = [
        grown(n, key=f"key-{n // 2}", **({"coefficients": few} if n % 2 else {})) for n in range(2 * many)
    ]
    figure = coefficients(trials)["proxy"]
    assert len(named(figure)["one network of several triples"].a) == MOST_PLATEAUS
    assert f"The {MOST_PLATEAUS} of most triples are shown" in figure.layout.title.subtitle.text


# The survey of a fixed base


@cache
def designed():
    base = directions.small_base(documents.load("efficientnet_b0"), ProxyPolicy(), 4.0, 10, 32)
    return directions.design(base, 4.0, "flops", 12)


def survey(points=12, best=(0.3, 0.3, 0.4)):
    """What `scalesearch coefficients` reports of losses that are least at known shares."""
    rows = []
    for one in designed().points[:points]:
        off = np.array(directions.shares_of(one.realised, "flops")) - best
        rows += [
            {
                "name": one.name,
                "seed": seed,
                "status": "complete",
                "val_loss": 1 + float(off @ off) + 0.001 * seed,
                "val_accuracy": 0.5,
            }
            for seed in range(2)
        ]
    return make_report(designed(), rows)


def test_the_survey_places_its_directions_and_its_optimum():
    report = survey()
    data = fixed_base(report)
    assert len(data.grown) + data.left_out == 12
    assert data.optimum == pytest.approx((0.3, 0.3, 0.4), abs=0.02)
    nearest = max(data.grown, key=lambda one: one.rank)
    assert nearest.loss == min(one.loss for one in data.grown)
    assert all(one.seeds == 2 for one in data.grown)
    rules = {rule.name: rule for rule in data.rules}
    assert rules["efficientnet"].shares == pytest.approx(Coefficients(1.2, 1.1, 1.15).shares)
    assert rules["efficientnet"].inside == report["rules"]["efficientnet"]["inside"]


def test_the_survey_is_a_view_of_its_own_with_its_verdict():
    report = survey()
    views = coefficients([grown(0)], context=Context(surveys={"coefficients": report}))
    assert list(views) == ["deployed", "proxy", "on a fixed base"]
    assert list(coefficients((), context=Context(surveys={"coefficients": report}))) == ["on a fixed base"]
    figure = views["on a fixed base"]
    assert report["verdict"] in figure.layout.title.subtitle.text
    assert {"optimum", "EfficientNet", "trained direction"} == set(named(figure))


def test_a_survey_with_too_little_says_what_is_missing():
    figure = coefficients((), context=Context(surveys={"coefficients": survey(4)}))["on a fixed base"]
    assert "No optimum is fitted yet" in figure.layout.title.subtitle.text
    assert "optimum" not in named(figure)
    nothing = coefficients((), context=Context(surveys={"coefficients": survey(0)}))["on a fixed base"]
    assert "no complete training yet" in nothing.layout.annotations[0].text.replace("<br>", " ")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_markup_of_others_reaches_plotly(text):
    report = survey()
    points = [point | {"name": text} for point in report["points"]]
    rules = {text: report["rules"]["fast"] | {"inside": True}}
    for changes in ({}, {"coefficients": None, "missing": text}):
        hostile = report | {"verdict": text, "points": points, "rules": rules} | changes
        context = Context(surveys={"coefficients": hostile})
        for figure in coefficients([grown(0, net=text), failed(1, text)], context=context).values():
            written = json.dumps(json.loads(figure.to_json()))
            assert not re.search("[<>]", re.sub("<br>|<extra></extra>", "", written))
