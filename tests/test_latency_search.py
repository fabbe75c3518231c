"""Latency in a search: an objective, a limit that holds by construction, and what is recorded of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from factories import failed, trial
from formula import make
from test_command import call
from test_latency import MODEL, fail_to_measure
from test_limits import request
from test_search import definition, results

from scalesearch import documents
from scalesearch.architecture.budget import BAND, Budget, OverBudgetError, fit
from scalesearch.architecture.document import from_document
from scalesearch.architecture.latency import LatencyLimit
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli import latency_session
from scalesearch.cli.latency_session import model_for, model_json
from scalesearch.cli.options import max_latency
from scalesearch.dashboard.describe import within_text
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.panels.pareto import pareto
from scalesearch.dashboard.panels.pareto_data import AXES, LATENCY, pareto_data
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.objectives import measured, told
from scalesearch.search.records import Member
from scalesearch.search.report import frame
from scalesearch.search.store import STUDY, RunStore
from scalesearch.search.study import Finals, Limits, SamplerChoice

B0 = documents.load("efficientnet_b0")
ONCE = Finals(candidates=0, seeds=0)
FLOPS = Budget(4e8)


def limited(seconds, budget=FLOPS):
    return replace(budget, latency=LatencyLimit(MODEL, seconds))


def latency_study(limits=None, **study):
    chosen = definition(finals=ONCE)
    changed = replace(chosen.study, **study)
    return replace(chosen, study=changed, latency=MODEL, limits=limits or {})


def search(folder, trials, study):
    with RunStore(folder) as store, LocalEngine(2, make()) as engine:
        ending = Driver(study, store, engine).run(Limits(trials=trials))
        return ending, sorted(store.finished, key=lambda one: one.number)


# The limit


def test_a_limit_that_does_not_bind_changes_nothing_but_the_share():
    free = fit(B0, Coefficients(), FLOPS)
    slow = MODEL.seconds(free.network)
    held = fit(B0, Coefficients(), limited(slow * 1.001))
    assert held.network == free.network
    assert held.share == pytest.approx(max(free.share, 1 / 1.001))


def test_a_tighter_limit_is_kept_and_used_up():
    slow = MODEL.seconds(fit(B0, Coefficients(), FLOPS).network)
    found = [fit(B0, Coefficients(), limited(slow * share)) for share in (0.8, 0.4, 0.2)]
    taken = [MODEL.seconds(one.network) / slow for one in found]
    for most, one, share in zip((0.8, 0.4, 0.2), found, taken, strict=True):
        assert BAND * most <= share <= most
        assert limited(slow * most).binding(one.network) == "latency"
        assert one.share == pytest.approx(share / most)
        assert one.network.cost().flops <= FLOPS.flops


def test_a_limit_below_the_narrowest_network_is_over_budget():
    with pytest.raises(OverBudgetError):
        fit(B0, Coefficients(), limited(1e-9))


def test_every_trial_is_within_the_limit(tmp_path):
    _, free = search(tmp_path / "free", 6, latency_study())
    middle = float(np.median([one.deployed.latency for one in free]))
    ending, trials = search(tmp_path / "held", 6, latency_study({"latency": middle}))
    assert ending == "trials"
    for found in trials:
        assert found.deployed.latency == MODEL.seconds(from_document(found.deployed.document))
        assert found.deployed.latency <= middle
        assert BAND <= found.deployed.share <= 1
    binding = {found.deployed.binding for found in trials}
    assert "latency" in binding
    # What the limit does not touch is proposed and fitted as without it, until the sampler learns of others.
    untouched = [one.number for one in free[:4] if one.deployed.latency <= middle]
    assert all(trials[n].deployed.document == free[n].deployed.document for n in untouched)


def test_a_limit_out_of_reach_ends_the_search(tmp_path):
    ending, trials = search(tmp_path, 2, replace(latency_study({"latency": 1e-9}), levels=(2e9,)))
    assert (ending, trials) == ("exhausted", [])


# The objective


def tpe(**settings):
    return latency_study(
        objectives=("accuracy", "latency"), sampler=SamplerChoice("tpe", startup=3), **settings
    )


def test_a_search_for_latency_repeats_exactly_and_resumes_as_one(tmp_path):
    _, whole = search(tmp_path / "whole", 8, tpe())
    search(tmp_path / "cut", 5, tpe())
    _, resumed = search(tmp_path / "cut", 8, tpe())
    assert results(resumed) == results(whole)
    assert [one.deployed for one in resumed] == [one.deployed for one in whole]
    assert measured(("latency",), whole[0], 1.0) == [whole[0].deployed.latency]
    assert told(("latency",), whole[0], 1.0) == [pytest.approx(np.log10(whole[0].deployed.latency))]


def test_a_study_of_latency_needs_a_model():
    for changes in ({"limits": {"latency": 1.0}}, {"study": tpe().study}):
        with pytest.raises(ValueError, match="needs a latency model"):
            replace(definition(), **changes)


def test_a_trial_without_a_prediction_has_no_place_among_others():
    assert trial().deployed.latency is None
    assert measured(("accuracy", "latency"), trial(), 1.0) is None


def test_records_from_before_latency_are_read():
    data = json.loads(json.dumps(vars(trial().deployed)))
    del data["latency"]
    assert Member.from_json(data) == trial().deployed


# What is shown


def predicted(number=0, accuracy=0.5, latency=0.005, **options):
    made = trial(number, accuracy, **options)
    return replace(made, deployed=replace(made.deployed, latency=latency))


def test_the_pareto_panel_has_a_view_of_latency_where_trials_have_it():
    assert LATENCY in AXES
    plain = [trial(0, 0.5, flops=10**8), trial(1, 0.6, flops=2 * 10**8), failed(2)]
    assert "latency" not in pareto(plain)
    shown = [predicted(0, 0.5, 0.004), predicted(1, 0.6, 0.008), predicted(2, 0.4, 0.006), failed(3)]
    assert "latency" in pareto(shown)
    data = pareto_data(shown, axis=LATENCY)
    assert [point.cost for point in data.front] == [0.004, 0.008]
    assert [point.trial.number for point in data.dominated] == [2]
    assert LATENCY.text(0.0051234) == "5.12 ms"


def test_latency_is_in_the_table_of_the_page_and_in_the_parquet_file():
    shown = [predicted(latency=0.0051234), trial(1)]
    assert [one["deployed"]["latency"] for one in entries(shown, [], str)] == [0.0051234, None]
    assert frame(shown)["latency"].tolist()[0] == 0.0051234


def test_a_limit_on_latency_is_told_in_words():
    assert within_text(2e9, {"latency": 0.005}) == "2.00 GFLOPs and 5 ms of predicted latency"


# The command


@pytest.mark.parametrize(
    ("text", "seconds"), [("5ms", 0.005), ("0.5s", 0.5), ("250us", 0.00025), (".5ms", 0.0005)]
)
def test_a_limit_is_read_with_its_unit(text, seconds):
    assert max_latency(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "0ms", "-1ms", "fast", "5 min", "1e3ms", ""])
def test_a_limit_without_a_unit_or_above_0_is_refused(text):
    with pytest.raises(InputError, match="--max-latency is a time above 0"):
        max_latency(text)


def test_a_run_takes_its_model_from_a_file_then_from_its_own_study(tmp_path, monkeypatch):
    monkeypatch.setattr(latency_session, "known_model", fail_to_measure)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model_json(MODEL)))
    asked = request(out=str(tmp_path / "run"))
    said = []
    assert model_for(replace(asked, latency_model=str(path)), "cpu", said.append) == MODEL
    assert said[0].endswith(f"batch 1 on planted; from {path}")
    (tmp_path / "run").mkdir()
    stored = {"latency": MODEL.to_json(), "data": {"name": "digits"}, "lag": 4}
    (tmp_path / "run" / STUDY).write_text(documents.write_text(stored))
    for option in (None, "cpu"):
        assert model_for(replace(asked, latency_model=option), "cpu", said.append) == MODEL
        assert "the one that the run was begun with" in said[-1]
    with pytest.raises(InputError, match="--latency-model is cpu, cuda"):
        model_for(replace(asked, latency_model="phone"), "cpu", fail_to_measure)
    (tmp_path / "run" / STUDY).write_text(documents.write_text(stored | {"latency": {"coefficients": {}}}))
    with pytest.raises(InputError, match=r"study.yaml holds no latency model"):
        model_for(asked, "cpu", fail_to_measure)
    (tmp_path / "run" / STUDY).unlink()
    for wrong in ("{", "[]", '{"model": {}}'):
        path.write_text(wrong)
        with pytest.raises(InputError, match="holds no latency model"):
            model_for(replace(asked, latency_model=str(path)), "cpu", fail_to_measure)
    with pytest.raises(InputError, match="--latency-model is cpu, cuda"):
        model_for(replace(asked, latency_model="phone"), "cpu", fail_to_measure)


def test_a_model_of_another_batch_is_refused(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model_json(replace(MODEL, batch=8))))
    asked = replace(request(), latency_model=str(path))
    with pytest.raises(InputError, match=r"--latency-model is of batch 1, but .*model\.json is of batch 8"):
        model_for(asked, "cpu", fail_to_measure)


@pytest.mark.long
def test_a_run_on_real_digits_keeps_the_limit_and_goes_on_without_measuring(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(model_json(MODEL)))
    study = tmp_path / "small.yaml"
    study.write_text(
        "name: small\nrungs: [300]\nfinals: {candidates: 0, seeds: 0, share: 0}\nwarm_start: []\n"
    )
    run = [
        "run",
        "--budget-flops",
        "2e7",
        "--study",
        study,
        "--data",
        "digits",
        "--workers",
        "2",
        "--export",
        "network",
        "--out",
        "run",
    ]
    wanted = ["--max-latency", "1ms", "--objectives", "accuracy,latency", "--sampler", "tpe", "--json"]
    code, out, err = call(*run, *wanted, "--trials", "2", "--latency-model", "model.json", cwd=tmp_path)
    assert code == 0, err
    best = json.loads(out)["best"]
    assert 0 < best["latency"] <= 0.001
    assert "at most 0.001 seconds of predicted latency" in " ".join(err.split())
    (tmp_path / "model.json").unlink()  # the study has it
    cache = tmp_path / "cache"
    code, out, err = call(*run, *wanted, "--trials", "3", cwd=tmp_path, SCALESEARCH_CACHE=str(cache))
    assert code == 0, err
    assert json.loads(out)["trials"]["complete"] == 3
    assert not (cache / "latency.json").exists()
