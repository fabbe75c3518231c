"""Processes that measure at the same time, as the trainings of a search run at the same time."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")
PATIENCE = 3.0  # seconds that an idle process has to end by itself


def _serve(threads: int, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is heard by whoever waits for the result
    from scalesearch.training.process import prepare_process

    prepare_process(threads)
    while True:
        try:
            function, arguments, options = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(*arguments, **options)
        except Exception as error:
            answer = False, f"{type(error).__name__}: {error}"
        pipe.send(answer)


class Crew:
    """`workers` processes with `threads` threads each; use it as a context, which ends them.

    They are no daemons, so that what they measure may itself start processes.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self.workers, self.threads = workers, threads

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self._members: list[tuple[Any, Connection]] = []
        # A child hears no Ctrl-C while it starts either: the mask is inherited, and `_serve` ignores it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for _ in range(self.workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=_serve, args=(self.threads, theirs))
                process.start()
                theirs.close()
                self._members.append((process, ours))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        for process, pipe in self._members:
            pipe.close()
            if error[0] is not None:
                process.kill()
        for process, _ in self._members:
            process.join(PATIENCE)
            process.kill()
            process.join()

    def all(self, function: Callable[..., Result], *arguments: Any, **options: Any) -> list[Result]:
        """Call a function in all processes at once and return what each gives back.

        Raises RuntimeError where it raises in one of them, or where a process dies.
        """
        for _, pipe in self._members:
            pipe.send((function, arguments, options))
        return [self._answer(process, pipe) for process, pipe in self._members]

    def _answer(self, process: Any, pipe: Connection) -> Any:
        try:
            good, answer = pipe.recv()
        except EOFError as error:
            process.join()
            raise RuntimeError(f"a measuring process ended with exit code {process.exitcode}") from error
        if not good:
            raise RuntimeError(answer)
        return answer
