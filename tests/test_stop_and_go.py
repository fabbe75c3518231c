"""Stopped, limited, changed and forked: the command as a user gives it, with real trainings."""

import json
import signal
import time

import pytest
from test_command import call, start
from test_kill import results, searched
from test_search import Driver, RunStore, definition, search

from scalesearch import load_trials
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import RECORD
from scalesearch.search.study import Finals, Limits

RUN = ["run", "--budget-flops", "1e8", "--data", "digits", "--workers", "2", "--export", "network", "--json"]
STUDY = "name: tiny\nrungs: {rungs}\nfinals: {{candidates: {candidates}, seeds: 1}}\n"


@pytest.fixture
def study(tmp_path):
    def write(rungs="[100]", candidates=0):
        (tmp_path / "tiny.yaml").write_text(STUDY.format(rungs=rungs, candidates=candidates))
        return [*RUN, "--study", "tiny.yaml"]

    return write


@pytest.mark.long  # tests/test_command.py interrupts a run in the short tier
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_within_seconds_with_the_best_so_far(tmp_path, study, number):
    arguments = [*study(rungs="[300]"), "--trials", "500", "--out", "run"]
    process = start(*arguments, cwd=tmp_path)
    record = tmp_path / "run" / RECORD
    while not (record.exists() and record.read_text().count('"finished"') >= 2):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    told = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - told
    print(f"\n{number.name}: ended after {seconds:.1f} s")
    assert process.returncode == 130, err
    assert seconds < 30  # 2 to 3 s on an idle core, of which the outputs take most
    report = json.loads(out)
    assert report["best"]["trial"] in searched(tmp_path / "run")
    assert report["ended_by"] == "stopped"
    assert (tmp_path / "run" / report["best"]["network"]).is_file()
    assert (tmp_path / "run" / "dashboard.html").is_file()


def test_the_time_is_kept_to_within_a_second_on_small_steps(tmp_path):
    overrun = []
    for limit in (2.5, 3.2):
        began = time.monotonic()
        ending, _ = search(tmp_path / str(limit), Limits(time=limit), workers=2, pause=30)
        overrun.append(time.monotonic() - began - limit)
        assert ending == "time"
    print(f"\nseconds over the limit: {', '.join(f'{one:.2f}' for one in overrun)}")
    assert max(overrun) < 1.0


@pytest.mark.long  # .ci/run has it as a step of its own
def test_a_changed_study_is_refused_with_its_differences_or_forked(tmp_path, study):
    """A fork gives what a fresh run of the changed study gives, and repeats no training."""
    arguments = [*study(), "--trials", "3", "--out"]
    code, out, err = call(*arguments, "old", cwd=tmp_path)
    assert code == 0, err
    arguments = [*study(rungs="[100, 150]", candidates=1), "--trials", "4", "--out"]
    code, _, err = call(*arguments, "old", cwd=tmp_path)
    assert code == 2
    assert "study.rungs: [100] there, [100, 150] here" in err
    code, out, err = call(*arguments, "old", "--fork", cwd=tmp_path)
    assert code == 0, err
    assert "forked: old belongs to another study; it differs in study." in " ".join(err.split())
    assert "3 trainings of old may be used instead of being repeated" in " ".join(err.split())
    [fork] = tmp_path.glob("old-*")
    code, fresh, err = call(*arguments, "fresh", cwd=tmp_path)
    assert code == 0, err
    assert results(fork) == results(tmp_path / "fresh")
    taken = [t for t in load_trials(fork) if t.finished - t.started == 0 and t.outcome.seconds > 0]
    assert len(taken) == 3
    assert json.loads(out)["best"]["trial"] == json.loads(fresh)["best"]["trial"]
    assert (fork / "best/proxy/weights.safetensors").is_file()
    assert len(load_trials(tmp_path / "old")) == 3  # untouched
    again, out2, err = call(*arguments, "old", "--fork", cwd=tmp_path)
    assert (again, json.loads(out2)) == (0, json.loads(out)), err
    assert sum(1 for line in (fork / RECORD).read_text().splitlines() if '"event": "taken"' in line) == 3


def test_fork_says_what_it_needs(tmp_path, study):
    code, _, err = call(*study(), "--fork", cwd=tmp_path)
    assert code == 2
    assert "error: --fork needs --out, the run folder that the changed study takes over from" in err
    code, _, err = call(*study(), "--fork", "--out", "none", cwd=tmp_path)
    assert code == 2
    assert "error: --fork: none holds no run that a changed study could take over from" in err


def refuse(job, should_stop, on_progress):
    raise AssertionError("a training that was taken over began again")


def make_refuse():
    return refuse


def test_a_fork_in_which_nothing_changed_but_the_finals_trains_the_finals_alone(tmp_path):
    search(tmp_path / "old", Limits(trials=6))
    changed = definition(finals=Finals(candidates=0, seeds=0))
    with RunStore(tmp_path / "new") as store:
        with RunStore(tmp_path / "old") as old:
            assert store.take_over(old) == store.take_over(old)
        with LocalEngine(1, make_refuse) as engine:
            assert Driver(changed, store, engine).run(Limits(trials=6)) == "trials"
    old, new = (results(tmp_path / run) for run in ("old", "new"))
    assert new == {at: found for at, found in old.items() if at[0] == "search"}


def test_failed_trainings_are_not_taken_over(tmp_path):
    search(tmp_path / "old", Limits(trials=4), fail={1: "something"}, workers=1)
    with RunStore(tmp_path / "new") as store, RunStore(tmp_path / "old") as old:
        complete = {t.key for t in old.finished if t.complete}
        assert store.take_over(old) == len(complete)
        assert {t.key for t in store.taken} == complete


@pytest.mark.long
def test_a_stale_page_is_never_taken_for_the_result(tmp_path, study):
    """A run that is extended and killed before its outputs are written again says so by their absence."""
    arguments = [*study(), "--out", "run", "--trials"]
    code, _, err = call(*arguments, "1", cwd=tmp_path)
    assert code == 0, err
    process = start(*arguments, "2", cwd=tmp_path)
    record = tmp_path / "run" / RECORD
    while record.read_text().count('"ended"') < 2:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    code, out, err = call(*arguments, "2", cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["trials"]["complete"] == 2


@pytest.mark.slow
def test_a_stop_while_outputs_are_written_ends_at_once_and_the_same_command_writes_them(tmp_path, study):
    arguments = [*study(), "--trials", "2", "--out", "run"]
    arguments[arguments.index("--export") + 1] = "all"
    process = start(*arguments, cwd=tmp_path)
    while "exporting" not in (line := process.stderr.readline()):
        assert line, "it ended before it could be stopped"
    process.send_signal(signal.SIGTERM)
    told = time.monotonic()
    _, err = process.communicate(timeout=60)
    print(f"\nended after {time.monotonic() - told:.1f} s")
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted; nothing is lost, and the same command goes on"
    assert time.monotonic() - told < 10
    arguments[arguments.index("--export") + 1] = "network"
    code, out, err = call(*arguments, cwd=tmp_path)
    assert code == 0, err
    assert json.loads(out)["trials"]["complete"] == len(load_trials(tmp_path / "run")) == 2
    assert (tmp_path / "run" / "best" / "network.py").is_file()
