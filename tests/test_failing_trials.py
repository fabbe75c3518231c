"""Trainings that fail in every way there is: each is failed with its reason, and no other one notices."""

import ctypes
import faulthandler
import os
import resource
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from formula import evaluate

from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.errors import InputError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Finished, Job, Progress
from scalesearch.search.engines.local import ATTEMPTS, LocalEngine
from scalesearch.search.store import RunStore

NETWORK = Network(
    "trial_0", 16, Stem(8), (Stage("mbconv", 16, 1, 2, (("expand", 2),)),), Head(32), classes=10
)
PATIENCE = 3.0  # seconds; a formula's training tells of itself every few milliseconds


# Ways to fail


def hang():
    time.sleep(3600)


def segfault():
    faulthandler.disable()
    ctypes.string_at(0)


def abort():
    faulthandler.disable()
    os.abort()


def killed():
    """As the kernel does when the memory is used up."""
    os.kill(os.getpid(), signal.SIGKILL)


def exhaust_memory():
    """More than the process may have: Python's own MemoryError."""
    resource.setrlimit(resource.RLIMIT_AS, (2**40, resource.RLIM_INFINITY))
    bytearray(2**41)


def raise_error():
    raise RuntimeError("a broken\ntraining")


def leave():
    raise SystemExit(3)


WAYS = {
    1: (raise_error, "RuntimeError: a broken training"),
    2: (segfault, "the evaluating process ended by signal SIGSEGV"),
    4: (abort, "the evaluating process ended by signal SIGABRT"),
    5: (killed, "the evaluating process ended by signal SIGKILL"),
    7: (hang, "no progress for 3 s"),
    8: (exhaust_memory, "MemoryError"),
    10: (leave, "the evaluating process ended by exit code 3"),
}
FIGURES = {11: float("nan"), 13: float("inf")}


def number_of(job):
    return int(job.network["name"].split("_")[1])


def breaking(job, should_stop, on_progress):
    if number_of(job) in WAYS:
        on_progress(0)
        WAYS[number_of(job)][0]()
    outcome = evaluate(job, should_stop, on_progress, pause=0.01, jitter=0.02, fail=None)
    return replace(outcome, val_loss=FIGURES.get(number_of(job), outcome.val_loss))


def make_breaking():
    return breaking


def make_sound():
    return partial(evaluate, pause=0.01, jitter=0.02, fail=None)


def search(folder, make, trials=16):
    # Evaluating processes import this file too, and do without Optuna.
    from test_search import Driver, Finals, Limits, SamplerChoice, definition

    # Random draws: with a sampler that learns, later candidates would rightly be others.
    study = definition(finals=Finals(candidates=0, seeds=0), sampler=SamplerChoice("random"))
    with RunStore(folder) as store, LocalEngine(2, make, PATIENCE) as engine:
        assert Driver(study, store, engine).run(Limits(trials=trials)) == "trials"
        return {trial.number: trial for trial in store.finished}


def test_each_is_failed_with_its_reason_and_every_other_equals_that_of_a_run_without_them(tmp_path, capfd):
    broken, sound = search(tmp_path / "a", make_breaking), search(tmp_path / "b", make_sound)
    failed = {number: t.outcome.reason for number, t in broken.items() if t.outcome.status == "failed"}
    wanted = {number: reason for number, (_, reason) in WAYS.items()}
    assert failed == wanted | dict.fromkeys(FIGURES, "non-finite validation loss")
    assert len(broken) == len(sound) == 16
    for number in sound.keys() - failed.keys():
        one, other = (replace(run[number], started=0, finished=0, worker=0) for run in (broken, sound))
        assert one == other
    assert all(trial.complete for trial in sound.values())
    capfd.readouterr()  # what a broken interpreter said


# The machine's fault


