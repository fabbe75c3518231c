"""Successive halving: the rule by itself, and in a driver on real processes."""

import random
from collections import Counter

import numpy as np
import pytest
from formula import loss_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from test_search import definition, results, search

from scalesearch.search.report import accuracies
from scalesearch.search.rungs import Entry, Halving, front_numbers, promotions
from scalesearch.search.selection import final_rung, latest, ranked
from scalesearch.search.study import Limits

RUNGS = (500, 1000, 3000)


def entries(losses, rung=0, group="a"):
    return [Entry(number, group, rung, loss) for number, loss in enumerate(losses)]


def test_a_cohort_sends_on_its_best_third_and_a_part_of_a_cohort_nobody():
    losses = [0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.7, 0.6, 0.4]
    found = promotions(entries(losses), 3, Halving())
    assert [p.number for p in found] == [1, 4, 3]
    assert {p.rung for p in found} == {1}
    assert all(p.among == tuple(range(9)) for p in found)
    assert promotions(entries(losses[:8]), 3, Halving()) == []
    assert [p.number for p in promotions(entries(losses[:8]), 2, Halving())] == [1, 4]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=40), st.integers(2, 4), st.integers(2, 3))
def test_halving_promotes_by_ranks_within_cohorts(losses, eta, rungs):
    """Against ranks by scipy, cohort by cohort; failures are never promoted."""
    size = eta ** (rungs - 1)
    expected = []
    for start in range(0, len(losses) // size * size, size):
        cohort = [np.inf if loss is None else loss for loss in losses[start : start + size]]
        places = rankdata(cohort, method="ordinal")
        chosen = [start + i for i in range(size) if places[i] <= size // eta and np.isfinite(cohort[i])]
        expected += chosen
    found = promotions(entries(losses), rungs, Halving(eta=eta))
    assert sorted(p.number for p in found) == sorted(expected)


@given(st.lists(st.floats(0, 1), max_size=30), st.data())
def test_later_results_never_take_a_synchronous_promotion_back(losses, data):
    cut = data.draw(st.integers(0, len(losses)))
    before = promotions(entries(losses[:cut]), 3, Halving())
    assert set(before) <= set(promotions(entries(losses), 3, Halving()))


def test_only_trainings_of_one_group_and_rung_compete():
    mixed = [Entry(0, "a", 0, 0.3), Entry(1, "b", 0, 0.1), Entry(2, "a", 0, 0.2), Entry(3, "a", 1, 0.0)]
    assert promotions(mixed, 2, Halving(eta=3)) == []
    assert [p.number for p in promotions(mixed, 2, Halving(eta=2))] == [2]


def test_the_asynchronous_rule_sends_on_the_best_share_of_what_there_is():
    losses = [0.5, 0.4, 0.3, 0.2]
    seen = [promotions(entries(losses[:n]), 2, Halving("asynchronous")) for n in range(5)]
    assert [[p.number for p in found] for found in seen] == [[], [], [], [2], [3]]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), max_size=12))
def test_fronts_are_those_that_peeling_by_definition_gives(points):
    left, numbers, front = set(range(len(points))), [None] * len(points), 0
    while left:
        free = {
            i
            for i in left
            if not any(
                all(a <= b for a, b in zip(points[j], points[i], strict=True)) and points[j] != points[i]
                for j in left
            )
        }
        for i in free:
            numbers[i] = front
        left -= free
        front += 1
    assert front_numbers(points) == numbers


def test_ranking_by_fronts_lets_a_cheap_candidate_through():
    rows = [(0.35, 6.0), (0.4, 1.0), (0.38, 7.0), (0.5, 8.0)]
    compared = [Entry(number, "a", 0, loss, (cost,)) for number, (loss, cost) in enumerate(rows)]
    by_loss, by_fronts = Halving("asynchronous", 2), Halving("asynchronous", 2, "fronts")
    assert [p.number for p in promotions(compared, 2, by_loss)] == [0, 2]
    assert [p.number for p in promotions(compared, 2, by_fronts)] == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"eta": 1}, "eta"), ({"rule": "never"}, "rule is one of synchronous"), ({"rank": "x"}, "rank")],
)
def test_a_wrong_rule_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Halving(**options)


