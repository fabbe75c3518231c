"""A run's record read from outside while it may be written; nothing is held, and nothing is written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from scalesearch.errors import InputError
from scalesearch.search.lock import LOCK
from scalesearch.search.records import TrialRecord
from scalesearch.search.store import collection_paused, finished_trials, parse_lines

COMPARED = 4096  # bytes before the place where reading goes on, by which a replaced record is noticed
LONGEST_LOCK = 400  # characters


class RecordTail:
    """The events and trials of a record; each look takes in what was appended since the last one.

    Attributes:
        events: those that finish no trial, in their order. trials: the finished ones in order of number.
        last: the record's last event, or None. written: when it was, in seconds since the epoch.
    """

    events: list[dict[str, Any]]
    trials: tuple[TrialRecord, ...]
    last: dict[str, Any] | None
    written: float

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark: tuple[int, ...] | None = None
        self._lines, self._bytes, self._before = 0, 0, b""
        self._forget()

    def look(self) -> bool:
        """Read what is new and return whether there was anything; a torn last line is not yet there.

        A record that was replaced or cut is read again from its start. Raises InputError where the record
        is gone or damaged.
        """
        try:
            found = self.path.stat()
            mark = (found.st_ino, found.st_size, found.st_mtime_ns)
            return mark != self._mark and self._read(mark)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error

    def _read(self, mark: tuple[int, ...]) -> bool:
        with self.path.open("rb") as record:
            replaced = not self._continues(record)
            if replaced:
                self._forget()
                record.seek(0)
            data = record.read()
        with collection_paused():
            events, good = parse_lines(data, self.path, self._lines)
            trials = finished_trials(events, self.path)
        self.events += [event for event in events if event["event"] != "finished"]
        if trials:
            self.trials = tuple(sorted((*self.trials, *trials), key=lambda trial: trial.number))
        self.last = events[-1] if events else self.last
        self._lines, self._bytes = self._lines + len(events), self._bytes + good
        self._before = (self._before + data[:good])[-COMPARED:]
        self._mark, self.written = mark, mark[-1] / 1e9
        return replaced or bool(events)

    def _continues(self, record: BinaryIO) -> bool:
        """Go to where reading goes on; return whether what lies before it is what was read."""
        record.seek(self._bytes - len(self._before))
        return record.read(len(self._before)) == self._before

    def _forget(self) -> None:
        self.events, self.trials, self.last, self.written = [], (), None, 0.0
        self._lines, self._bytes, self._before = 0, 0, b""


@dataclass(frozen=True)
class Holder:
    """The process that drove a run last, by what it wrote when it began.

    Attributes:
        since: when it began, in seconds since the epoch.
        running: whether it still drives the run, or None on another machine, which cannot be seen from here.
    """

    process: int
    host: str
    since: float
    running: bool | None


def holder_of(folder: Path) -> Holder | None:
    """Return who drives or drove a run, or None where nobody did; the lock is read and never taken.

    Trying it for a moment would refuse a driver that begins in that moment.
    """
    lock = folder / LOCK
    try:
        if not lock.is_file():  # a stranger's pipe would never end
            return None
        with lock.open(encoding="utf-8", errors="replace") as file:
            text, since = file.read(LONGEST_LOCK), lock.stat().st_mtime
    except OSError:
        return None
    said = re.fullmatch(r"process ([0-9]{1,9}) on (\S+)\n", text)
    if said is None:
        return None
    process, host = int(said[1]), said[2]
    return Holder(process, host, since, _holds(process, lock) if host == os.uname().nodename else None)


def _holds(process: int, lock: Path) -> bool:
    """Return whether a process of this machine has the lock open: its number may be another's by now."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    try:
        opened = list(Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return True  # it runs and cannot be looked into
    return any(_same(one, lock) for one in opened)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False  # closed meanwhile
