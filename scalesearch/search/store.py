"""The run folder: one durable record, appended to by one driver that holds a lock (decision D10)."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from scalesearch.errors import InputError
from scalesearch.files import append, replace_file, settle_names
from scalesearch.search.events import fault_of_event, fault_of_trial
from scalesearch.search.lock import FolderLock
from scalesearch.search.records import TrialRecord

_TRIALS = TypeAdapter(list[TrialRecord])
RECORD = "record.jsonl"
STUDY = "study.yaml"
WORK = "work"
TAKEN = "taken"  # in WORK: weights of other runs' trainings
WEIGHTS = re.compile(rf"{WORK}/[0-9a-f]{{16}}\.safetensors")  # of a training, relative to the folder
_FINISHED = {"event": "finished"}


def parse_record(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the record's events and the number of bytes that hold them; a torn last line is left out.

    Raises InputError where a line before the last is no event: that is damage, not an interrupted write.
    """
    return parse_lines(path.read_bytes(), path)


def parse_lines(data: bytes, path: Path, before: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Do as `parse_record` for a part of the record at `path` that follows `before` lines."""
    events, good = [], 0
    for number, line in enumerate(data.splitlines(keepends=True), before + 1):
        try:
            event = json.loads(line) if line.endswith(b"\n") else None
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            if good + len(line) < len(data):
                raise InputError(f"{path}:{number}: a record's line is a JSON event, but this is not one")
            break
        fault = fault_of_event(event)
        if fault is not None:
            raise InputError(f"{path}:{number}: {fault}")
        events.append(event)
        good += len(line)
    return events, good


def load_trials(run: str | Path) -> tuple[TrialRecord, ...]:
    """Return the finished trials of a run folder in order of number.

    Raises InputError where the folder holds no record, or a damaged one.
    """
    path = Path(run) / RECORD
    if not path.is_file():
        raise InputError(f"{run}: a run folder holds {RECORD}, but this does not")
    events, _ = parse_record(path)
    return tuple(sorted(finished_trials(events, path), key=lambda trial: trial.number))


def finished_trials(events: Iterable[Mapping[str, Any]], path: Path) -> list[TrialRecord]:
    """Return the trials of the events that finish one; InputError names the record where one is not whole."""
    return _trials(events, path, "finished")


def _trials(events: Iterable[Mapping[str, Any]], path: Path, kind: str) -> list[TrialRecord]:
    stored = [event.get("trial") for event in events if event["event"] == kind]
    try:
        trials = _TRIALS.validate_python(stored)
    except ValidationError as error:
        first = error.errors()[0]
        number, *place = first["loc"]
        where = f"{path}: {kind} trial {number}: {'.'.join(map(str, place))}"
        raise InputError(f"{where}: a {kind} trial is not complete: {first['msg'].lower()}") from error
    for number, trial in enumerate(trials):
        fault = fault_of_trial(trial)
        if fault is not None:
            raise InputError(f"{path}: {kind} trial {number}: {fault}")
        weights = trial.outcome.checkpoint
        if weights is not None and not WEIGHTS.fullmatch(weights):
            raise InputError(
                f"{path}: {kind} trial {number}: weights lie in {WORK}/ under their training's key, "
                f"but this names {weights!r}"
            )
    return trials


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses, such as a full disk, into an InputError of one line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; "
            f"what was finished is kept, and the same command goes on"
        ) from error


@contextmanager
def collection_paused() -> Iterator[None]:
    """Collect no garbage: what is read from JSON has no cycles, and looking for them doubles the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class RunStore:
    """A run folder that this process drives: use it as a context, which holds the lock.

    Attributes:
        events: the record's, in its order; of one that finishes a trial only its kind, since `finished` has
            the trial, and a long run would drown in both.
    """

    def __init__(self, folder: Path, on_repair: Callable[[str], None] = lambda _line: None) -> None:
        self.folder, self._on_repair = folder, on_repair
        self.events: list[dict[str, Any]] = []
        self._finished: list[TrialRecord] = []

    def __enter__(self) -> Self:
        with ExitStack() as held:
            self._lock = held.enter_context(FolderLock(self.folder))
            self._open_record()
            self._held = held.pop_all()
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._record.close()
        self._held.close()

    def _open_record(self) -> None:
        path = self.folder / RECORD
        if path.exists():
            with collection_paused():
                events, good = parse_record(path)
                self._finished = finished_trials(events, path)
            self.events = [_FINISHED if one["event"] == "finished" else one for one in events]
            if good < path.stat().st_size:
                backup = path.with_suffix(".torn")
                with writing(backup):
                    append(backup, path.read_bytes()[good:] + b"\n")
                    os.truncate(path, good)
                self._on_repair(f"{path}: the last line was cut off; it was dropped, {backup.name} keeps it")
        with writing(path):
            self._record = path.open("ab", buffering=0)
            settle_names(self.folder)

    def append(self, event: str, **fields: Any) -> None:
        """Write one event; it is on the disk when this returns."""
        entry = {"event": event, **fields}
        self._write_event(entry)
        self.events.append(entry)

    def _write_event(self, entry: Mapping[str, Any]) -> None:
        self._lock.check()
        with writing(self.folder / RECORD):
            self._write(json.dumps(entry).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        """Write a whole line to the disk, or nothing of it where the disk is full."""
        whole = os.fstat(self._record.fileno()).st_size
        try:
            while line:
                line = line[self._record.write(line) :]
            os.fsync(self._record.fileno())
        except OSError:
            with suppress(OSError):  # else the next call repairs it
                os.ftruncate(self._record.fileno(), whole)
            raise

    def finish(self, trial: TrialRecord) -> None:
        """Write a finished trial."""
        self._write_event({**_FINISHED, "trial": asdict(trial)})
        self.events.append(_FINISHED)
        self._finished.append(trial)

    # Files of trainings

    def open_work(self) -> Path:
        """Return the folder of trainings' files, without what killed processes left there."""
        work = self.folder / WORK
        ended = {trial.key[:16] for trial in self.finished}
        with writing(work):
            work.mkdir(exist_ok=True)
            for path in work.iterdir():
                if path.name.startswith(".") or (path.suffix == ".checkpoint" and path.stem in ended):
                    path.unlink()
        return work

    # Trainings of another run

    def take_over(self, other: RunStore) -> int:
        """Note another run's trainings, which the driver uses instead of its own; return how many.

        Complete ones: what failed there is tried again here.
        """
        known = {trial.key for trial in self.taken}
        found = (trial for trial in other.finished if trial.complete and trial.repeats is None)
        valid = {trial.key: trial for trial in found}
        with writing(self.folder):
            (self.folder / WORK / TAKEN).mkdir(parents=True, exist_ok=True)
            for weights in (other.folder / WORK).glob("*.safetensors"):
                shutil.copyfile(weights, self.folder / WORK / TAKEN / weights.name)
        for key, trial in valid.items():
            if key not in known:
                self.append("taken", trial=asdict(trial))
        return len(known | valid.keys())

    def take_weights(self, checkpoint: str | None) -> None:
        """Put the weights of a training that was taken over where its own would be; not all were kept."""
        if checkpoint is not None:
            weights = self.folder / WORK / TAKEN / Path(checkpoint).name
            if weights.is_file():
                with writing(self.folder):
                    shutil.copyfile(weights, self.folder / WORK / weights.name)

    @property
    def taken(self) -> list[TrialRecord]:
        """The trainings taken over from other runs; InputError where one is not whole."""
        return _trials(self.events, self.folder / RECORD, "taken")

    @property
    def finished(self) -> list[TrialRecord]:
        """The finished trials, in the order of the record."""
        return list(self._finished)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file in one step: a reader sees the old text or the new one, also after a power failure.

    Raises InputError where the file system refuses; the old text stays.
    """
    with writing(path):
        replace_file(path, text.encode())
