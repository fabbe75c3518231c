"""A run folder and survey folders read from outside, also while a run goes on: nothing is held or written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalesearch import documents
from scalesearch.cli.run_report import REPORT, Facts, make_report, view_of
from scalesearch.dashboard.summary import Summary, ending_text, summary_from_report
from scalesearch.errors import InputError
from scalesearch.search.events import check_rungs
from scalesearch.search.records import TrialRecord
from scalesearch.search.store import RECORD, STUDY
from scalesearch.search.tail import Holder, RecordTail, holder_of

if TYPE_CHECKING:  # Plotly
    from scalesearch.dashboard.panels.context import Reference
    from scalesearch.dashboard.run_view import RunView

SURVEYS = {  # what a command that carries out a survey leaves in its folder
    "law": "law.json",
    "coefficients": "coefficients.json",
    "trust": "trust.json",
    "compare": "compare.json",
}
BESIDE = (
    "source",
    "left_out",
    "report_images",
    "resolution",
)  # stored of the data without being what results depend on

Surveys = dict[str, dict[str, Any]]  # reports by the command that made them


@dataclass(frozen=True)
class UnderWay:
    """A training that was decided and has no result yet: of a candidate, on a rung of so many images."""

    number: int
    rung: int
    images: int


class RunFolder:
    """A run as its files show it; `refresh` takes in what was added since.

    Raises InputError where there is no such folder, it is no run's, or its files are damaged.

    Attributes:
        facts: of its study. recipe: of its trainings, as a document.
        origins: the file of each document that it was begun with, by kind.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        _check_run(self.folder)
        document = stored_study(self.folder / STUDY)
        self.facts = _facts(document, self.folder / STUDY)
        self.recipe: Mapping[str, Any] = document["recipe"]
        self.origins: Mapping[str, str] = document.get("documents", {})
        self._record = RecordTail(self.folder / RECORD)
        self._report: tuple[bool, dict[str, Any]] | None = None
        self._beside: tuple[bool | None, int] | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Take in what was appended to the record; return whether anything that a page says is new.

        Besides the record that is whether the run goes on, and the report that it wrote at its end.
        """
        new, before = self._record.look(), self._beside
        self._beside = self.running, _changed(self.folder / REPORT)
        if not new and self._beside == before:
            return False
        check_rungs(self.trials, self.events, len(self.facts.rungs), self.folder)
        self._report = None
        return True

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """The finished trials in order of number."""
        return self._record.trials

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """The record's events that finish no trial."""
        return self._record.events

    @property
    def holder(self) -> Holder | None:
        """Who drives the run, or drove it last."""
        return holder_of(self.folder)

    @property
    def running(self) -> bool | None:
        """Whether a call searches now; None where its process is on another machine."""
        holder = self.holder
        if holder is None or holder.running is False:
            return False
        # Where the record's end is its own it only writes what it found; else it goes on after a former call.
        over = self.ending is not None and self._record.written >= holder.since
        return False if over else holder.running

    @property
    def running_seconds(self) -> float | None:
        """How long the call that searches now has lasted; None where none does."""
        holder = self.holder
        return max(0.0, time.time() - holder.since) if holder is not None and self.running else None

    @property
    def ending(self) -> str | None:
        """What ended the last call in the record; None where it goes on, was killed, or none began."""
        last = self._record.last
        return str(last["ending"]) if last is not None and last["event"] == "ended" else None

    @property
    def state(self) -> str:
        """Whether the run goes on and for how long, or how it ended, in words; not all are its own."""
        from scalesearch.dashboard.theme import seconds_text

        holder, seconds = self.holder, self.running_seconds
        if self.running and holder is not None and seconds is not None:
            return f"running for {seconds_text(seconds)} (process {holder.process})"
        if self.running is None and holder is not None:
            begun = f"begun by process {holder.process} on {holder.host}"
            return f"{begun}: whether it goes on cannot be seen from here"
        if self.ending is not None:
            return ending_text(self.ending)
        if not self.events and not self.trials:
            return "not running; no training was begun"
        return "cut off: its process is gone; the same command continues"

    def report(self) -> dict[str, Any]:
        """Return what report.json says, of the trials that have finished by now."""
        running = self.running is not False
        if self._report is None or self._report[0] != running:
            made = make_report(self.facts, self.trials, self.events, self._versions(), running=running)
            self._report = running, made
        return self._report[1]

    def view(self, references: Sequence[Reference] = (), surveys: Surveys | None = None) -> RunView:
        """Return the run as pages see it; a page stays as it was drawn until something is new."""
        view, told = view_of(self.facts, self.trials, self.report(), references, surveys), self.summary()
        if self.running:
            told = replace(told, state=f"{told.state} at {time.strftime('%H:%M')}")
        return replace(view, summary=told)

    def summary(self) -> Summary:
        """Return what the first screen says; its seconds count the call that searches now."""
        told = summary_from_report(self.report(), self.trials)
        return replace(told, seconds=told.seconds + (self.running_seconds or 0.0), state=self.state)

    def under_way(self) -> tuple[UnderWay, ...]:
        """Return the trainings of the search without a result: under way, or left by a call that ended."""
        done = {(trial.number, trial.rung) for trial in self.trials if trial.role == "search"}
        decided = [
            (event["number"], event.get("rung", 0))
            for event in self.events
            if event["event"] in ("asked", "promoted")
        ]
        rungs = self.facts.rungs
        return tuple(UnderWay(*one, rungs[one[1]]) for one in dict.fromkeys(decided) if one not in done)

    def _versions(self) -> Mapping[str, str]:
        """Return with what the run's own report was made: this process may have other libraries."""
        path = self.folder / REPORT
        return read_json(path).get("versions", {}) if path.is_file() else {}


