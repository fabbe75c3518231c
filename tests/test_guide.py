"""The sampler `surrogate` in a driver on real processes, with a formula in place of the landscape."""

import numpy as np
import pytest
from test_search import definition, results, search

from scalesearch.search.guide import EACH, WINDOW, Guide
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


def test_a_pool_holds_the_draws_of_its_level_alone_and_forgets_old_ones():
    guide = Guide(guided(control=True))
    pool = guide._pool(8)  # search numbers 0, 4, 8 have the top level
    assert 2 * EACH < len(pool) <= 3 * EACH
    rows = np.stack([one.row for one in pool])
    assert np.isfinite(rows).all()
    again = Guide(guided(control=True))._pool(8)
    assert [one.params for one in again] == [one.params for one in pool]
    assert len(list(guide._turns(4 * WINDOW + 40))) > WINDOW


def test_with_few_results_the_draws_are_random():
    assert Guide(guided()).choose(3, [], []) is None


def test_it_chooses_also_when_every_search_training_has_ended(tmp_path):
    study = guided()
    _, trials = search(tmp_path, Limits(trials=8), study=study)
    first = [t for t in trials if t.role == "search"]
    chosen = Guide(study).choose(8, first, first)
    assert chosen is not None
    assert chosen not in [t.params for t in first]


def test_objectives_that_the_model_does_not_cover_are_refused():
    with pytest.raises(ValueError, match=r"the sampler surrogate is for accuracy .* accuracy, params"):
        Study("s", sampler=GUIDED, objectives=("accuracy", "params"))
    Study("s", sampler=GUIDED, objectives=("mnasnet",))