def dies_first(folder, ways):
    """Die in the first attempts at a training, as often as a file counts."""
    file = Path(folder) / "attempts"

    def attempt(job, should_stop, on_progress):
        if number_of(job) == 1:
            done = len(file.read_bytes()) if file.exists() else 0
            file.write_bytes(b"x" * (done + 1))
            if done < ways:
                killed()
        return evaluate(job, should_stop, on_progress, pause=0, jitter=0, fail=None)

    return attempt


@pytest.mark.parametrize("deaths", [ATTEMPTS - 1, ATTEMPTS])
def test_a_training_whose_process_dies_is_tried_again_so_many_times(tmp_path, deaths):
    trials = search(tmp_path / "run", partial(dies_first, str(tmp_path), deaths), trials=3)
    assert trials[1].complete == (deaths < ATTEMPTS)
    assert len((tmp_path / "attempts").read_bytes()) == ATTEMPTS


def never_starts():
    raise RuntimeError("no such data")


def starts_at_the_second_attempt(folder):
    file = Path(folder) / "started"
    if not file.exists():
        file.touch()
        killed()
    return make_sound()


def test_processes_that_die_while_they_start_end_the_run_with_one_line(tmp_path, capfd):
    with pytest.raises(InputError, match=r"^3 evaluating processes in a row died .* exit code 1; what was"):
        search(tmp_path, never_starts)
    assert "no such data" in capfd.readouterr().err  # the cause, as Python tells it
    assert len(search(tmp_path, make_sound, trials=3)) == 3


def test_one_that_dies_while_it_starts_is_replaced_and_no_training_is_blamed(tmp_path):
    trials = search(tmp_path / "run", partial(starts_at_the_second_attempt, str(tmp_path)), trials=3)
    assert all(trial.complete for trial in trials.values())


def test_a_driver_that_was_suspended_takes_nobody_for_hung(tmp_path):
    slow = partial(partial, evaluate, pause=2.0, jitter=0, fail=None)
    with LocalEngine(1, slow, patience=1.5) as engine:
        engine.submit(Job(0, to_document(NETWORK), 1000, 0, "", ""))
        while not any(isinstance(event, Progress) for event in engine.wait(1)):
            pass
        worker = engine._workers[0].process.pid
        os.kill(worker, signal.SIGSTOP)
        time.sleep(2)  # the driver is away as well
        os.kill(worker, signal.SIGCONT)
        events = []
        while not any(isinstance(event, Finished) for event in events):
            events = engine.wait(1)
        assert events[-1].outcome.status == "complete"


# Real trainings beside failing ones


def make_real(folder, broken):
    from scalesearch.cli.evaluation import make_evaluate  # torch, which a formula does without
    from scalesearch.training.graph import DEFAULT
    from scalesearch.training.recipe import Recipe

    train = make_evaluate(folder, Recipe(), "cpu", 1, DEFAULT)

    def attempt(job, should_stop, on_progress):
        def progress(images):
            on_progress(images)
            if job.number in broken:
                broken[job.number]()

        return train(job, should_stop, progress)

    return attempt


def train_two(folder, data, broken):
    ended = {}
    with LocalEngine(1, partial(make_real, data.folder, broken), 20) as engine:
        for number in (0, 1, 2):
            files = [str(folder / f"{number}.{end}") for end in ("safetensors", "checkpoint")]
            engine.submit(Job(number, to_document(NETWORK), 256, number, *files))
            while number not in ended:
                ended |= {e.job: e.outcome for e in engine.wait(5) if isinstance(e, Finished)}
    return {number: replace(outcome, seconds=0, peak_memory=0) for number, outcome in ended.items()}


@pytest.mark.long
def test_real_trainings_after_a_crash_give_the_same_bits(tmp_path, capfd):
    from scalesearch.training.data import load

    data = load("digits")
    sound = train_two(tmp_path, data, {})
    broken = train_two(tmp_path, data, {1: segfault})
    assert broken[1] == Outcome("failed", "the evaluating process ended by signal SIGSEGV", seed=1)
    assert sound[1].status == "complete"
    assert (broken[0], broken[2]) == (sound[0], sound[2])
    capfd.readouterr()