def _changed(path: Path) -> int:
    """Return when a file was written last, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _check_run(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such run folder")
    missing = [name for name in (RECORD, STUDY) if not (folder / name).is_file()]
    if not missing:
        return
    holder = holder_of(folder)
    if missing == [STUDY] and holder is not None and holder.running:
        raise InputError(f"{folder}: process {holder.process} prepares this run and has not begun it yet")
    raise InputError(f"{folder}: a run folder holds {RECORD} and {STUDY}, but this has no {missing[0]}")


def stored_study(path: Path) -> dict[str, Any]:
    """Read a run folder's study document; InputError where it is another document."""
    stored = documents.read(path)
    if not isinstance(stored.get("data"), dict) or "lag" not in stored:
        raise InputError(
            f"{path}: a run folder's study document has data and lag, but this is another document"
        )
    return stored


def _facts(document: Mapping[str, Any], path: Path) -> Facts:
    data = document["data"]
    own = {name: value for name, value in data.items() if name not in BESIDE}
    try:
        # Folders of earlier versions do not say it: validation images are halved.
        images = data.get("report_images", own["val_images"] // 2)
        left_out, side = data.get("left_out", {}), data.get("resolution")
        return Facts.of({**document, "data": own}, left_out, images, side)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a run folder's study document is not whole: {error!r}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a report; InputError names the file where it is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: a report is one JSON object, but this cannot be read: {error}") from error
    if not isinstance(report, dict) or report.get("schema") != 1:
        raise InputError(f"{path}: a report is a JSON object of schema 1, but this is not")
    return report


def open_folders(folders: Sequence[str | Path]) -> tuple[tuple[RunFolder, ...], Surveys]:
    """Return the runs among folders in their order, and the reports of the surveys beside them.

    Raises InputError where a folder is neither, or where two surveys are of the same command.
    """
    runs: list[RunFolder] = []
    surveys: Surveys = {}
    for folder in map(Path, folders):
        found = [] if (folder / RECORD).exists() else _survey_names(folder)
        if not found:
            runs.append(RunFolder(folder))
        for name in found:
            if name in surveys:
                raise InputError(f"{folder}: one survey of {name} goes with a run, but two are given")
            surveys[name] = read_json(folder / SURVEYS[name])
    return tuple(runs), surveys


def _survey_names(folder: Path) -> list[str]:
    return [name for name, file in SURVEYS.items() if (folder / file).is_file()]
