"""Trainings in processes of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self, TypeVar

from scalesearch.errors import InputError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Event, Finished, Job, Progress
from scalesearch.search.engines.attempt import Raised, Refused, train

PR_SET_PDEATHSIG = 1
STOP = "stop"
# A terminal, `timeout` and a batch system send these to the whole group; the driver says what is to be done.
SIGNALS = signal.SIGINT, signal.SIGTERM
ATTEMPTS = 3  # of a training whose process dies under it: the machine may be to blame, or the training
STARTS = 3  # processes that die one after the other before they can evaluate anything
HANGING = 600.0  # seconds without a step after which a training hangs; compiling one takes minutes
AWAY = 1.0  # seconds that a driver which was itself suspended may hold against a training
T = TypeVar("T")


@dataclass(frozen=True)
class _Said:
    """A line for whoever watches the run."""

    line: str


def _complain(line: str) -> None:
    print(line, file=sys.stderr)


def _die_with_parent() -> None:
    # Linux only: a driver that is killed leaves no training behind.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:  # it died before that call
        os._exit(1)


def _serve(make_evaluate: Callable[[], Evaluate], pipe: Connection) -> None:
    _die_with_parent()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    evaluate = make_evaluate()
    pipe.send(None)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        if job == STOP:
            continue
        pipe.send(_run(evaluate, job, pipe))


def _run(evaluate: Evaluate, job: Job, pipe: Connection) -> Outcome | Raised | Refused:
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        if not stopped and pipe.poll():
            pipe.recv()
            stopped = True
        return stopped

    # The driver's death is heard of here first, and is no fault of the training: it leaves its files alone.
    return train(
        evaluate,
        job,
        _or_exit(should_stop),
        _or_exit(lambda images: pipe.send(Progress(job.number, images))),
        _or_exit(lambda line: pipe.send(_Said(line))),
    )


def _or_exit(talk: Callable[..., T]) -> Callable[..., T]:
    """Return what talks to the driver, and ends this process where there is none any more."""

    def talked(*arguments: Any) -> T:
        try:
            return talk(*arguments)
        except (EOFError, ConnectionError):
            os._exit(1)

    return talked


class _Worker:
    """One process and the job that it runs."""

    def __init__(self, number: int, make_evaluate: Callable[[], Evaluate]) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.job: Job | None = None
        self.attempt = 0
        self.silent = 0.0  # seconds since it was last heard of
        self.ready = self.begun = self.stopped = self.hung = False
        self.pipe, theirs = context.Pipe()
        self.process: Any = context.Process(target=_serve, args=(make_evaluate, theirs), daemon=True)
        # A child hears none of them while it starts either: the mask is inherited, and `_serve` ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def begin(self, job: Job, attempt: int) -> None:
        self.job, self.attempt, self.silent = job, attempt, 0.0
        self.begun = self.stopped = False
        self._send(job)

    def stop(self) -> None:
        self.stopped = True
        if self.begun:
            self._send(STOP)
        else:
            self.process.kill()  # before its first step a training has nothing to write

    def _send(self, message: Any) -> None:
        # A process that has just died is heard of by the next `wait`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(message)

    def end(self) -> None:
        self.process.kill()  # before the pipe is closed, which a training would take for its end
        self.process.join()
        self.pipe.close()

    def death(self) -> str:
        self.process.join()
        code = self.process.exitcode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class LocalEngine:
    """Runs jobs in `workers` processes, each of which builds its evaluator once.

    A training whose process dies is tried again in a fresh one, from its checkpoint if it has one; after
    `ATTEMPTS` deaths it is failed. A training that takes no step for `patience` seconds is ended and
    failed. `say` is told of what was repaired.
    """

    def __init__(
        self,
        workers: int,
        make_evaluate: Callable[[], Evaluate],
        patience: float = HANGING,
        say: Callable[[str], None] = _complain,
    ) -> None:
        self._count, self._make, self._patience, self._say = workers, make_evaluate, patience, say
        self._stillborn = 0
        self._looked = time.monotonic()

    def __enter__(self) -> Self:
        self._workers = [_Worker(number, self._make) for number in range(self._count)]
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()

    @property
    def idle(self) -> int:
        """How many jobs would start at once."""
        return sum(worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to an idle process, if possible to one that has finished starting."""
        idle = [worker for worker in self._workers if worker.job is None]
        max(idle, key=lambda one: one.ready).begin(job, attempt=1)

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting at most this long for something.

        Raises InputError where processes die while they start, or the file system refuses their files.
        """
        readable = wait([worker.pipe for worker in self._workers], timeout=max(0.0, seconds))
        events = [self._hear(worker) for worker in self._workers if worker.pipe in readable]
        self._end_hung(max(0.0, seconds))
        return [event for event in events if event is not None]

    def _hear(self, worker: _Worker) -> Event | None:
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._replace(worker)
        worker.silent = 0.0
        if message is None:
            worker.ready, self._stillborn = True, 0
            return None
        if isinstance(message, Progress):
            worker.begun = True
            return message
        if isinstance(message, _Said):
            self._say(message.line)
            return None
        if isinstance(message, Refused):
            raise InputError(message.rule)
        job, worker.job = worker.job, None
        assert job is not None, "an outcome comes only for a job"
        if isinstance(message, Raised):
            worker.end()
            self._begin(worker.number)
            message = message.outcome
        return Finished(job.number, message, worker.number)

    def _end_hung(self, asked: float) -> None:
        """Kill processes that are silent for too long; the next `wait` hears of it.

        Only time in which this process listened counts: it may have been suspended together with them.
        """
        now = time.monotonic()
        listened, self._looked = min(now - self._looked, asked + AWAY), now
        for worker in self._workers:
            worker.silent += listened
            # What a process imports and opens before its first training may lie on a slow disk.
            patience = self._patience if worker.ready else HANGING
            if worker.job is not None and worker.silent >= patience:
                worker.hung = True
                worker.process.kill()

    def _replace(self, worker: _Worker) -> Finished | None:
        death = worker.death()
        reason = f"the evaluating process ended by {death}"
        if not (worker.ready or worker.stopped):
            self._count_stillborn(reason)
        elif worker.hung:
            reason = f"no progress for {self._patience:g} s"
        worker.end()
        fresh = self._begin(worker.number)
        if worker.job is None:
            return None
        if worker.stopped:
            return Finished(worker.job.number, Outcome("interrupted", seed=worker.job.seed), worker.number)
        if worker.ready and (worker.hung or worker.attempt == ATTEMPTS):
            outcome = Outcome("failed", reason, seed=worker.job.seed)
            return Finished(worker.job.number, outcome, worker.number)
        # A process that died while it started had not begun the training.
        fresh.begin(worker.job, worker.attempt + worker.ready)
        return None

    def _begin(self, number: int) -> _Worker:
        self._workers[number] = fresh = _Worker(number, self._make)
        return fresh

    def _count_stillborn(self, reason: str) -> None:
        self._stillborn += 1
        if self._stillborn == STARTS:
            raise InputError(
                f"{STARTS} evaluating processes in a row died while they started, the last one as {reason}; "
                f"what was finished is kept, and the same command goes on"
            )

    def stop(self) -> None:
        """Ask every running training to write its checkpoint and end as interrupted."""
        for worker in self._workers:
            if worker.job is not None:
                worker.stop()
