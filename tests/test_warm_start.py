"""What a search begins with: published networks and earlier runs, as trials like all others."""

import json
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from test_search import MIXED, definition, results, search

from scalesearch import documents, load
from scalesearch.architecture.domains import Choice, Range
from scalesearch.architecture.encoding import merged
from scalesearch.architecture.membership import skeleton
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli.definition import Request, warm_starts
from scalesearch.errors import InputError
from scalesearch.search.samplers import SAMPLERS, Proposer
from scalesearch.search.selection import ranked
from scalesearch.search.store import RECORD
from scalesearch.search.study import Limits, Study
from scalesearch.search.warm_start import best_values, is_drawn, nearest, values_of

NAMES = ("efficientnet_b0", "mobilenet_v2", "efficientnet_v2_s", "shufflenet_v2_x1_0")
STARTS = tuple(values_of(MIXED, load(name)) for name in NAMES)


def started(**study):
    return replace(definition(**study), warm_start=STARTS)


def asking(*names, space="mixed", foreign=False):
    study = Study("s", space=space, warm_start=names)
    request = Request(study, (2e9,), {}, "digits", 2, None, "cpu", 1, None, foreign=foreign)
    return warm_starts(request, documents.load_space(space))


@pytest.mark.parametrize("name", NAMES)
def test_values_give_the_network_and_the_published_shares_of_growth(name):
    candidate = MIXED.draw(lambda leaf, _domain: values_of(MIXED, load(name))[leaf])
    network = replace(load(name), resolution=224)
    assert skeleton(replace(candidate.base, name=name)) == skeleton(merged(network))
    assert candidate.coefficients.shares == pytest.approx(Coefficients(1.2, 1.1, 1.15).shares)


def test_a_coarse_space_gets_the_nearest_shares():
    coarse = {"depth": Range(0.0, 1.0, 0.25), "width": Choice((0.1, 0.5)), "growth": 2}
    values = values_of(replace(MIXED, coefficients=coarse), load("efficientnet_b0"))
    assert (values["coefficients.depth"], values["coefficients.width"]) == (0.25, 0.5)  # of 0.279 and 0.405
    assert [nearest(Range(2, 8, 3), wanted) for wanted in (0, 3.4, 3.6, 99)] == [2, 2, 5, 8]
    assert nearest(Range(0.5, 1.0), 0.2) == 0.5


def test_the_default_study_starts_from_what_its_space_holds():
    study = documents.load_study("default")
    assert set(study.warm_start) == set(NAMES)
    starts, left_out = asking(*study.warm_start)
    assert (len(starts), left_out) == (4, ())
    assert all(is_drawn(MIXED, values) for values in starts)
    starts, left_out = asking(*study.warm_start, space="efficientnet_v2_s_blocks", foreign=True)
    assert len(starts) == 1
    assert left_out == ("efficientnet_b0", "mobilenet_v2", "shufflenet_v2_x1_0")


def test_a_network_that_the_space_does_not_hold_is_one_error_with_the_reason():
    with pytest.raises(
        InputError, match=r"mobilenet_v3_large is no network of the space mixed: head\.channels"
    ):
        asking("efficientnet_b0", "mobilenet_v3_large")
    for foreign in (False, True):
        with pytest.raises(InputError, match="no network is called 'efficientnet_b9'"):
            asking("efficientnet_b9", foreign=foreign)


def test_the_search_begins_with_the_networks_on_their_levels_and_then_draws(tmp_path):
    _, trials = search(tmp_path, Limits(trials=8), study=started())
    first = sorted((t for t in trials if t.role == "search"), key=lambda t: t.number)
    assert [t.params for t in first[:4]] == list(STARTS)
    assert [t.level for t in first[:4]] == [2e9, 1e9, 2e9, 5e8]
    assert all(t.params not in STARTS for t in first[4:])
    assert all(0.97 <= t.deployed.share <= 1 for t in first)


def test_the_control_arm_starts_from_nothing(tmp_path):
    _, trials = search(tmp_path, Limits(trials=10), study=started(control=True))
    first = sorted((t for t in trials if t.role == "search"), key=lambda t: t.number)
    assert [t.params for t in first[:8:2]] == list(STARTS)
    assert all(t.params not in STARTS for t in first[1::2])


def test_a_warm_run_that_is_cut_off_goes_on_to_the_same_results(tmp_path):
    study = started(levels=(1.0,))
    _, whole = search(tmp_path / "whole", Limits(trials=9), study=study)
    record = tmp_path / "cut" / RECORD

    def stop():
        return record.read_text().count('"finished"') >= 2

    search(tmp_path / "cut", Limits(trials=9), study=study, pause=0.1, stop=stop)
    _, again = search(tmp_path / "cut", Limits(trials=9), study=study)
    assert results(again) == results(whole)


@pytest.mark.parametrize("sampler", sorted(set(SAMPLERS) - {"gp"}))
def test_a_start_is_a_trial_like_all_others_to_the_sampler(sampler):
    proposer = Proposer(MIXED, sampler, 3, 0)
    for number, values in enumerate(STARTS):
        candidate, params = proposer.ask(number, given=values)
        assert params == values
        assert candidate == MIXED.draw(lambda name, _domain, values=values: values[name])
        proposer.tell(number, [1.0 + number, 9.0])
    told = proposer.study.get_trials(states=[TrialState.COMPLETE])
    assert [len(t.distributions) == len(t.params) for t in told] == [True] * 4
    assert all(t.params.items() >= values.items() for t, values in zip(told, STARTS, strict=True))


def test_starts_count_as_start_up_so_that_the_model_sets_in_earlier():
    """With a start-up of four, what follows four starts is TPE's; with one of five it is drawn at random."""
    proposals = []
    for startup in (4, 5):
        proposer = Proposer(MIXED, "tpe", startup, 0)
        for number, values in enumerate(STARTS):
            proposer.ask(number, given=values)
            proposer.tell(number, [1.0 + number, 9.0])
        proposer.ask(4)
        proposals.append(proposer.notes(4).get("trial", {}))
    assert [bool(notes) for notes in proposals] == [True, False]  # what the model proposed is noted


def test_an_earlier_run_gives_its_best_candidates_that_the_space_holds(tmp_path):
    _, trials = search(tmp_path, Limits(trials=14), study=definition(levels=(1.0,)))
    best = [t.params for t in ranked(trials)]
    assert best_values(MIXED, trials) == best[:5]
    starts, _ = asking(str(tmp_path))
    assert list(starts) == json.loads(json.dumps(best[:5]))
    smaller = {**MIXED.document, "stem": {**MIXED.document["stem"], "channels": Range(16, 32, 8)}}
    held = [params for params in best if params["stem.channels"] <= 32]
    assert 0 < len(held) < len(best)
    assert best_values(replace(MIXED, document=smaller), trials) == held[:5]


def test_a_run_of_another_space_is_no_start(tmp_path):
    search(tmp_path, Limits(trials=2), study=definition(levels=(1.0,)))
    with pytest.raises(InputError, match=r"no candidate of .* is one of the space efficientnet_v2_s_blocks"):
        asking(str(tmp_path), space="efficientnet_v2_s_blocks")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a run folder holds record"):
        asking(str(tmp_path / "empty"))
