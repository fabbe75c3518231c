"""Interrupted trainings continue from where they were: their results alone cannot show it."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from formula import loss_of
from test_search import Driver, RunStore, definition

from scalesearch.errors import DamagedCheckpointError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Job
from scalesearch.search.engines.local import LocalEngine, _run
from scalesearch.search.study import Limits

STEPS = 60
SPAWN = multiprocessing.get_context("spawn")


def counting(job, should_stop, on_progress):
    """An evaluator whose checkpoint is the number of its steps; `macs` says from which it began."""
    kept = Path(job.checkpoint)
    begun_at = int(kept.read_text()) if kept.exists() else 0
    for step in range(begun_at, STEPS):
        if should_stop():
            return Outcome("interrupted", seed=job.seed)
        on_progress(step + 1)
        partial = kept.with_suffix(".partial")
        partial.write_text(str(step))
        partial.replace(kept)
        time.sleep(0.02)
    kept.unlink()
    loss = loss_of(job.network, job.seed)
    told = {"val_loss": loss, "val_accuracy": 1 - loss / 2, "report_accuracy": 1 - loss / 2}
    return Outcome("complete", images=job.images, macs=begun_at, seed=job.seed, **told)


def make_counting():
    return counting


def drive(folder):
    with RunStore(Path(folder)) as store, LocalEngine(2, make_counting) as engine:
        Driver(definition(), store, engine).run(Limits(trials=4))


def under_way(folder):
    return [path for path in (folder / "work").glob("*.checkpoint") if int(path.read_text() or 0) > 5]


def test_trainings_of_a_killed_driver_continue_from_their_checkpoints(tmp_path):
    for _ in range(3):
        driver = SPAWN.Process(target=drive, args=(str(tmp_path),))
        driver.start()
        while driver.is_alive() and not under_way(tmp_path):
            time.sleep(0.01)
        assert driver.is_alive(), "it ended before it could be killed"
        os.kill(driver.pid, signal.SIGKILL)
        driver.join()
    drive(tmp_path)
    with RunStore(tmp_path) as store:
        begun = [trial.outcome.macs for trial in store.finished]
    assert sum(begin > 0 for begin in begun) >= 1, begun
    assert max(begun) > 5
    assert list((tmp_path / "work").glob("*.damaged")) == []


def orphaned(folder, damaged):
    """Run a training whose driver is gone: what it asks, and what it tells, finds nobody."""
    ours, theirs = SPAWN.Pipe()
    ours.close()
    job = Job(0, {}, STEPS, 0, str(folder / "w.safetensors"), str(folder / "w.checkpoint"))

    def evaluate(job, should_stop, on_progress):
        if damaged:
            raise DamagedCheckpointError("a checkpoint must be a whole file")
        should_stop()
        on_progress(1)
        raise RuntimeError("it went on")

    _run(evaluate, job, theirs)


def test_a_driver_that_is_gone_is_no_damage_of_a_checkpoint(tmp_path):
    (tmp_path / "w.checkpoint").write_text("12")
    process = SPAWN.Process(target=orphaned, args=(tmp_path, False))
    process.start()
    process.join()
    assert process.exitcode == 1
    assert {path.name for path in tmp_path.iterdir()} == {"w.checkpoint"}


def test_only_a_damaged_checkpoint_is_set_aside(tmp_path):
    (tmp_path / "w.checkpoint").write_text("12")
    process = SPAWN.Process(target=orphaned, args=(tmp_path, True))
    process.start()
    process.join()
    assert {path.name for path in tmp_path.iterdir()} == {"w.damaged"}


def test_a_stop_does_not_wait_for_a_process_that_is_not_ready(tmp_path):
    """What has not begun a step has nothing to write."""
    began, ended = time.monotonic(), []
    with RunStore(tmp_path) as store, LocalEngine(2, make_slowly) as engine:
        driver = Driver(definition(), store, engine, stop_requested=lambda: time.monotonic() > began + 1)
        ended.append(driver.run(Limits(trials=4)))
        waited = time.monotonic() - began
    assert ended == ["stopped"]
    assert waited < 8  # the driver's patience with checkpoints is 10 s


def make_slowly():
    time.sleep(30)
    return counting
