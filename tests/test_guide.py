"""The sampler `surrogate` in a driver on real processes, with a formula in place of the landscape."""

from dataclasses import replace

import numpy as np
import pytest
from test_search import definition, results, search

from scalesearch.architecture.budget import UnfitError
from scalesearch.documents import space_from
from scalesearch.search.guide import Guide
from scalesearch.search.pool import EACH, TURNS, Pool, fitted_proxies
from scalesearch.search.proposals import deployed_for
from scalesearch.search.samplers import random_candidate
from scalesearch.search.study import Limits, SamplerChoice, Study

GUIDED = SamplerChoice("surrogate", startup=6)


def guided(**options):
    return definition(sampler=GUIDED, levels=options.pop("levels", (1.0, 0.5)), **options)


def test_a_guided_run_learns_the_landscape_and_beats_its_random_control(tmp_path):
    _, trials = search(tmp_path, Limits(trials=36), study=guided(control=True, levels=(1.0,)))
    first = sorted((t for t in trials if t.role == "search"), key=lambda t: t.number)
    losses = {arm: [t.outcome.val_loss for t in first if t.arm == arm] for arm in ("search", "control")}
    assert np.mean(losses["search"][9:]) < np.mean(losses["control"][9:])
    assert np.mean(losses["search"][9:]) < np.mean(losses["search"][:6])
    assert all(0.97 <= t.deployed.share <= 1 for t in first)
    assert len({t.key for t in first}) == len(first)  # nothing is chosen twice


def test_a_guided_run_repeats_and_resumes_exactly(tmp_path):
    study = guided()
    _, whole = search(tmp_path / "whole", Limits(trials=13), study=study, jitter=0.03)
    seen = []

    def stop():
        seen.append(1)
        return len(seen) >= 18

    ending, _ = search(tmp_path / "cut", Limits(trials=13), study=study, pause=0.05, workers=1, stop=stop)
    _, again = search(tmp_path / "cut", Limits(trials=13), study=study, workers=1)
    assert ending == "stopped"
    assert results(again) == results(whole)


def guide(study):
    return Guide(study, lambda one, level: deployed_for(one, study.classes, study.budget_at(level)))


def params(pool):
    return [one.params for one in pool]


def test_a_pool_depends_on_level_and_place_alone_and_holds_the_last_two_blocks():
    pool = Pool(guided(control=True))
    first = pool.at(8)  # search numbers 0, 4, 8, ... have the top level
    assert 0.9 * EACH * TURNS < len(first) <= EACH * TURNS
    assert np.isfinite(np.stack([one.row for one in first])).all()
    assert params(pool.at(4 * (TURNS - 1))) == params(first)
    assert not any(one in params(first) for one in params(pool.at(2)))
    second = pool.at(4 * TURNS)
    assert params(second)[: len(first)] == params(first)
    assert params(pool.at(8 * TURNS))[: len(second) - len(first)] == params(second)[len(first) :]
    again = Pool(guided(control=True))  # as after a resumption
    assert params(again.at(4 * TURNS)) == params(second)


def test_what_is_prepared_while_trainings_run_is_not_drawn_again_and_changes_no_choice(tmp_path, monkeypatch):
    study = guided()
    _, trials = search(tmp_path, Limits(trials=8), study=study)
    first = [t for t in trials if t.role == "search"]
    expected = guide(study).choose(8, first, first)
    prepared = guide(study)
    prepared.prepare(8)
    monkeypatch.setattr(Pool, "_drawn", lambda *_: pytest.fail("drawn again"))
    assert prepared.choose(8, first, first) == expected
    guide(study).prepare(GUIDED.startup - 1)  # the draws before the first results are random


CONTINUOUS = {
    "name": "continuous",
    "resolution": 32,
    "stem": {"channels": 16},
    "stages": [{"operator": "mbconv", "channels": 32, "repeats": 2, "expand": {"range": [1.0, 6.0]}}] * 5,
    "head": {"channels": 64},
    "coefficients": {"growth": 2, "depth": {"range": [0.0, 1.0]}, "width": {"range": [0.0, 1.0]}},
}


@pytest.mark.parametrize(("space", "level"), [("mixed", 1.0), ("mixed", 0.05), ("continuous", 1.0)])
def test_proxies_that_are_fitted_together_are_those_that_are_fitted_one_by_one(space, level):
    study = guided() if space == "mixed" else guided(space=space_from(CONTINUOUS, "continuous"))
    rng = np.random.default_rng(1)
    drawn = [random_candidate(study.space, rng)[0] for _ in range(40 if space == "mixed" else 21)]
    flops = study.policy.flops_at(level * study.budget, study.budget)

    def alone(candidate):
        try:
            return candidate.proxy(study.policy, flops, study.classes, study.resolution).network
        except UnfitError:
            return None

    expected = [alone(one) for one in drawn]
    assert fitted_proxies(drawn, study, level * study.budget) == expected
    # What the tables of costs are made for does not matter.
    first = [replace(one.base, classes=study.classes) for one in drawn]
    assert fitted_proxies(drawn[5:], study, level * study.budget, first) == expected[5:]


def test_with_few_results_the_draws_are_random():
    assert guide(guided()).choose(3, [], []) is None


def test_it_chooses_also_when_every_search_training_has_ended(tmp_path):
    study = guided()
    _, trials = search(tmp_path, Limits(trials=8), study=study)
    first = [t for t in trials if t.role == "search"]
    chosen = guide(study).choose(8, first, first)
    assert chosen is not None
    assert chosen not in [t.params for t in first]


def test_objectives_that_the_model_does_not_cover_are_refused():
    with pytest.raises(ValueError, match=r"the sampler surrogate is for accuracy .* accuracy, params"):
        Study("s", sampler=GUIDED, objectives=("accuracy", "params"))
    Study("s", sampler=GUIDED, objectives=("mnasnet",))
