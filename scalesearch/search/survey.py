"""A survey: a fixed list of trainings, carried out on an engine, with a table as its own checkpoint."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pandas as pd

from scalesearch.architecture.document import from_document
from scalesearch.errors import InputError
from scalesearch.outcome import Outcome
from scalesearch.search.drawing import Drawn
from scalesearch.search.engines import Engine, Finished, Job
from scalesearch.search.lock import FolderLock
from scalesearch.search.proposals import key_of
from scalesearch.search.study import digest
from scalesearch.search.survey_document import Block
from scalesearch.search.tables import read_parquet, write_parquet

WORK = "work"
CHECKPOINT_PATIENCE = 10.0  # seconds that a training has to write its checkpoint when the survey stops

Ending = Literal["done", "time", "stopped"]


@dataclass(frozen=True)
class Origin:
    """What all trainings of a table share, and where they run.

    Attributes:
        recipe: as plain data. data: its name. fingerprint: of its content.
        versions: by library. machine: in words.
    """

    recipe: Any
    data: str
    fingerprint: str
    versions: Mapping[str, str]
    machine: str

    @property
    def recipe_digest(self) -> str:
        """The hash of the recipe."""
        return digest(self.recipe)


@dataclass(frozen=True)
class Planned:
    """One training of a survey.

    Attributes:
        key: see `proposals.key_of`. network: the trained network's document.
        labels: further columns of the table.
    """

    key: str
    name: str
    network: Mapping[str, Any]
    images: int
    seed: int
    labels: Mapping[str, Any]


def plan(blocks: Iterable[Block], networks: Sequence[Drawn], origin: Origin) -> list[Planned]:
    """Return the trainings of a survey in order, each once."""
    planned: dict[str, Planned] = {}
    for block in blocks:
        for seed in block.seeds:
            for drawn in networks[: block.networks]:
                key = key_of(drawn.network, origin.recipe, block.images, origin.fingerprint, seed)
                one = Planned(key, drawn.network["name"], drawn.network, block.images, seed, drawn.labels)
                planned.setdefault(key, one)
    return list(planned.values())


class SurveyTable:
    """The finished trainings of a survey in a Parquet file; use it as a context, which holds the folder.

    One row a training. `network` and `sampled` are JSON; accuracies are fractions; `curve_images` and
    `curve_loss` are lists; `seconds` is wall time, `peak_memory` bytes; flops, params and activations are
    the trained network's. The file is replaced whole after each training: what a killed process loses is
    the training that it was in. The weights of complete trainings are kept in the folder `weights`, if one
    is given.
    """

    def __init__(self, path: Path, origin: Origin, weights: Path | None = None) -> None:
        self.path, self.origin, self.weights = path, origin, weights
        self._lock = FolderLock(path.parent)
        self.rows: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self.rows = self._read() if self.path.exists() else []
        except BaseException:
            self._lock.__exit__()
            raise
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._lock.__exit__()

    def _read(self) -> list[dict[str, Any]]:
        frame = read_survey(self.path)
        here = {"recipe": self.origin.recipe_digest, "fingerprint": self.origin.fingerprint}
        for column, wanted in here.items():
            for found in set(frame[column]) - {wanted}:
                raise InputError(
                    f"{self.path} holds trainings of another {_WORDS[column]}: its {column} is {found[:12]}, "
                    f"here it is {wanted[:12]}"
                )
        return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]

    @property
    def keys(self) -> set[str]:
        """The trainings that the table has."""
        return {row["key"] for row in self.rows}

    @property
    def frame(self) -> pd.DataFrame:
        """The table."""
        return pd.DataFrame(self.rows)

    def weights_of(self, key: str) -> Path:
        """Return the file that keeps a training's weights; ValueError for a table that keeps none."""
        if self.weights is None:
            raise ValueError(f"{self.path}: this table keeps no weights")
        return self.weights / f"{key[:16]}.safetensors"

    def keep(self, key: str, written: Path) -> None:
        """Move a training's weights to where they are kept, if they are."""
        if self.weights is not None:
            self.weights.mkdir(exist_ok=True)
            written.replace(self.weights_of(key))

    def add(self, planned: Planned, outcome: Outcome) -> dict[str, Any]:
        """Write a finished training; it is on the disk when this returns its row."""
        row = _row(planned, outcome, self.origin)
        self.rows.append(row)
        write_parquet(self.path, self.frame)
        return row


