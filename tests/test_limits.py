"""Limits on parameters and activations, and named levels: kept by every trial, told wherever they count."""

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from factories import report, trial
from formula import make
from test_command import call
from test_search import definition

from scalesearch import documents
from scalesearch import load as load_network
from scalesearch.architecture.budget import BAND
from scalesearch.architecture.document import from_document
from scalesearch.cli import words
from scalesearch.cli.definition import Request, check_reachable, define, run_folder
from scalesearch.cli.options import budgets, limit
from scalesearch.cli.session import Session, _satisfied
from scalesearch.cli.studyfile import belongs, origins
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.first_screen import first_screen
from scalesearch.dashboard.summary import summary_from_report
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import RECORD, STUDY, RunStore
from scalesearch.search.study import Finals, Limits, Study
from scalesearch.training.data import load

MIXED = documents.load_space("mixed")
NAMED = (4e8, 2e8, 1e8, 5e7)
ONCE = Finals(candidates=0, seeds=0)

# One operator needs fewer parameters, the other fewer activations.
TORN = documents.space_from(
    documents.read_text(
        """
        name: torn
        resolution: 32
        stem: {channels: 16}
        stages:
        - operator: {choice: [fused_mbconv, depthwise_separable]}
          channels: {choice: [32, 64]}
          repeats: 1
          stride: 1
          kernel: 3
          expand: 1
          se: 0
        head: {channels: null}
        coefficients: {depth: {range: [0, 1]}, width: {range: [0, 1]}, growth: 2.0}
        """,
        "torn",
    ),
    "torn",
)


def request(study=None, budgets=(2e9,), bounds=None, out=None):
    return Request(study or Study("small"), budgets, bounds or {}, "digits", 2, None, "cpu", 1, out)


def search(folder, trials, **changes):
    """Run a search on the formula's landscape; return its ending and its search trials."""
    study = replace(definition(finals=ONCE), **changes)
    with RunStore(folder) as store, LocalEngine(2, make()) as engine:
        ending = Driver(study, store, engine).run(Limits(trials=trials))
        return ending, [trial for trial in store.finished if trial.role == "search"]


@pytest.mark.parametrize(
    "limits", [{"params": 2e6}, {"activations": 1.5e6}, {"params": 1e6, "activations": 4e6}]
)
def test_every_trial_is_within_all_limits_and_the_binding_one_is_used_up(tmp_path, limits):
    _, trials = search(tmp_path, 10, limits=limits)
    assert len(trials) == 10
    for found in trials:
        cost = from_document(found.deployed.document).cost()
        shares = {
            name: getattr(cost, name) / most for name, most in ({"flops": found.level} | limits).items()
        }
        assert max(shares.values()) == found.deployed.share
        assert BAND <= found.deployed.share <= 1
        assert shares[found.deployed.binding] == found.deployed.share
    assert {found.deployed.binding for found in trials} & set(limits)


def test_named_levels_get_their_trials_turn_by_turn_the_largest_first(tmp_path):
    _, trials = search(tmp_path, 8, levels=NAMED)
    assert [found.level for found in sorted(trials, key=lambda found: found.number)] == [*NAMED, *NAMED]
    assert Counter(found.level for found in trials) == dict.fromkeys(NAMED, 2)
    assert all(BAND <= found.deployed.flops / found.level <= 1 for found in trials)


def test_limits_that_no_network_keeps_together_end_the_search_and_are_named(tmp_path):
    limits = {"params": 700, "activations": 300}
    ending, trials = search(tmp_path, 4, space=TORN, levels=(1e8,), limits=limits)
    assert (ending, trials) == ("exhausted", [])
    for name, least in limits.items():  # each of them is possible
        assert search(tmp_path / name, 1, space=TORN, levels=(1e8,), limits={name: least})[0] == "trials"
    told = report([]) | {"limits": limits, "ended_by": ending}
    assert words.exhausted_text(told, "torn", 200) == (
        "no network of the space torn was found within all limits together (100,000,000 "
        "multiply-accumulates, 700 parameters and 300 activations): 200 candidates in a row are above "
        "even at their smallest"
    )
    page = first_screen(summary_from_report(told, []), [])
    assert "No candidate could be fitted to the limits." in page
    assert "within 100 MFLOPs and 700 params and 300 activations." in page


