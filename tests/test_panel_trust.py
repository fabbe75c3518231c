"""Trust: pairs and correlations by hand, the report's own figures, and words where there are too few."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import BUDGET, HOSTILE, failed, trial

from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.panels.trust import trust
from scalesearch.dashboard.panels.trust_data import recorded_signals, spearman, trust_data
from scalesearch.search.evidence import evidence
from scalesearch.search.ranking import rank_agreement

RUNGS = (1000, 4000)
RECORDED = Path(__file__).parents[1] / "studies/results/mixed/trust.json"


def trained(number, loss, rung=0, role="search", level=100, **changes):
    made = trial(number, 0.5, level=level, role=role)
    proxy = replace(
        made.proxy, **{cost: changes.pop(cost) for cost in ("params", "flops") if cost in changes}
    )
    return replace(made, rung=rung, proxy=proxy, outcome=replace(made.outcome, val_loss=loss), **changes)


def two_rungs(losses, level=100, start=0):
    """Trials with a loss on each rung; None where the second was not trained."""
    found = []
    for number, (first, second) in enumerate(losses, start):
        found.append(trained(number, first, level=level))
        if second is not None:
            found.append(trained(number, second, rung=1, level=level))
    return found


LOSSES = [(1.0, 0.5), (2.0, 0.7), (3.0, 0.6), (4.0, 0.8), (5.0, None)]


# Data


def test_pairs_join_a_rung_with_the_next_and_the_last_with_fresh_seeds():
    trials = [
        *two_rungs(LOSSES),
        failed(9),
        trained(0, 0.4, rung=1, role="final"),
        trained(0, 0.8, rung=1, role="final"),
        trained(3, 0.9, rung=1, role="final"),
    ]
    between, again = trust_data(trials, RUNGS).comparisons
    assert between.name == "1,000 images → 4,000 images"
    assert [(p.number, p.shorter, p.longer) for p in between.pairs] == [
        (0, 1.0, 0.5),
        (1, 2.0, 0.7),
        (2, 3.0, 0.6),
        (3, 4.0, 0.8),
    ]
    assert again.name == "4,000 images → fresh seeds"
    assert [(p.number, p.shorter, p.longer) for p in again.pairs] == [
        (0, 0.5, pytest.approx(0.6)),
        (3, 0.8, 0.9),
    ]


def test_correlations_are_the_hand_computed_ones():
    trials = two_rungs(LOSSES)
    # Params fall as the loss rises: a larger network is better, in all cases.
    trials = [replace(t, proxy=replace(t.proxy, params=100 - t.number)) for t in trials]
    found = {signal.name: signal for signal in trust_data(trials, RUNGS).signals}
    between = found["1,000 images → 4,000 images"]
    assert (between.n, between.spearman) == (4, pytest.approx(0.8))  # 1 - 6 * 2 / (4 * 15)
    assert between.low <= 0.8 <= between.high
    assert (found["the proxy's params"].n, found["the proxy's params"].spearman) == (5, pytest.approx(1))
    assert found["the proxy's FLOPs"].spearman == 0  # all alike
    assert list(found)[1:] == ["the proxy's FLOPs", "the proxy's params", "the proxy's activations"]


def test_figures_are_those_of_the_runs_report():
    random = np.random.default_rng(0)
    first = random.random(20)
    second = first + random.random(20)
    trials = [
        replace(t, proxy=replace(t.proxy, params=int(1e6 * random.random())))
        for t in two_rungs(
            [(a, b if n < 8 else None) for n, (a, b) in enumerate(zip(first, second, strict=True))]
        )
    ]
    reported = evidence(trials, RUNGS)
    recorded = {signal["against_images"]: signal for signal in reported["signals"]}
    alone, given = trust_data(trials, RUNGS), trust_data(trials, RUNGS, reported)
    assert alone == given
    between = alone.signals[0]
    assert between.spearman == recorded[4000]["spearman"]
    assert (between.low, between.high) == (recorded[4000]["spearman_low"], recorded[4000]["spearman_high"])


def test_the_reports_figures_are_taken_while_they_are_of_as_many_networks():
    known = {"spearman": 0.1, "spearman_low": 0.0, "spearman_high": 0.2}
    name = "among those sent on, validation loss after 1,000 images"
    for n, expected in ((4, 0.1), (3, pytest.approx(0.8))):
        report = {"signals": [{"name": name, "n": n, **known}]}
        assert trust_data(two_rungs(LOSSES), RUNGS, report).signals[0].spearman == expected


def test_signals_are_of_the_highest_level_with_enough_networks():
    trials = [*two_rungs(LOSSES), *two_rungs([(1.0, 0.5), (2.0, 0.4)], level=200, start=10)]
    data = trust_data(trials, RUNGS)
    assert data.level == 100
    assert data.signals[0].n == 4
    assert len(data.comparisons[0].pairs) == 6
    assert trust_data([*trials, trained(12, 3.0, level=200)], RUNGS).level == 200


def test_too_few_pairs_are_counted():
    data = trust_data(two_rungs([(1.0, 0.5), (2.0, 0.7), (3.0, None)]), RUNGS)
    assert data.short == (("1,000 images → 4,000 images", 2),)
    assert [signal.kind for signal in data.signals] == ["static cost"] * 3


def test_repeats_and_losses_that_are_not_finite_take_no_part():
    trials = two_rungs(LOSSES)
    more = [
        trained(20, float("nan")),
        replace(trained(21, 1.0), repeats=0),
        replace(trained(22, 1.0, rung=1)),
    ]
    assert trust_data([*trials, *more], RUNGS).comparisons == trust_data(trials, RUNGS).comparisons
    assert trust_data([*trials, *more], RUNGS).signals == trust_data(trials, RUNGS).signals


@pytest.mark.parametrize("noise", [0.3, 1.0, 5.0])
def test_the_interval_of_many_is_that_of_the_bootstrap(noise):
    random = np.random.default_rng(1)
    signal = random.normal(size=200)
    truth = signal + noise * random.normal(size=200)
    rival = rank_agreement(signal, truth)
    found = spearman(signal.tolist(), truth.tolist())
    expected = (rival.spearman, rival.spearman_low, rival.spearman_high)
    assert found[0] == pytest.approx(expected[0])
    assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("n", [5, 500])
def test_signals_that_order_nothing_or_everything_have_no_width_of_nan(n):
    rising = list(map(float, range(n)))
    assert spearman([1.0] * n, rising) == (0, 0, 0)
    assert spearman(rising, rising)[0] == pytest.approx(1)
    assert all(np.isfinite(spearman(rising, rising)))


# Pictures


def forest(figure):
    """The signals drawn: name of the kind, place of each dot."""
    return {t.name: t.x for t in figure.data if t.mode == "markers" and t.xaxis != "x2"}


def test_pairs_carry_their_trials_and_other_levels_are_open():
    trials = [*two_rungs(LOSSES), *two_rungs([(1.0, 0.5)], level=50, start=10)]
    figure = trust(trials, context=Context(BUDGET, rungs=RUNGS))
    (pairs,) = (trace for trace in figure.data if trace.xaxis == "x2")
    assert tuple(pairs.customdata) == (0, 1, 2, 3, 10)
    assert pairs.marker.symbol == ("circle",) * 4 + ("circle-open",)
    assert pairs.hoverinfo == "none"
    assert (pairs.x[1], pairs.y[1]) == (2.0, 0.7)
    assert forest(figure)["1,000 images → 4,000 images"] == (pytest.approx(0.8),)
    assert len(forest(figure)["static cost"]) == 3
    assert "fewer than 6 networks are too few to say" in figure.layout.title.subtitle.text


def test_a_run_of_one_rung_has_its_baselines_and_says_what_is_missing():
    figure = trust([trained(n, float(n)) for n in range(6)], context=Context(rungs=(1000,)))
    assert set(forest(figure)) == {"static cost"}
    assert "No candidate was trained longer yet" in figure.layout.title.subtitle.text


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ((), "No trial has ended yet"),
        ((failed(0), failed(1)), "2 of 2 trials failed"),
        ((trial(0),), "needs 3 trained networks of one level"),
        ((trial(0, level=100), trial(1, level=200)), "no level has them yet"),
    ],
)
def test_too_little_is_said_in_words(trials, words):
    (annotation,) = trust(trials).layout.annotations
    assert words in annotation.text.replace("<br>", " ")


def test_two_pairs_alone_are_drawn_and_counted():
    figure = trust(two_rungs([(1.0, 0.5), (2.0, 0.7)]), context=Context(rungs=RUNGS))
    assert forest(figure) == {}
    assert "1,000 images → 4,000 images (2 pairs)" in figure.layout.title.subtitle.text


def test_five_thousand_trials_stay_a_bounded_picture():
    random = np.random.default_rng(0)
    losses = [
        (float(a), float(a + b) if n % 2 else None) for n, (a, b) in enumerate(random.random((5000, 2)))
    ]
    figure = trust(two_rungs(losses), context=Context(rungs=RUNGS))
    (pairs,) = (trace for trace in figure.data if trace.xaxis == "x2")
    assert 500 < len(pairs.x) <= 1500
    (between,) = forest(figure)["1,000 images → 4,000 images"]
    assert between == pytest.approx(0.7, abs=0.05)  # of a with a + b, both uniform


# The recorded survey


def test_the_recorded_survey_is_a_view_of_its_own():
    report = json.loads(RECORDED.read_text())
    views = trust(two_rungs(LOSSES), context=Context(surveys={"trust": report}))
    assert list(views) == ["this run", "recorded survey"]
    drawn = forest(views["recorded survey"])
    assert list(drawn) == list(dict.fromkeys(signal["kind"] for signal in report["signals"]))
    assert sum(map(len, drawn.values())) == len(report["signals"])
    assert list(trust((), context=Context(surveys={"trust": report}))) == list(views)


def test_signals_of_a_survey_are_sorted_within_their_kind():
    report = json.loads(RECORDED.read_text())
    signals = recorded_signals(report)
    for kind in dict.fromkeys(signal["kind"] for signal in report["signals"]):
        own = [signal.spearman for signal in signals if signal.kind == kind]
        assert own == sorted(own, reverse=True)
    named = {one["name"]: one["spearman"] for one in report["signals"]}
    assert all([one.spearman, one.low, one.high] == named[one.name] for one in signals)


def test_a_survey_with_a_ceiling_draws_it_and_one_without_signals_has_words():
    report = json.loads(RECORDED.read_text())
    truth = report["truth"] | {"ceiling": 0.9}
    figure = trust((), context=Context(surveys={"trust": report | {"truth": truth}}))["recorded survey"]
    assert 0.9 in [shape.x0 for shape in figure.layout.shapes]
    assert "0.90" in figure.layout.title.subtitle.text
    empty = trust((), context=Context(surveys={"trust": report | {"signals": []}}))["recorded survey"]
    assert "a comparison needs 3" in empty.layout.annotations[0].text.replace("<br>", " ")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_markup_of_others_reaches_plotly(text):
    report = json.loads(RECORDED.read_text())
    signals = [signal | {"name": text, "kind": text, "verdict": text} for signal in report["signals"]]
    context = Context(surveys={"trust": report | {"signals": signals, "data": {"name": text}}})
    for figure in trust([*two_rungs(LOSSES), failed(7, text)], context=context).values():
        written = json.dumps(json.loads(figure.to_json()))
        assert not re.search("[<>]", re.sub("<br>|<extra></extra>", "", written))
