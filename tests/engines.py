"""What every engine promises: one suite, run over each of them.

The evaluators are formulas; processes, files and the ways between them are the engine's own.
"""

import errno
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from formula import loss_of, make

from scalesearch import load
from scalesearch.architecture.document import to_document
from scalesearch.errors import DamagedCheckpointError, InputError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Finished, Job, Progress

DOCUMENT = to_document(load("efficientnet_b0"))
PATIENCE = 60.0


def job(number, folder=None, images=1000):
    files = ("", "") if folder is None else (str(folder / "w.safetensors"), str(folder / "w.checkpoint"))
    return Job(number, DOCUMENT, images, number, *files)


def events_of(engine, until, seconds=PATIENCE):
    """Listen until a condition on the events so far holds."""
    events, deadline = [], time.monotonic() + seconds
    while not until(events):
        assert time.monotonic() < deadline, f"heard only {events}"
        events += engine.wait(0.2)
    return events


def outcomes_of(engine, jobs):
    """Run jobs, as many at once as the engine takes, and return the outcome of each."""
    waiting, finished = list(jobs), {}
    while len(finished) < len(jobs):
        while waiting and engine.idle:
            engine.submit(waiting.pop(0))
        heard = events_of(engine, lambda events: any(isinstance(e, Finished) for e in events))
        for event in heard:
            if isinstance(event, Finished):
                assert event.job not in finished, "an outcome came twice"
                finished[event.job] = event.outcome
    return finished


def filing(job, should_stop, on_progress):
    """An evaluator that counts to its images, keeps the count where it is stopped, and files the result."""
    kept, seen = Path(job.checkpoint), 0
    if kept.exists():
        seen = int(kept.read_text())
        kept.unlink()
    begun_at = seen
    while seen < job.images:
        if should_stop():
            kept.write_text(str(seen))
            return Outcome("interrupted", images=seen, seed=job.seed)
        seen += 1
        on_progress(seen)
        time.sleep(0.01)
    Path(job.weights).write_text(f"weights of {job.number}")
    return Outcome("complete", images=seen, macs=begun_at, seed=job.seed, checkpoint=job.weights)


def make_filing():
    return filing


def make_nothing():
    raise ImportError("no such torch")


def hanging(job, _should_stop, on_progress):
    on_progress(1)
    if job.number == 0:
        time.sleep(600)
    return Outcome("complete", seed=job.seed)


def make_hanging():
    return hanging


def make_stuck():
    time.sleep(600)


def dying_once(begun, job, _should_stop, on_progress):
    on_progress(1)
    if not begun.exists():
        begun.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome("complete", images=2, seed=job.seed)


def make_dying_once(begun):
    return partial(dying_once, begun)


def counting_on(job, _should_stop, _on_progress):
    """Continues from a number; anything else is no checkpoint of it."""
    kept = Path(job.checkpoint)
    if kept.exists() and not kept.read_text().isdigit():
        raise DamagedCheckpointError(f"{kept.name} is no number")
    return Outcome("complete", images=int(kept.read_text()) if kept.exists() else 0, seed=job.seed)


def make_counting_on():
    return counting_on


def without_room(job, _should_stop, _on_progress):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), job.weights)


def make_without_room():
    return without_room


def make_breaking():
    """A process that is broken for good by its first failure, as CUDA's are."""
    broken = []

    def evaluate(job, _should_stop, _on_progress):
        if broken or job.number == 1:
            broken.append(job.number)
            raise RuntimeError("CUDA error: device-side assert triggered")
        return Outcome("complete", seed=job.seed)

    return evaluate


