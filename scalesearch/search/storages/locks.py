"""One driver a study in a storage, by locks that die with their holder, however it dies."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scalesearch.errors import RunHeldError
from scalesearch.search.lock import LOCK, FolderLock
from scalesearch.search.storages.address import Address

if TYPE_CHECKING:
    import psycopg

# A driver's machine that lost its power is noticed in 25 seconds, not in the system's two hours.
PATIENCE = 1.0  # seconds that a lock is asked for before a driver is refused
NOTICE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
HOLDER = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
AND (classid::bigint << 32 | objid::bigint) = %s
"""

Found = TypeVar("Found")


class AwayError(Exception):
    """A storage does not answer."""


class Lock(Protocol):
    """The right to write a study, held from `hold` to `release`."""

    def hold(self) -> None:
        """Take the lock, or make sure that it is held still.

        Raises RunHeldError, which names who has it, or AwayError.
        """
        ...

    def creating(self) -> AbstractContextManager[None]:
        """Return the context to create a database's tables in, alone."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


def lock_of(address: Address, study: str) -> Lock:
    """Return the lock of a study in a storage."""
    return AdvisoryLock(address, study) if address.file is None else FileLock(address)


def advisory_key(*parts: str) -> int:
    """Return a 64-bit key with a sign, as PostgreSQL's advisory locks have them."""
    digest = hashlib.sha256(repr(("scalesearch", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class AdvisoryLock:
    """An advisory lock of PostgreSQL on a study's name, held by a connection of its own.

    The server frees it when the connection ends. The connection's name says who holds it, to any role.
    """

    def __init__(self, address: Address, study: str) -> None:
        self._address, self._study, self._key = address, study, advisory_key("study", study)
        self._connection: psycopg.Connection[Any] | None = None

    def hold(self) -> None:
        """Take the lock, or make sure that it is held still; RunHeldError names who has it."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._answer("SELECT 1")
            except AwayError:
                self.release()
            else:
                return
        self._connection = _told(self._connect)
        try:
            self._take()
        except BaseException:
            self.release()
            raise

    @contextmanager
    def creating(self) -> Iterator[None]:
        """Wait for whoever creates tables in this database, whatever the study."""
        key = advisory_key("tables")
        self._answer("SELECT pg_advisory_lock(%s)", key)
        try:
            yield
        finally:
            self._answer("SELECT pg_advisory_unlock(%s)", key)

    def release(self) -> None:
        """Give it back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        # PostgreSQL cuts a name off after 63 bytes: the process stands first.
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        arguments = {**self._address.arguments, "application_name": holder}
        return psycopg.connect(**arguments, autocommit=True)

    def _answer(self, question: str, *values: object) -> Any:
        """Return the first value that the server answers with, or None."""
        connection = self._connection
        assert connection is not None, "a lock is asked about while it is held"
        row = _told(lambda: connection.execute(question.encode(), values).fetchone())
        return row[0] if row else None

    def _take(self) -> None:
        # The server frees the lock a moment after its holder's connection has ended.
        deadline = time.monotonic() + PATIENCE
        while not self._answer("SELECT pg_try_advisory_lock(%s)", self._key):
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            holder = self._answer(HOLDER, self._key) or "a process that has just ended"
            raise RunHeldError(f"the study {self._study} in {self._address.shown} is driven by {holder}")
        for setting, value in NOTICE.items():
            self._answer("SELECT set_config(%s, %s, false)", setting, value)


def _told(call: Callable[[], Found]) -> Found:
    """Return what a call of the driver does, with its errors in our words."""
    import psycopg

    try:
        return call()
    except psycopg.Error as error:
        raise AwayError(str(error)) from error


class FileLock:
    """A lock beside a SQLite file, which has one writer, whatever the study."""

    def __init__(self, address: Address) -> None:
        assert address.file is not None, "a file's lock is for a file"
        self._shown = address.shown
        # Not on the file itself: a process loses SQLite's own locks when it closes any handle of that file.
        self._lock = FolderLock(address.file.with_name(f"{address.file.name}.lock"))
        self._held = False

    def hold(self) -> None:
        """Take the lock, or make sure that it is held still; RunHeldError names who has it."""
        if self._held:
            self._lock.check()
            return
        try:
            self._lock.__enter__()
        except RunHeldError as error:
            holder = (self._lock.folder / LOCK).read_text(encoding="utf-8").strip()
            raise RunHeldError(f"{self._shown} is driven by {holder}") from error
        self._held = True

    def creating(self) -> AbstractContextManager[None]:
        """Return a context that does nothing: the lock is the whole file's."""
        return nullcontext()

    def release(self) -> None:
        """Give it back."""
        if self._held:
            self._lock.__exit__(None)
            self._held = False