_WORDS = {"recipe": "recipe", "fingerprint": "data set"}
_OUTCOME = (
    "status",
    "reason",
    "val_accuracy",
    "val_loss",
    "report_accuracy",
    "train_loss_last_quarter",
    "macs",
    "seconds",
    "peak_memory",
    "accumulated",
    "deterministic",
)
_ALWAYS = ("key", "name", "network", "images", "seed", "recipe", "data", "fingerprint", *_OUTCOME)


def read_survey(path: Path) -> pd.DataFrame:
    """Read a survey's table; InputError where it is damaged or another kind of table."""
    return read_parquet(path, _ALWAYS)


def _row(planned: Planned, outcome: Outcome, origin: Origin) -> dict[str, Any]:
    network = from_document(planned.network)
    cost = network.cost()
    return {
        "key": planned.key,
        "name": planned.name,
        "network": json.dumps(planned.network),
        **planned.labels,
        "images": planned.images,
        "seed": planned.seed,
        **{name: getattr(outcome, name) for name in _OUTCOME},
        "curve_images": [images for images, _ in outcome.curve],
        "curve_loss": [loss for _, loss in outcome.curve],
        "flops": cost.flops,
        "params": cost.params,
        "activations": cost.activations,
        "resolution": network.input.size[0],
        "recipe": origin.recipe_digest,
        "data": origin.data,
        "fingerprint": origin.fingerprint,
        "versions": json.dumps(dict(origin.versions)),
        "machine": origin.machine,
    }


class _Course:
    """The trainings under way and those still to begin."""

    def __init__(
        self,
        planned: Iterable[Planned],
        table: SurveyTable,
        engine: Engine,
        on_finished: Callable[[dict[str, Any]], None],
    ) -> None:
        self._table, self._engine, self._on_finished = table, engine, on_finished
        known = table.keys
        self.waiting = deque(one for one in planned if one.key not in known)
        self.running: dict[int, tuple[Planned, Job]] = {}
        self._work = table.path.parent / WORK
        self._jobs = 0

    def begin(self) -> None:
        """Give the engine the next training."""
        one, self._jobs = self.waiting.popleft(), self._jobs + 1
        self._work.mkdir(exist_ok=True)
        file = self._work / one.key[:16]
        weights, checkpoint = (str(file.with_suffix(end)) for end in (".safetensors", ".checkpoint"))
        job = Job(self._jobs, dict(one.network), one.images, one.seed, weights, checkpoint)
        self.running[job.number] = one, job
        self._engine.submit(job)

    def listen(self, seconds: float) -> None:
        """Take in what has happened, waiting at most so long for it."""
        for event in self._engine.wait(seconds):
            if isinstance(event, Finished):
                self._take(event)

    def _take(self, event: Finished) -> None:
        one, job = self.running.pop(event.job)
        if event.outcome.status == "interrupted":
            return  # its checkpoint stays for the next call
        if event.outcome.status == "complete":
            self._table.keep(one.key, Path(job.weights))  # before the row, which promises them
        Path(job.weights).unlink(missing_ok=True)
        self._on_finished(self._table.add(one, event.outcome))

    def interrupt(self) -> None:
        """Let the trainings under way write their checkpoints."""
        self._engine.stop()
        end = time.monotonic() + CHECKPOINT_PATIENCE
        while self.running and time.monotonic() < end:
            self.listen(end - time.monotonic())

    def tidy(self) -> None:
        """Remove the folder of checkpoints where none is left."""
        with suppress(OSError):
            self._work.rmdir()


def carry_out(
    planned: Iterable[Planned],
    table: SurveyTable,
    engine: Engine,
    *,
    on_finished: Callable[[dict[str, Any]], None] = lambda _row: None,
    stop_requested: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> Ending:
    """Run the trainings that the table lacks, in order; return what ended it.

    Failed trainings are recorded and not tried again. At the `deadline` (of time.monotonic) or a stop the
    trainings under way are checkpointed, and the next call continues them. `on_finished` is told each new
    row.
    """
    course = _Course(planned, table, engine, on_finished)
    ending: Ending = "done"
    while course.waiting or course.running:
        if stop_requested():
            ending = "stopped"
        elif deadline is not None and time.monotonic() >= deadline:
            ending = "time"
        if ending != "done":
            course.interrupt()
            break
        while course.waiting and engine.idle:
            course.begin()
        course.listen(0.2)
    course.tidy()
    return ending