class EngineConformance:
    """Subclasses have a fixture `engine(make_evaluate, workers, patience=, say=)`: a context manager."""

    def test_every_job_has_its_outcome_once_whatever_ends_first(self, engine):
        with engine(make(jitter=0.1), workers=2) as running:
            found = outcomes_of(running, [job(number) for number in range(9)])
            assert running.idle == 2
        expected = {number: loss_of(DOCUMENT, number) for number in range(9)}
        assert {number: outcome.val_loss for number, outcome in found.items()} == expected

    def test_idle_counts_the_jobs_that_would_start_and_workers_have_numbers(self, engine):
        with engine(make(pause=0.3), workers=2) as running:
            assert running.idle == 2
            running.submit(job(0))
            assert running.idle == 1
            running.submit(job(1))
            assert running.idle == 0
            heard = events_of(running, lambda events: sum(isinstance(e, Finished) for e in events) == 2)
        assert {event.worker for event in heard if isinstance(event, Finished)} <= {0, 1}

    def test_wait_returns_in_time_where_nothing_happens(self, engine):
        with engine(make(pause=30.0), workers=1) as running:
            running.submit(job(0))
            events_of(running, lambda events: any(isinstance(e, Progress) for e in events))
            started = time.monotonic()
            while time.monotonic() < started + 0.5:
                running.wait(started + 0.5 - time.monotonic())
            assert time.monotonic() - started < 1.5

    def test_failures_have_their_reason_and_touch_no_other_job(self, engine):
        fail = {1: "something", 2: "nan", 4: "kill"}
        with engine(make(fail=fail), workers=2) as running:
            found = outcomes_of(running, [job(number) for number in range(7)])
        reasons = {number: o.reason for number, o in found.items() if o.status == "failed"}
        assert reasons.keys() == fail.keys()
        assert reasons[1] == "RuntimeError: a broken training of something"
        assert reasons[2] == "non-finite loss at image 64"
        assert reasons[4].startswith("the evaluating process ended")
        assert all(found[number].val_loss == loss_of(DOCUMENT, number) for number in (0, 3, 5, 6))

    def test_stop_interrupts_what_runs_and_later_jobs_run(self, engine):
        with engine(make(pause=60.0), workers=2) as running:
            for number in range(2):
                running.submit(job(number))
            events_of(running, lambda events: any(isinstance(e, Progress) for e in events))
            running.stop()
            heard = events_of(running, lambda events: sum(isinstance(e, Finished) for e in events) == 2)
            assert {e.outcome.status for e in heard if isinstance(e, Finished)} == {"interrupted"}
            running.submit(job(2))
            heard = events_of(running, lambda events: any(isinstance(e, Progress) for e in events))
            assert not any(isinstance(event, Finished) for event in heard)

    def test_files_arrive_whole_and_a_stopped_training_goes_on(self, engine, tmp_path):
        with engine(make_filing, workers=1) as running:
            first = job(0, tmp_path, images=400)
            running.submit(first)
            events_of(running, lambda events: any(isinstance(e, Progress) for e in events))
            running.stop()
            (stopped,) = (e.outcome for e in events_of(running, bool_finished) if isinstance(e, Finished))
            assert stopped.status == "interrupted"
            assert Path(first.checkpoint).read_text() == str(stopped.images)
            found = outcomes_of(running, [job(1, tmp_path, images=400)])[1]
        assert (found.images, found.macs, found.checkpoint) == (400, stopped.images, first.weights)
        assert Path(first.weights).read_text() == "weights of 1"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["w.safetensors"]

    def test_what_signals_do_stays_the_commands_own(self, engine):
        kept = signal.signal(signal.SIGTERM, print)
        try:
            with engine(make(), workers=1):
                assert signal.getsignal(signal.SIGTERM) is print
            assert signal.getsignal(signal.SIGTERM) is print
        finally:
            signal.signal(signal.SIGTERM, kept)

    def test_an_evaluator_that_cannot_be_built_ends_the_run_with_the_reason(self, engine):
        with (
            engine(make_nothing, workers=1) as running,
            pytest.raises(InputError, match="while they started"),
        ):
            events_of(running, lambda _events: False)

    def test_one_that_cannot_be_built_in_time_ends_the_run_with_the_reason(self, engine, monkeypatch):
        for module in ("local", "ray"):
            monkeypatch.setattr(f"scalesearch.search.engines.{module}.HANGING", 2.0)
        with engine(make_stuck, workers=1) as running:
            if running.idle:
                running.submit(job(0))
            with pytest.raises(InputError, match="while they started"):
                events_of(running, lambda _events: False)

    def test_a_training_that_hangs_is_failed_and_the_next_ones_run(self, engine):
        with engine(make_hanging, workers=1, patience=2.0) as running:
            found = outcomes_of(running, [job(number) for number in range(3)])
        assert [found[number].status for number in range(3)] == ["failed", "complete", "complete"]
        assert found[0].reason == "no progress for 2 s"

    def test_a_training_whose_process_died_is_tried_again(self, engine, tmp_path):
        with engine(partial(make_dying_once, tmp_path / "begun"), workers=1) as running:
            found = outcomes_of(running, [job(0)])[0]
        assert (found.status, found.images) == ("complete", 2)

    def test_a_checkpoint_is_continued_from_and_a_damaged_one_is_set_aside_and_said(self, engine, tmp_path):
        said, found = [], []
        for content in ("12", "twelve"):
            (tmp_path / "w.checkpoint").write_text(content)
            with engine(make_counting_on, workers=1, say=said.append) as running:
                found.append(outcomes_of(running, [job(0, tmp_path)])[0].images)
        assert found == [12, 0]
        assert (tmp_path / "w.damaged").read_text() == "twelve"
        (line,) = said
        assert line.endswith(
            "w.checkpoint is no number; this training begins again, w.damaged keeps the file"
        )

    def test_a_full_disk_ends_the_run_and_fails_no_training(self, engine, tmp_path):
        with engine(make_without_room, workers=1) as running:
            running.submit(job(0, tmp_path))
            with pytest.raises(
                InputError, match=r"w\.safetensors cannot be written: No space left on device; "
            ):
                events_of(running, bool_finished)

    def test_an_exception_is_the_last_thing_that_its_process_does(self, engine):
        with engine(make_breaking, workers=1) as running:
            found = outcomes_of(running, [job(number) for number in range(4)])
        assert [found[number].status for number in range(4)] == ["complete", "failed", "complete", "complete"]


def bool_finished(events):
    return any(isinstance(event, Finished) for event in events)