def test_rungs_are_whole_trainings_and_each_cohort_sends_one_third_on(tmp_path):
    study = definition(rungs=RUNGS, levels=(1.0,))
    _, trials = search(tmp_path, Limits(trials=18), study=study, jitter=0.02)
    searched = [t for t in trials if t.role == "search"]
    assert Counter(t.rung for t in searched) == {0: 18, 1: 6, 2: 2}
    assert all(t.outcome.images == RUNGS[t.rung] for t in searched)
    assert all(t.outcome.val_loss == loss_of(t.proxy.document, t.outcome.seed) for t in searched)
    for start in (0, 9):
        cohort = [t for t in searched if t.rung == 0 and start <= t.number < start + 9]
        best = sorted(cohort, key=lambda t: t.outcome.val_loss)[:3]
        sent = {t.number for t in searched if t.rung == 1 and start <= t.number < start + 9}
        assert sent == {t.number for t in best}
    finals = [t for t in trials if t.role == "final"]
    assert {(t.rung, t.outcome.images) for t in finals} == {(2, 3000)}
    assert {t.number for t in finals} == {t.number for t in ranked(trials)[:2]}


def test_the_best_is_the_best_of_the_highest_rung(tmp_path):
    _, trials = search(tmp_path, Limits(trials=9), study=definition(rungs=RUNGS, levels=(1.0,)))
    order = ranked(trials)
    assert [t.rung for t in order] == sorted((t.rung for t in order), reverse=True)
    assert len({t.number for t in order}) == len(order) == 9
    assert final_rung(trials) == order[0].rung == 2
    assert len(accuracies(trials, order[0].number)) == 2  # the finals alone
    assert [t.number for t in latest(trials)] == list(range(9))


@pytest.mark.parametrize("control", [False, True])
def test_a_run_with_rungs_repeats_exactly_whatever_finishes_first(tmp_path, control):
    study = definition(rungs=(500, 1000), control=control)
    _, one = search(tmp_path / "a", Limits(trials=16), study=study, jitter=0.05)
    _, two = search(tmp_path / "b", Limits(trials=16), study=study, workers=1)
    assert results(one) == results(two)
    assert {t.rung for t in one} == {0, 1}


def test_an_interrupted_run_with_rungs_goes_on_to_the_same_results(tmp_path):
    study = definition(rungs=(500, 1000), levels=(1.0,), control=True)
    _, whole = search(tmp_path / "whole", Limits(trials=12), study=study)
    stops = iter(random.Random(1).sample(range(2, 60), 3))

    for stop_after in stops:
        seen = [0]

        def stop(limit=stop_after, seen=seen):
            seen[0] += 1
            return seen[0] >= limit

        search(tmp_path / "cut", Limits(trials=12), study=study, pause=0.05, stop=stop)
    _, again = search(tmp_path / "cut", Limits(trials=12), study=study)
    assert results(again) == results(whole)


def test_an_extended_run_decides_as_if_it_had_been_longer(tmp_path):
    study = definition(rungs=(500, 1000), levels=(1.0,))
    _, whole = search(tmp_path / "whole", Limits(trials=14), study=study)
    search(tmp_path / "grown", Limits(trials=7), study=study)
    _, grown = search(tmp_path / "grown", Limits(trials=14), study=study)
    first = [[item for item in results(trials) if item[0] == "search"] for trials in (whole, grown)]
    assert first[0] == first[1]


def test_the_control_arm_is_random_draws_of_the_same_levels_at_equal_cost(tmp_path):
    study = definition(rungs=(500, 1000), control=True)
    _, trials = search(tmp_path, Limits(trials=24), study=study)
    first = [t for t in trials if t.role == "search" and t.rung == 0]
    assert {t.arm for t in first if t.number % 2} == {"control"}
    assert {t.arm for t in first if t.number % 2 == 0} == {"search"}
    pairs = zip(
        sorted(first, key=lambda t: t.number)[::2], sorted(first, key=lambda t: t.number)[1::2], strict=True
    )
    assert all(a.level == b.level and a.outcome.images == b.outcome.images for a, b in pairs)
    compared = definition(rungs=(500, 1000), control=True, seed=0)
    assert compared.arm(3) == "control"


def test_what_the_control_finds_does_not_move_the_search(tmp_path):
    """The sampler is told of its own arm only: its proposals are those of a run without failures there."""
    study = definition(control=True, levels=(1.0,))
    _, one = search(tmp_path / "a", Limits(trials=16), study=study, workers=1)
    fail = dict.fromkeys(range(1, 16, 2), "nan")
    _, two = search(tmp_path / "b", Limits(trials=16), study=study, workers=1, fail=fail)
    drawn = [{t.number: t.params for t in trials if t.role == "search"} for trials in (one, two)]
    assert [t.outcome.status for t in two if t.number % 2 and t.role == "search"] == ["failed"] * 8
    assert drawn[0] == drawn[1]


def test_an_asynchronous_run_promotes_too_and_keeps_its_count(tmp_path):
    study = definition(rungs=(500, 1000), levels=(1.0,), asynchronous=True)
    _, trials = search(tmp_path, Limits(trials=15), study=study, jitter=0.03)
    rungs = Counter(t.rung for t in trials if t.role == "search")
    assert rungs[0] == 15
    assert rungs[1] >= 5
