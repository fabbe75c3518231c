"""SIGKILL at random moments and at marked ones: real processes, the real record, real trainings.

The processes are forked from a server that has imported everything once, so that a life costs no imports.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from formula import make

from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import RECORD, RunStore, load_trials
from scalesearch.search.study import Finals, Limits

TRIALS = 12
WITNESS = "finished"  # how many trials the driver said were finished
START = 1.0  # seconds: about a life's first ones, in which it has not written anything
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["test_kill", "optuna", "scalesearch.cli.session", "scalesearch.cli.plan"])
SETTINGS = {"rungs": (500, 1000), "finals": Finals(candidates=2, seeds=1)}


def definition():
    from test_search import definition

    return definition(**SETTINGS)


# Lives: what the killed processes do


def drive(folder, make_store=RunStore, workers=2):
    """A driver on the formula; its trainings take a moment, so that a kill meets some of them."""

    def tell(status):
        (folder / WITNESS).write_text(str(len(status.trials)))

    with make_store(folder) as store, LocalEngine(workers, make(pause=0.02, jitter=0.05)) as engine:
        Driver(definition(), store, engine, tell).run(Limits(trials=TRIALS))


def sleep_for_ever(job, should_stop, on_progress):
    Path(job.weights).with_suffix(".begun").touch()
    time.sleep(3600)


def make_sleeping():
    return sleep_for_ever


def drive_sleeping(folder):
    with RunStore(folder) as store, LocalEngine(2, make_sleeping) as engine:
        Driver(definition(), store, engine).run(Limits(trials=TRIALS))


class DyingStore(RunStore):
    """A record whose writer is killed in the middle of a line."""

    at, share = 0, 0.0

    def _write(self, line):
        if len(self.events) < self.at:
            super()._write(line)
            return
        os.write(self._record.fileno(), line[: round(self.share * len(line))])
        os.kill(os.getpid(), signal.SIGKILL)


def drive_dying(folder, at, share):
    DyingStore.at, DyingStore.share = at, share
    drive(folder, DyingStore, workers=1)


def command(arguments, folder):
    """The command line itself, without the time that its imports take."""
    from scalesearch.cli import main

    os.chdir(folder)
    sys.argv = ["scalesearch", *arguments]
    with Path("said").open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        main()


def checkpoint_for_ever(path):
    import torch

    from scalesearch.training.checkpoint import write_checkpoint

    weights = torch.zeros(500_000)
    while True:
        weights += 1
        write_checkpoint(path, key="k", model=weights, optimizers={}, average=[], state={})


def begin(target, *arguments):
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    return process


def children(pid):
    """The evaluating processes of a driver."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(p) for p in found if b"resource_tracker" not in Path(f"/proc/{p}/cmdline").read_bytes()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def lines(record):
    return record.read_bytes().count(b"\n") if record.exists() else 0


def wait_for_a_moment(process, record, chance, most):
    """Let a process live for a while: its start, or until it wrote some lines and a little longer."""
    more, end = chance.randint(0, most), lines(record)
    while more and process.is_alive() and lines(record) < end + more:
        time.sleep(0.005)
    process.join(chance.uniform(0, 0.1 if more else START))


def check_kept(record):
    """Whatever a killed driver had told of is in its record."""
    told = record.with_name(WITNESS)
    if told.exists() and told.read_text():
        assert record.read_text().count('"event": "finished"') >= int(told.read_text())


def kill_again_and_again(begin_life, record, kills, most, seed, goes_on=lambda _ended: False):
    """Kill a process or one of its children until so many kills hit, then let it end; return the counts.

    `goes_on` says of one that ended by itself whether another life is due.
    """
    chance, hit = random.Random(seed), {"driver": 0, "worker": 0}
    process = begin_life()
    while sum(hit.values()) < kills:
        wait_for_a_moment(process, record, chance, most)
        if not process.is_alive():
            if not goes_on(process):
                break
            process = begin_life()
            continue
        workers = children(process.pid)
        if workers and chance.random() < 0.4:
            os.kill(chance.choice(workers), signal.SIGKILL)
            hit["worker"] += 1
        else:
            process.kill()
            process.join()
            hit["driver"] += 1
            check_kept(record)
            process = begin_life()
    process.join(600)
    assert process.exitcode == 0
    return hit


