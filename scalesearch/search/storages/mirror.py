"""A copy of a run's trials in a storage, kept while the run goes on.

The record in the run folder is the truth (D10), so nothing waits for the storage: a thread writes to it, and
what it could not write yet is written later, or by the next call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from scalesearch.errors import InputError, RunHeldError
from scalesearch.search.records import TrialRecord
from scalesearch.search.storages.address import read_address
from scalesearch.search.storages.locks import AwayError
from scalesearch.search.storages.target import Target
from scalesearch.search.storages.trials import stands_for_its_candidate
from scalesearch.search.study import Definition

RETRY = 30.0  # seconds until a storage that went away is tried again
SILENCE = 45.0  # seconds after which a storage that answers nothing is given up at the end of a call
SILENCE_AT_STOP = 3.0
AWAY = AwayError, StorageInternalError, SQLAlchemyError


@contextmanager
def mirrored(
    url: str | None,
    name: str,
    definition: Definition,
    finished: Sequence[TrialRecord],
    say: Callable[[str], None],
    stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[Callable[[TrialRecord], None]]:
    """Keep a copy of a run's trials in a storage while the context lasts; without a URL keep none.

    Yields what is to be called with every trial once the record holds it. At the end what is missing is
    written, unless the storage is away or a stop was asked for; then the next call writes it.

    Args:
        url: the value of --storage.
        name: of the study there.
        definition: of the run.
        finished: the record's trials, in its order.
        say: takes lines for people.
        stop_requested: whether the end is to come soon.

    Raises:
        InputError: the storage cannot be used, or its study of this name is another run's.
        RunHeldError: another driver writes this study.
    """
    if url is None:
        yield lambda _trial: None
        return
    target = Target(read_address(url), name, definition)
    with Mirror(target, finished, say, stop_requested) as mirror:
        yield mirror.add


class Mirror:
    """Writes trials to a study in their order, each exactly once; use it as a context."""

    def __init__(
        self,
        target: Target,
        finished: Sequence[TrialRecord],
        say: Callable[[str], None],
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:
        self._target, self._say, self._stop_requested = target, say, stop_requested
        self._trials = [t for t in finished if stands_for_its_candidate(t)]
        self._written = 0
        self._wake = threading.Event()
        self._closing = self._hurried = self._told = False
        self._away_since: float | None = None
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        try:
            self._written = self._target.open(self._trials)
        except AWAY as error:
            self._target.close()
            raise InputError(
                f"--storage: {self._target.address.shown} cannot be used: {self._reason(error)}"
            ) from error
        except BaseException:
            self._target.close()
            raise
        # A daemon: a server that never answers must not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name="storage", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, error: type[BaseException] | None, *_rest: BaseException | TracebackType | None
    ) -> None:
        self._closing, self._hurried = True, error is not None
        self._wake.set()
        if self._ended():
            self._target.close()
        missing = len(self._trials) - self._written
        if missing:
            self._say(
                f"{self._target.address.shown} lacks {missing} of {len(self._trials)} trials, which the run "
                "folder holds; the next call with --storage writes them"
            )
        if self._failure is not None:
            raise self._failure

    def _ended(self) -> bool:
        """Wait for the thread while it gets on; return whether it came to its end."""
        written, since = self._written, time.monotonic()
        while self._thread.is_alive():
            self._thread.join(0.1)
            if self._written > written:
                written, since = self._written, time.monotonic()
            if time.monotonic() - since > (SILENCE_AT_STOP if self._stopping() else SILENCE):
                return False
        return True

    def add(self, trial: TrialRecord) -> None:
        """Take a trial that the record holds."""
        if stands_for_its_candidate(trial):
            self._trials.append(trial)
            self._wake.set()

    # In the thread

    def _serve(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # raised again where the run ends, which it must not stop
            self._failure = error

    def _follow(self) -> None:
        while True:
            closing = self._closing  # what was added before it was set is written below
            if closing or self._due():
                self._try_to_catch_up()
            if closing:
                return
            self._wake.wait(RETRY)
            self._wake.clear()

    def _due(self) -> bool:
        return self._away_since is None or time.monotonic() - self._away_since >= RETRY

    def _try_to_catch_up(self) -> None:
        try:
            self._catch_up()
            self._away_since = None
        except (*AWAY, InputError, RunHeldError) as error:
            self._away_since = time.monotonic()
            if not self._told:
                self._told = True
                self._say(
                    f"{self._target.address.shown} went away and is tried again later; the run goes on in "
                    f"its folder: {self._reason(error)}"
                )

    def _catch_up(self) -> None:
        if self._away_since is not None and not self._stopping():
            # Whether the last trial was written is not known.
            self._written = self._target.open(self._trials)
        while self._written < len(self._trials) and not self._stopping():
            self._target.write(self._trials[self._written])
            self._written += 1

    def _stopping(self) -> bool:
        return self._closing and (self._hurried or self._stop_requested())

    def _reason(self, error: BaseException) -> str:
        """Return an error's first line without what the URL kept to itself."""
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        text = str(cause.orig if isinstance(cause, DBAPIError) else cause)
        line = text.strip().splitlines()[0] if text.strip() else type(cause).__name__
        for name in ("password", "user"):
            secret = str(self._target.address.arguments.get(name, ""))
            line = line.replace(secret, "***") if secret else line
        return line
