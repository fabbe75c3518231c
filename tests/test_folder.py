"""A run folder read from outside: what it says, while it grows, and who drives it."""

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from factories import failed, trial
from formula import make

from scalesearch import documents, load_trials
from scalesearch.cli import coefficients_session, compare_session, law_session, trust_session
from scalesearch.cli.definition import Request, define
from scalesearch.cli.folder import SURVEYS, RunFolder, UnderWay, open_folders
from scalesearch.cli.provenance import versions
from scalesearch.cli.run_report import facts_of, make_report
from scalesearch.cli.studyfile import belongs
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.lock import LOCK
from scalesearch.search.store import RECORD, STUDY, RunStore
from scalesearch.search.study import Finals, Limits, SamplerChoice, Study
from scalesearch.search.tail import RecordTail, holder_of
from scalesearch.search.trust import estimates
from scalesearch.training.data import load

RESULTS = Path(__file__).parent.parent / "studies/results"
STUDY_OF_TESTS = Study(
    "small", rungs=(1000, 3000), finals=Finals(candidates=2, seeds=2), sampler=SamplerChoice(startup=4)
)


def begin(folder, budgets=(2e9,), bounds=None, study=STUDY_OF_TESTS):
    """Write the study document of a run on digits; return its definition."""
    request = Request(study, budgets, bounds or {}, "digits", None, None, "cpu", 1, str(folder))
    recipe, space = documents.load_recipe(study.recipe), documents.load_space(study.space)
    with RunStore(folder) as store:
        return belongs(request, define(request, space, recipe, load("digits"), 1), store)


def run(folder, trials, definition=None, **settings):
    """Search on the formula's landscape, as the command does it with trainings; return the definition."""
    definition = definition or begin(folder)
    with RunStore(folder) as store, LocalEngine(2, make(**settings)) as engine:
        ending = Driver(definition, store, engine).run(Limits(trials=trials))
        store.append("ended", ending=ending, seconds=1.5, time=None, trials=trials, machine="a machine")
    return definition


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run with two rungs, failures and finalists, and its definition."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return folder, run(folder, 14, fail={3: "something"})


@pytest.mark.parametrize(
    ("budgets", "bounds"), [((2e9,), {}), ((2e9, 5e8), {}), ((2e9,), {"params": 4e6, "activations": 1e7})]
)
def test_the_stored_study_says_what_the_command_resolved(tmp_path, budgets, bounds):
    definition = begin(tmp_path, budgets, bounds)
    facts = RunFolder(tmp_path).facts
    assert facts == facts_of(definition)
    assert facts.budgets == tuple(sorted(set(definition.levels)))
    assert (facts.budget, facts.limits) == (definition.budget, definition.limits)
    assert facts.seed_noise == definition.seed_noise
    assert facts.report_images == definition.report_images == len(load("digits").report)


def test_the_report_from_outside_is_the_one_that_the_run_makes(finished):
    folder, definition = finished
    with RunStore(folder) as store:
        own = make_report(facts_of(definition), store.finished, store.events, versions())
    seen = RunFolder(folder).report()
    assert seen | {"versions": None} == own | {"versions": None}
    assert seen["best"] is not None
    assert seen["trials"]["pruned"] > 0
    assert seen["trials"]["failed"] == 1
    assert (seen["ended_by"], seen["seconds"]) == ("trials", 1.5)


def test_finalists_are_those_trained_again_with_their_own_intervals(finished):
    folder, definition = finished
    seen = RunFolder(folder)
    finals = [t for t in seen.trials if t.role == "final"]
    own = {
        n: [t.outcome.report_accuracy for t in finals if t.number == n] for n in {t.number for t in finals}
    }
    expected = estimates(own, definition.report_images, definition.seed_noise)
    assert len(own) == 2
    assert {one["trial"]: one["accuracy"] for one in seen.report()["finalists"]} == {
        number: pytest.approx(one.mean) for number, one in expected.items()
    }
    for drawn in seen.view().context.finalists:
        one = expected[drawn.number]
        assert (drawn.low, drawn.high) == pytest.approx((one.low, one.high))
        assert drawn.seeds == 2


def test_nobody_was_trained_again_so_nobody_is_a_finalist(tmp_path):
    run(tmp_path, 5, begin(tmp_path, study=replace(STUDY_OF_TESTS, finals=Finals(0, 0))))
    seen = RunFolder(tmp_path)
    assert seen.report()["finalists"] == []
    assert seen.view().context.finalists == ()
    assert seen.report()["best"]["proxy_seeds"] == 1