# What must be the same


def results(run):
    """All of a record's results bit for bit, without durations, workers and moments; each counted once."""
    trials = load_trials(run)
    found = {}
    for trial in trials:
        outcome = replace(trial.outcome, seconds=0.0, peak_memory=0)
        at = trial.role, trial.number, trial.rung, outcome.seed
        assert at not in found, f"{at} was counted twice"
        found[at] = trial.params, trial.level, trial.key, outcome, trial.repeats
    return found


def promoted(run):
    events = [json.loads(line) for line in (run / RECORD).read_text().splitlines()]
    return [(e["number"], e["rung"], e["among"], e["closing"]) for e in events if e["event"] == "promoted"]


def searched(run):
    return sorted(t.number for t in load_trials(run) if t.role == "search" and t.rung == 0)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    drive(folder)
    assert searched(folder) == list(range(TRIALS))
    return folder


def check_same(run, undisturbed):
    assert searched(run) == list(range(TRIALS))
    assert results(run) == results(undisturbed)
    assert promoted(run) == promoted(undisturbed)


# Tests


def kill_the_search(folder, undisturbed, kills, seed):
    """Kill a search up to so many times, as often as it is still there; return how often it was."""
    hit = kill_again_and_again(lambda: begin(drive, folder), folder / RECORD, kills, 6, seed)
    print(f"\n{sum(hit.values())} kills at random moments: {hit}")
    check_same(folder, undisturbed)
    return sum(hit.values())


def test_a_search_killed_at_random_moments_ends_with_the_record_of_an_undisturbed_one(tmp_path, undisturbed):
    assert kill_the_search(tmp_path, undisturbed, kills=6, seed=1) >= 3


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_driver_killed_in_the_middle_of_a_write_loses_that_line_at_most(tmp_path, undisturbed, share):
    at = random.Random(share).randrange(2 * TRIALS)
    process = begin(drive_dying, tmp_path, at, share)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len((tmp_path / RECORD).read_bytes().splitlines()) in (at, at + 1)
    drive(tmp_path)
    check_same(tmp_path, undisturbed)


def test_a_kill_after_the_last_rungs_are_decided_does_not_write_the_decision_twice(tmp_path, undisturbed):
    events = [json.loads(line) for line in (undisturbed / RECORD).read_text().splitlines()]
    closed = [at for at, event in enumerate(events) if event.get("closing")]
    assert closed
    process = begin(drive_dying, tmp_path, closed[-1] + 1, 0)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert promoted(tmp_path) == promoted(undisturbed)
    drive(tmp_path)
    check_same(tmp_path, undisturbed)


