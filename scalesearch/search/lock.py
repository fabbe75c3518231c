"""A folder that one process alone writes to."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from scalesearch.errors import InputError, RunHeldError

LOCK = "driver.lock"
DYING = 1.0  # seconds that a killed holder may take to be gone


def refuse_links(folder: Path) -> None:
    """Raise InputError where a folder holds links or devices, which lead astray what is written."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InputError(f"--out: a run folder holds files and folders alone, but {path} is neither")


class FolderLock:
    """A folder that this process alone writes to while the context lasts.

    The kernel frees the lock when its holder dies, however it dies. Raises RunHeldError, which names who has
    it, and InputError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            refuse_links(self.folder)
            self._lock = self._held()
        except OSError as error:
            raise InputError(
                f"--out: the folder {self.folder} cannot be written: {error.strerror}"
            ) from error
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._lock.close()

    def check(self) -> None:
        """Raise RunHeldError where the lock's file is gone: another driver may hold the folder by now."""
        if not self._is(self._lock):
            raise RunHeldError(
                f"{self.path} was removed, or its folder moved, so that another process may drive the run; "
                f"what was finished is kept, and the same command goes on"
            )

    def _held(self) -> TextIO:
        # A child that the holder was just starting holds the lock until it has begun its own program.
        end = time.monotonic() + DYING
        while True:
            lock = self.path.open("a+")
            try:
                if self._take(lock):
                    return lock
                holder = self._holder(lock)
            except BaseException:
                with suppress(OSError):  # a full disk refuses what is left to write a second time
                    lock.close()
                raise
            lock.close()
            if time.monotonic() >= end:
                raise RunHeldError(f"{self.folder} is driven by {holder}")
            time.sleep(0.02)

    def _holder(self, lock: TextIO) -> str:
        lock.seek(0)
        return lock.read().strip()

    def _take(self, lock: TextIO) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not self._is(lock):  # it was removed after it was opened, and the next driver makes a new one
            return False
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        return True

    def _is(self, lock: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(lock.fileno()), self.path.stat())
        except FileNotFoundError:
            return False