def test_pages_see_what_the_report_says(finished):
    seen = RunFolder(finished[0])
    view, report = seen.view(surveys={"law": {"schema": 1}}), seen.report()
    context = view.context
    assert (context.best, context.rungs) == (report["best"]["trial"], (1000, 3000))
    assert (context.budget, context.evidence) == (2e9, report["evidence"])
    assert context.surveys == {"law": {"schema": 1}}
    assert view.title == "small: 2.00 GFLOPs on digits (scikit-learn)"
    assert "stands in for real photographs" in view.notice
    assert view.summary.best.trial.number == report["best"]["trial"]
    assert seen.recipe == documents.read(finished[0] / STUDY)["recipe"]
    assert seen.origins["recipe"].endswith("proxy.yaml")


def test_reading_takes_no_lock_and_writes_nothing(finished):
    folder, _ = finished
    before = {path: path.stat() for path in folder.rglob("*")}
    with RunStore(folder):
        seen = RunFolder(folder)
        seen.refresh(), seen.report(), seen.view()
        before[folder / LOCK] = (folder / LOCK).stat()
    assert {path: path.stat() for path in folder.rglob("*")}.keys() == before.keys()
    assert all(path.stat().st_mtime_ns == stat.st_mtime_ns for path, stat in before.items())


# Growing


def copied(finished, folder, record=b""):
    folder.mkdir(exist_ok=True)
    (folder / STUDY).write_bytes((finished[0] / STUDY).read_bytes())
    (folder / RECORD).write_bytes(record)
    return folder / RECORD


@pytest.mark.parametrize("seed", range(4))
def test_a_growing_record_is_read_as_if_at_once_wherever_it_is_torn(finished, tmp_path, seed):
    """The rival reads each prefix from its start."""
    data = (finished[0] / RECORD).read_bytes()
    record = copied(finished, tmp_path / "grown")
    seen, at = RunFolder(record.parent), 0
    rng = random.Random(seed)
    while at < len(data):
        step = rng.choice([1, 700, 20_000])
        with record.open("ab") as file:
            file.write(data[at : at + step])
        news = b"\n" in data[at : at + step]
        at += step
        assert seen.refresh() == news
        assert not seen.refresh()
        if news:
            assert seen.trials == load_trials(record.parent)
    assert seen.report() | {"versions": None} == RunFolder(finished[0]).report() | {"versions": None}
    assert seen.ending == "trials"


def test_a_repair_drops_a_torn_line_and_the_record_goes_on(finished, tmp_path):
    lines = (finished[0] / RECORD).read_bytes().splitlines(keepends=True)
    whole, torn = b"".join(lines[:8]), lines[8][:100]
    record = copied(finished, tmp_path / "repaired", whole + torn)
    seen = RunFolder(record.parent)
    before = seen.trials
    with RunStore(record.parent):  # repairs
        assert record.read_bytes() == whole
    seen.refresh()
    assert seen.trials == before
    record.write_bytes(whole + b"".join(lines[9:]))
    seen.refresh()
    assert seen.trials == load_trials(record.parent)


@pytest.mark.parametrize("shorter", [True, False])
def test_a_replaced_record_is_read_again_from_its_start(finished, tmp_path, shorter):
    lines = (finished[0] / RECORD).read_bytes().splitlines(keepends=True)
    other = [line for line in lines if b'"finished"' in line]
    first, second = (lines, other[:2]) if shorter else (other[:2], lines)
    record = copied(finished, tmp_path / "replaced", b"".join(first))
    seen = RunFolder(record.parent)
    record.write_bytes(b"".join(second))
    assert seen.refresh()
    assert seen.trials == load_trials(record.parent)
    assert len(seen.events) == sum(b'"finished"' not in line for line in second)


def complete(number, accuracy=0.5, **changes):
    return trial(number, accuracy, report_accuracy=accuracy, images=1000, **changes)


def test_5000_trials_load_and_a_look_without_news_costs_nothing(tmp_path, finished):
    one, lines = asdict(complete(0, curve=tuple((n, 2.0) for n in range(50)))), []
    for number in range(5000):
        scored = one["outcome"] | {"val_loss": number % 97 / 50, "val_accuracy": 1 - number % 97 / 100}
        lines += [json.dumps(asked(number))]
        lines += [json.dumps({"event": "finished", "trial": one | {"number": number, "outcome": scored}})]
    record = copied(finished, tmp_path / "large", ("\n".join(lines) + "\n").encode())
    started = time.process_time()
    seen = RunFolder(record.parent)
    assert len(seen.trials) == 5000
    assert time.process_time() - started < 3
    started = time.process_time()
    assert not any(seen.refresh() for _ in range(100))
    assert time.process_time() - started < 0.1
    started = time.process_time()
    assert [signal["n"] for signal in seen.report()["evidence"]["signals"]] == [500, 500]
    assert time.process_time() - started < 3