def test_no_training_outlives_its_driver(tmp_path):
    process = begin(drive_sleeping, tmp_path)
    while len(list(tmp_path.glob("work/*.begun"))) < 2:  # then they sleep, and would hear of nothing
        assert process.is_alive()
        time.sleep(0.01)
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.join()
    end = time.monotonic() + 5
    while any(map(alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_checkpoint_is_there_as_a_whole_whenever_its_writer_is_killed(tmp_path):
    import torch

    from scalesearch.training.checkpoint import read_checkpoint

    path, chance = tmp_path / "a.checkpoint", random.Random(3)
    for _ in range(6):
        process = begin(checkpoint_for_ever, path)
        while not path.exists():
            assert process.is_alive()
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.join()
        weights = read_checkpoint(path, "k", torch.device("cpu"))["model"]
        assert (weights == weights[0]).all()


def test_files_that_killed_trainings_left_are_removed(tmp_path, undisturbed):
    work = tmp_path / "work"
    work.mkdir()
    ended = load_trials(undisturbed)[0].key[:16]
    left = [work / f".{ended}.safetensors.77", work / f"{ended}.checkpoint", work / "other.checkpoint"]
    for path in left:
        path.write_bytes(b"x")
    (tmp_path / RECORD).write_bytes((undisturbed / RECORD).read_bytes())
    drive(tmp_path)
    assert [path.exists() for path in left] == [False, False, True]


def test_a_long_training_goes_on_from_where_it_was_killed_to_the_same_bits(tmp_path, monkeypatch):
    from test_failing_trials import NETWORK

    from scalesearch.training import loop
    from scalesearch.training.augment import DeviceData
    from scalesearch.training.data import load
    from scalesearch.training.recipe import Recipe

    monkeypatch.setattr(loop, "EVERY", 0.0)
    given = NETWORK, DeviceData.of(load("digits"), "cpu"), Recipe()
    seen = []

    def end(images):
        seen.append(images)
        if len(seen) == 4:
            raise KeyboardInterrupt

    file = tmp_path / "a.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        loop.train(*given, images=384, seed=1, checkpoint=file, on_progress=end)
    again = loop.train(*given, images=384, seed=1, checkpoint=file, on_progress=seen.append)
    whole = loop.train(*given, images=384, seed=1)
    assert seen[4] == seen[3]  # the step that was cut off, and none before it
    assert replace(again, seconds=0, peak_memory=0) == replace(whole, seconds=0, peak_memory=0)


# The command, with real trainings


def kill_the_command(folder, trials, kills, seed, data="digits"):
    (folder / "tiny.yaml").write_text("name: tiny\nrungs: [150]\nfinals: {candidates: 1, seeds: 1}\n")
    asked = [
        "run",
        "--export",
        "network",
        "--budget-flops",
        "1e8",
        "--study",
        "tiny.yaml",
        "--data",
        data,
        "--workers",
        "2",
    ]
    asked += ["--trials", str(trials), "--out"]
    whole = begin(command, [*asked, "whole"], folder)
    whole.join(600)
    assert whole.exitcode == 0, (folder / "said").read_text()
    record = folder / "killed" / RECORD

    def given_up(process):
        """Three kills in a row met processes that were starting, which ends the command by design."""
        last = (folder / "said").read_text().splitlines()[-1]
        return process.exitcode == 2 and "in a row died while they started" in last

    begin_life = partial(begin, command, [*asked, "killed"], folder)
    hit = kill_again_and_again(begin_life, record, kills, 2, seed, given_up)
    print(f"\n{sum(hit.values())} kills of the command at random moments: {hit}")
    assert searched(folder / "killed") == list(range(trials))
    assert results(folder / "killed") == results(folder / "whole")
    reports = [json.loads((folder / run / "report.json").read_text()) for run in ("killed", "whole")]
    for report in reports:
        assert report["trials"]["complete"] + report["trials"]["failed"] == trials
    assert reports[0]["trials"] == reports[1]["trials"]
    assert reports[0]["best"]["trial"] == reports[1]["best"]["trial"]
    return sum(hit.values())


@pytest.mark.slow
def test_the_command_killed_at_random_moments_ends_with_the_trainings_of_an_undisturbed_one(tmp_path):
    kill_the_command(tmp_path, trials=3, kills=2, seed=2)


@pytest.mark.long
def test_200_kills_of_real_trainings_change_nothing(tmp_path):
    assert kill_the_command(tmp_path, trials=150, kills=200, seed=3) == 200


@pytest.mark.long
def test_100_kills_of_trainings_on_real_images_change_nothing(cifar10_path, tmp_path):
    assert kill_the_command(tmp_path, trials=75, kills=100, seed=4, data=str(cifar10_path)) == 100


@pytest.mark.long
def test_200_kills_of_a_search_change_nothing(tmp_path, undisturbed):
    kills = seed = 0
    while kills < 200:
        folder = tmp_path / str(seed)
        kills += kill_the_search(folder, undisturbed, kills=8, seed=seed)
        seed += 1
    print(f"\n{kills} kills in {seed} searches")
