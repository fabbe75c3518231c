"""Trainings in processes of this machine."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Event, Finished, Job, Progress

PR_SET_PDEATHSIG = 1
STOP = "stop"
# A terminal, `timeout` and a batch system send these to the whole group; the driver says what is to be done.
SIGNALS = signal.SIGINT, signal.SIGTERM


def _die_with_parent() -> None:
    # Linux only: a driver that is killed leaves no training behind.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


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


def _run(evaluate: Evaluate, job: Job, pipe: Connection) -> Outcome:
    stopped = False

    def should_stop() -> bool:
        nonlocal stopped
        if not stopped and pipe.poll():
            pipe.recv()
            stopped = True
        return stopped

    try:
        return evaluate(job, should_stop, lambda images: pipe.send(Progress(job.number, images)))
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {' '.join(str(error).split())}", seed=job.seed)


class _Worker:
    """One process and the job that it runs."""

    def __init__(self, number: int, make_evaluate: Callable[[], Evaluate]) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.job: Job | None = None
        self.ready = False
        self.pipe, theirs = context.Pipe()
        self.process: Any = context.Process(target=_serve, args=(make_evaluate, theirs), daemon=True)
        # A child hears none of them while it starts either: the mask is inherited, and `_serve` ignores them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()

    def send(self, message: Any) -> None:
        # A process that has just died is heard of by the next `wait`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(message)

    def death(self) -> str:
        self.process.join()
        code = self.process.exitcode
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class LocalEngine:
    """Runs jobs in `workers` processes, each of which builds its evaluator once."""

    def __init__(self, workers: int, make_evaluate: Callable[[], Evaluate]) -> None:
        self._count, self._make = workers, make_evaluate

    def __enter__(self) -> Self:
        self._workers = [_Worker(number, self._make) for number in range(self._count)]
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()
            worker.process.join()

    @property
    def idle(self) -> int:
        """How many jobs would start at once."""
        return sum(worker.job is None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to an idle process, if possible to one that has finished starting."""
        idle = [worker for worker in self._workers if worker.job is None]
        worker = max(idle, key=lambda one: one.ready)
        worker.job = job
        worker.send(job)

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting at most this long for something."""
        readable = wait([worker.pipe for worker in self._workers], timeout=max(0.0, seconds))
        events = [self._hear(worker) for worker in self._workers if worker.pipe in readable]
        return [event for event in events if event is not None]

    def _hear(self, worker: _Worker) -> Event | None:
        try:
            message = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._replace(worker)
        if message is None:
            worker.ready = True
            return None
        if isinstance(message, Progress):
            return message
        job, worker.job = worker.job, None
        assert job is not None, "an outcome comes only for a job"
        return Finished(job.number, message, worker.number)

    def _replace(self, worker: _Worker) -> Finished | None:
        reason = f"the evaluating process ended by {worker.death()}"
        if not worker.ready:
            raise RuntimeError(f"{reason} while it started")
        self._workers[worker.number] = _Worker(worker.number, self._make)
        if worker.job is None:
            return None
        return Finished(worker.job.number, Outcome("failed", reason, seed=worker.job.seed), worker.number)

    def stop(self) -> None:
        """Ask every running training to write its checkpoint and end as interrupted."""
        for worker in self._workers:
            if worker.job is not None:
                worker.send(STOP)