def test_a_space_that_gives_nothing_new_is_told_with_its_result():
    told = report([trial()], trial()) | {"ended_by": "exhausted"}
    assert "the space mixed is exhausted: 200 proposals" in words.exhausted_text(told, "mixed", 200)
    assert words.exhausted_text(told | {"ended_by": "time"}, "mixed", 200) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budgets": (1e8, 10)},
            "--budget-flops: the smallest network of the space mixed costs LEAST multiply-",
        ),
        (
            {"bounds": {"params": 9}},
            "--max-params: the smallest network of the space mixed costs LEAST param",
        ),
        (
            {"bounds": {"params": 1e6, "activations": 0.5}},
            "--max-activations: the smallest network of the space mixed costs LEAST activations",
        ),
    ],
)
def test_an_impossible_limit_is_answered_before_anything_runs(changes, message):
    with pytest.raises(InputError) as raised:
        Session(request(**changes))
    before, after = message.split("LEAST")
    assert re.fullmatch(rf"{before}[1-9][0-9,]*{after}.*, but the limit is (10|9|0\.5)", str(raised.value))


def test_the_least_cost_grows_with_the_classes_of_the_data():
    least = MIXED.least(1).params
    check_reachable(request(bounds={"params": least}), MIXED)
    with pytest.raises(InputError, match=f"--max-params: .* but the limit is {least:,}"):
        check_reachable(request(bounds={"params": least}), MIXED, classes=10)


# Options


def test_budgets_are_read_largest_first():
    assert budgets("2e9") == (2e9,)
    assert budgets("5e7, 1e8,4e8,2e8") == NAMED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5e7,,1e8", "a budget between any two commas, but got '5e7,,1e8'"),
        ("5e7,", "a budget between any two commas, but got '5e7,'"),
        ("", "must be a number such as 2e9, but got ''"),
        ("5e7,1e8,50000000", "names a budget once, but 50000000 stands twice"),
        ("5e7,0", "must be positive and finite, but got '0'"),
        ("5e7,nan", "must be positive and finite, but got 'nan'"),
        ("5e7,many", "must be a number such as 2e9, but got 'many'"),
        ("5e7,1e99", "must be at most 1e+15, but got '1e99'"),
        (",".join(str(n) for n in range(1, 18)), "at most 16 budgets, but got 17"),
    ],
)
def test_a_wrong_part_of_the_budgets_is_named(text, message):
    with pytest.raises(InputError) as raised:
        budgets(text)
    assert str(raised.value).startswith("--budget-flops ")
    assert message in str(raised.value)


def test_a_wrong_limit_names_its_option():
    assert limit("--max-params", "5e6") == 5e6
    for text in ("few", "0", "-1", "inf", "1e16"):
        with pytest.raises(InputError, match=rf"^--max-params must be .*, but got '{text}'$"):
            limit("--max-params", text)


# The study and its folder


@pytest.fixture(scope="module")
def defined():
    """Return what resolves a request on the digits."""
    data, recipe = load("digits"), documents.load_recipe("proxy")
    return lambda asked, workers=1: define(asked, MIXED, recipe, data, workers)


def test_one_budget_without_limits_is_resolved_as_ever(defined):
    asked = request()
    found = defined(asked)
    assert set(found.resolved) == {"study", "budget_flops", "space", "recipe", "data"}
    assert found.resolved["budget_flops"] == 2e9
    assert found.levels == (2e9, 1e9, 2e9, 5e8, 2e9, 2.5e8)
    assert run_folder(asked, found).as_posix() == f"runs/small-2e09-{found.digest[:8]}"


def test_named_levels_and_limits_are_other_studies_and_name_their_folder(defined):
    named, limited = request(budgets=NAMED), request(bounds={"params": 5e6})
    digests = {
        defined(asked).digest for asked in (request(), named, limited, request(bounds={"params": 4e6}))
    }
    assert len(digests) == 4
    found = defined(named)
    assert found.levels == NAMED
    assert "levels" not in found.resolved["study"]  # their shares do not apply
    folder = run_folder(named, found)
    assert folder.as_posix() == f"runs/small-5e7-1e8-2e8-4e8-{found.digest[:8]}"
    other = Study("small", levels=(1.0,))
    assert defined(request(other, NAMED)).digest == found.digest
    assert defined(request(other)).digest not in digests


def test_the_same_limits_resume_and_others_are_refused(tmp_path, defined):
    asked = request(bounds={"params": 5e6})
    with RunStore(tmp_path) as store:
        belongs(asked, defined(asked), store)
        assert belongs(asked, defined(asked, workers=8), store).lag == 2
        other = request(bounds={"params": 4e6, "activations": 1e7}, budgets=(2e9, 1e9))
        with pytest.raises(InputError) as raised:
            belongs(other, defined(other), store)
    for part in (
        "limits.params: 5000000.0 there, 4000000.0 here",
        "limits.activations: None there, 10000000.0 here",
        "budget_flops: 2000000000.0 there, [2000000000.0, 1000000000.0] here",
    ):
        assert part in str(raised.value)