# What goes on


def record_of(folder, *events):
    (folder / RECORD).write_text("".join(json.dumps(event) + "\n" for event in events))
    return RunFolder(folder)


def asked(number):
    return {"event": "asked", "number": number, "level": 2e9, "params": {}, "notes": {}}


def promoted(number, rung):
    among = [0, 1, 2]
    return {"event": "promoted", "number": number, "rung": rung, "among": among, "closing": False}


def ended(one):
    return {"event": "finished", "trial": asdict(one)}


def test_trainings_without_a_result_are_under_way(tmp_path):
    begin(tmp_path)
    seen = record_of(
        tmp_path, asked(0), asked(1), ended(complete(0)), promoted(0, 1), asked(2), ended(failed(1))
    )
    assert seen.under_way() == (UnderWay(0, 1, 3000), UnderWay(2, 0, 1000))
    seen = record_of(
        tmp_path, asked(0), ended(complete(0)), promoted(0, 1), ended(replace(complete(0), rung=1))
    )
    assert seen.under_way() == ()


DRIVE = """
import sys, time
from pathlib import Path
from scalesearch.search.store import RunStore
with RunStore(Path(sys.argv[1])) as store:
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_driver_is_seen_while_it_lives_and_missed_once_it_is_killed(tmp_path):
    begin(tmp_path)
    seen = record_of(tmp_path, asked(0), asked(1), ended(complete(0)))
    assert seen.running is False
    assert seen.report()["trials"]["interrupted"] == 1
    command = [sys.executable, "-c", DRIVE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as driver:
        driver.stdout.readline()
        assert (seen.running, seen.holder.process) == (True, driver.pid)
        assert 0 <= seen.running_seconds < 60
        assert seen.report()["trials"]["interrupted"] == 0  # it is under way
        driver.kill()
    assert (seen.running, seen.running_seconds) == (False, None)
    assert seen.report()["trials"]["interrupted"] == 1
    with RunStore(tmp_path):
        assert (seen.running, seen.holder.process) == (True, os.getpid())


def test_a_number_that_another_process_has_by_now_is_no_driver(tmp_path):
    (tmp_path / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    assert holder_of(tmp_path).running is False


@pytest.mark.parametrize("text", ["", "process x on y\n", "process 12 on ho st\n", "\x1b[31m\n"])
def test_a_lock_that_names_nobody_is_nobodys(tmp_path, text):
    assert holder_of(tmp_path) is None
    (tmp_path / LOCK).write_text(text)
    assert holder_of(tmp_path) is None


def test_a_process_of_another_machine_cannot_be_seen(tmp_path):
    begin(tmp_path)
    end = {"event": "ended", "ending": "time", "seconds": 1.0, "machine": "m"}
    (tmp_path / LOCK).write_text("process 1 on elsewhere.example\n")
    seen = record_of(tmp_path, asked(0), asked(1), ended(complete(0)))
    assert seen.running is None
    assert record_of(tmp_path, asked(0), ended(complete(0)), end).running is False


def test_a_page_is_new_when_a_call_begins_or_is_gone_and_when_it_wrote_its_report(tmp_path):
    begin(tmp_path)
    seen = record_of(tmp_path, asked(0), asked(1), ended(complete(0)))
    assert not seen.refresh()
    with RunStore(tmp_path):
        assert seen.refresh()
        assert not seen.refresh()
        assert seen.view().summary.counts["interrupted"] == 0
        words = rf"running for [0-9] s \(process {os.getpid()}\) at [0-9]{{2}}:[0-9]{{2}}"
        assert re.fullmatch(words, seen.view().summary.state)
    assert seen.refresh()  # it was killed: nothing was added to the record
    assert seen.view().summary.counts["interrupted"] == 1
    assert seen.view().summary.state.startswith("cut off")
    (tmp_path / "report.json").write_text('{"schema": 1, "versions": {"torch": "0.1"}}')
    assert seen.refresh()
    assert seen.view().summary.versions == {"torch": "0.1"}
    assert not seen.refresh()


def test_the_call_that_searches_counts_into_the_time_of_the_run(tmp_path):
    begin(tmp_path)
    end = {"event": "ended", "ending": "time", "seconds": 1000.0, "machine": "m"}
    seen = record_of(tmp_path, asked(0), ended(complete(0)), end)
    assert (seen.view().summary.seconds, seen.view().summary.state) == (1000, "ended: its time was over")
    with RunStore(tmp_path):
        os.utime(tmp_path / LOCK, times=(time.time() + 2, time.time() + 2))
        os.utime(tmp_path / RECORD, times=(1, 1))
        seen = RunFolder(tmp_path)
        os.utime(tmp_path / LOCK, times=(time.time() - 500, time.time() - 500))
        assert 1490 < seen.view().summary.seconds < 1530


def test_a_call_that_goes_on_after_an_earlier_end_is_running(tmp_path):
    begin(tmp_path)
    end = {"event": "ended", "ending": "time", "seconds": 1.0, "machine": "m"}
    seen = record_of(tmp_path, asked(0), ended(complete(0)), end)
    assert (seen.running, seen.ending) == (False, "time")
    with RunStore(tmp_path) as store:
        soon = time.time() + 5
        os.utime(tmp_path / LOCK, (soon, soon))
        assert seen.running is True
        store.append("ended", ending="trials", seconds=1.0, machine="m")
        os.utime(tmp_path / LOCK, (1, 1))
        seen.refresh()
        assert (seen.running, seen.ending) == (False, "trials")  # it writes its outputs


# Errors and surveys


def test_what_is_no_run_folder_is_one_line_that_says_why(finished, tmp_path):
    def said(folder):
        with pytest.raises(InputError) as error:
            RunFolder(folder)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "there is no such run folder" in said(tmp_path / "none")
    assert f"has no {RECORD}" in said(tmp_path)
    record = copied(finished, tmp_path / "a", b'{"event": "y"}\n"rubbish"\n{"event": "x"}\n')
    assert f"{RECORD}:2" in said(record.parent)
    record.write_bytes(b'{"event": "finished", "trial": {}}\n')
    assert "a finished trial is not complete" in said(record.parent)
    for text in ("- 1\n", "name: x\n", "data: {}\nlag: 1\n", "data: {val_images: a}\nlag: 1\nrecipe: {}\n"):
        (record.parent / STUDY).write_text(text)
        assert STUDY in said(record.parent)
    (record.parent / STUDY).unlink()
    assert f"has no {STUDY}" in said(record.parent)
    with RunStore(tmp_path / "prepared"):
        assert f"process {os.getpid()} prepares this run" in said(tmp_path / "prepared")


def test_damage_that_comes_later_is_told_and_a_lost_record_too(finished, tmp_path):
    record = copied(finished, tmp_path / "b")
    seen = RunFolder(record.parent)
    with record.open("ab") as file:
        file.write(json.dumps(asked(0)).encode() + b"\nrubbish\n" + json.dumps(asked(1)).encode() + b"\n")
    with pytest.raises(InputError, match=rf"{RECORD}:2"):
        seen.refresh()
    record.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        seen.refresh()


def test_surveys_are_told_from_runs_by_what_their_commands_write(finished, tmp_path):
    sessions = (law_session, coefficients_session, trust_session, compare_session)
    assert list(SURVEYS.values()) == [session.REPORT for session in sessions]
    runs, surveys = open_folders([RESULTS / "mixed", finished[0]])
    assert [one.folder for one in runs] == [finished[0]]
    assert surveys == {"trust": json.loads((RESULTS / "mixed/trust.json").read_text())}
    with pytest.raises(InputError, match="one survey of trust"):
        open_folders([RESULTS / "mixed", RESULTS / "mixed"])
    with pytest.raises(InputError, match=r"holds record\.jsonl"):
        open_folders([tmp_path])
    (tmp_path / "law.json").write_text("[1]")
    with pytest.raises(InputError, match=r"law\.json: a report is a JSON object of schema 1"):
        open_folders([tmp_path])


def test_libraries_are_those_of_the_runs_own_report(finished, tmp_path):
    record = copied(finished, tmp_path / "c")
    assert RunFolder(record.parent).report()["versions"] == {}  # this process may have others
    (record.parent / "report.json").write_text('{"schema": 1, "versions": {"torch": "0.1"}}')
    assert RunFolder(record.parent).report()["versions"] == {"torch": "0.1"}


def test_a_tail_keeps_what_it_read_of_each_kind(finished):
    tail = RecordTail(finished[0] / RECORD)
    assert tail.look()
    kinds = Counter(json.loads(line)["event"] for line in (finished[0] / RECORD).read_text().splitlines())
    finish = kinds.pop("finished")
    assert len(tail.trials) == finish
    assert Counter(event["event"] for event in tail.events) == kinds