def test_a_study_names_the_files_of_its_documents_without_paths_of_the_machine(
    tmp_path, monkeypatch, defined
):
    here, away = tmp_path / "here", tmp_path / "away"
    for folder in (here / "mine", away):
        folder.mkdir(parents=True)
        (folder / "own.yaml").write_text(documents.find("recipe", "proxy").read_text())
    monkeypatch.chdir(here)
    packaged = origins(Study("small"))
    assert packaged["space"] == "packaged/space/searches/mixed.yaml"
    inside = Study("small", recipe=str(here / "mine/own.yaml"))
    assert origins(inside)["recipe"] == "mine/own.yaml"
    assert origins(Study("small", recipe=str(away / "own.yaml")))["recipe"] == "elsewhere/own.yaml"
    asked = request()
    with RunStore(here / "run") as store:
        belongs(asked, defined(asked), store)
        text = (here / "run" / STUDY).read_text()
        assert documents.read_text(text, "study")["documents"] == packaged
        assert str(tmp_path) not in text
        (here / "run" / STUDY).write_text(text.replace("packaged/", "elsewhere/"))
        belongs(asked, defined(asked), store)  # where a document lay makes no other study


def test_finalists_that_were_cut_off_are_trained_when_the_command_is_repeated(tmp_path):
    study, limits = definition(finals=Finals(candidates=2, seeds=2)), Limits(trials=5)

    def go_on():
        with RunStore(tmp_path) as store:
            before = _satisfied(study, store, limits)
            if not before:
                with LocalEngine(1, make()) as engine:
                    ending = Driver(study, store, engine).run(limits)
                    store.append("ended", ending=ending, time=None, seconds=1.0, machine="a machine")
            return before, {(t.number, t.outcome.seed) for t in store.finished if t.role == "final"}

    before, whole = go_on()
    assert not before
    assert len(whole) == 4
    lines = (tmp_path / RECORD).read_text().splitlines(keepends=True)
    last = max(index for index, line in enumerate(lines) if '"final"' in line)
    (tmp_path / RECORD).write_text("".join(lines[:last] + lines[last + 1 :]))  # the time was over
    assert go_on() == (False, whole)
    assert go_on() == (True, whole)
    (tmp_path / RECORD).write_text("".join(lines[:-1]))  # killed before it could note its end
    assert go_on() == (False, whole)


# What is told


def test_the_binding_limit_is_named_with_its_share_on_the_page():
    record = trial()
    params = record.deployed.params
    deployed = replace(record.deployed, binding="params", share=0.99)
    record = replace(record, deployed=deployed)
    limits = {"params": params / 0.99, "activations": 1e9}
    page = first_screen(summary_from_report(report([record], record, limits=limits), [record]), [record])
    assert "width:99.0%" in page
    assert re.search("99.0 % of the limit of [0-9.]+ [kM] params, which binds; [0-9.]+ % of the budget", page)
    (entry,) = entries([record], (), documents.write_text)
    assert (entry["binding"], entry["share"]) == ("params", 0.99)


@pytest.mark.slow
def test_a_run_on_images_keeps_and_tells_its_limits(tmp_path):
    (tmp_path / "small.yaml").write_text("name: small\nrungs: [200]\nfinals: {candidates: 0, seeds: 0}\n")
    code, out, err = call(
        *(
            "run",
            "--export",
            "network",
            "--budget-flops",
            "5e7,1e8",
            "--max-params",
            "3e5",
            "--trials",
            "2",
            "--workers",
            "1",
        ),
        *("--study", "small.yaml", "--data", "digits", "--json"),
        cwd=tmp_path,
    )
    assert code == 0, err
    told = json.loads(out)
    [run] = (tmp_path / "runs").iterdir()
    assert re.fullmatch("small-5e7-1e8-[0-9a-f]{8}", run.name)
    stored = documents.read(run / STUDY)
    assert (stored["budget_flops"], stored["limits"]) == ([1e8, 5e7], {"params": 3e5})
    assert told["limits"] == {"params": 3e5}
    assert (told["budget_flops"], told["budgets"]) == (1e8, [5e7, 1e8])
    best = told["best"]
    cost = load_network(run / best["network"]).cost()
    shares = {"flops": cost.flops / 1e8, "params": cost.params / 3e5}
    assert best["binding"] == max(shares, key=shares.get)
    assert BAND <= best["budget_share"] == max(shares.values()) <= 1
    said = " ".join(err.split())
    assert "budgets 100,000,000 and 50,000,000 multiply-accumulates of the deployed networks" in said
    assert "and at most 300,000 parameters" in said
    share = f"{best['budget_share']:.1%} of the "
    assert share + ("budget" if best["binding"] == "flops" else "limit of 300,000, which binds") in said
    assert "at most 300,000 parameters" in (run / "dashboard.html").read_text()
