"""What the commands that carry out a fixed list of trainings share: data, workers, table, folder, telling."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from scalesearch import documents
from scalesearch.cli.definition import RUNS
from scalesearch.cli.evaluation import make_evaluate
from scalesearch.cli.plan import SHORT_TIME, settings_of, staff
from scalesearch.cli.progress import DataProgress
from scalesearch.cli.provenance import notice, versions
from scalesearch.cli.words import count_text, duration_text
from scalesearch.search.engines import Engine, Evaluate
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.survey import Ending, Origin, Planned, SurveyTable, carry_out
from scalesearch.training.calibration import machine
from scalesearch.training.data import DataSet, load
from scalesearch.training.graph import DEFAULT
from scalesearch.training.process import choose_device, usable_cores

TABLE = "trainings.parquet"

MakeEngine = Callable[[int, Callable[[], Evaluate]], AbstractContextManager[Engine]]


@dataclass(frozen=True)
class Call:
    """Where the trainings of a call run, and for how long.

    `time` in seconds, `workers` 0 for auto, `out` the folder.
    """

    data: str | None
    time: float | None
    device: str
    workers: int
    out: str | None


@dataclass(frozen=True)
class Ground:
    """The device that is chosen, the data, and what all trainings of the table share."""

    device: str
    data: DataSet
    origin: Origin

    @property
    def notice(self) -> str | None:
        """The heading of results on stand-in data."""
        return notice({"demonstration": self.data.demonstration, "name": self.data.name})

    def described(self) -> dict[str, Any]:
        """Return what a report says of data and versions, as plain data."""
        data = {"name": self.data.name, "fingerprint": self.data.fingerprint, "notice": self.notice}
        return {"data": data, "versions": versions()}


class SurveySession:
    """Resolves a call step by step; bad input ends it with InputError before anything is written.

    `engine` is where trainings run: made of a number of workers and of what builds their evaluators.
    """

    def __init__(self, call: Call, recipe: str = "proxy", engine: MakeEngine = LocalEngine) -> None:
        self.call, self._engine = call, engine
        self.console = Console(stderr=True)
        self.recipe = documents.load_recipe(recipe)

    def _open(self) -> Ground:
        """Choose the device and load the data, and tell where these only stand in for photographs."""
        device = choose_device(self.call.device)
        settings_of(self.call.workers, device, usable_cores())
        with DataProgress(self.console) as progress:
            data = load(self.call.data, progress=progress)
        here = machine(device)
        words = here["cpu"] if here["device"] == "cpu" else f"{here['device']}, {here['cpu']}"
        recipe = documents.plain(asdict(self.recipe))
        ground = Ground(device, data, Origin(recipe, data.name, data.fingerprint, versions(), words))
        if ground.notice:
            self._say(ground.notice)
        return ground

    def _folder(self, name: str, key: str) -> Path:
        return Path(self.call.out) if self.call.out is not None else RUNS / f"{name}-{key[:8]}"

    # Training

    def _announce(self, what: str, planned: Sequence[Planned], table: SurveyTable) -> None:
        left = [one for one in planned if one.key not in table.keys]
        self._say(
            f"{what}: {count_text(len(planned), 'training')} of "
            f"{count_text(len({one.name for one in planned}), 'network')}, "
            f"{sum(one.images for one in planned):,} images; {len(left):,} left, "
            f"{sum(one.images for one in left):,} images; folder {table.path.parent}"
        )

    def _train(
        self,
        planned: Sequence[Planned],
        table: SurveyTable,
        ground: Ground,
        stop_requested: Callable[[], bool],
    ) -> Ending:
        if table.keys >= {one.key for one in planned}:
            return "done"
        limit = self.call.time
        chosen = staff(
            self.call.workers,
            ground.device,
            short=limit is not None and limit < SHORT_TIME,
            say=self._say,
            peak_memory=max((int(row["peak_memory"]) for row in table.rows), default=0),
        ).setting
        make = partial(make_evaluate, ground.data.folder, self.recipe, ground.device, chosen.threads, DEFAULT)
        with self._engine(chosen.workers, make) as engine:
            return carry_out(
                planned,
                table,
                engine,
                on_finished=partial(self._say_finished, {one.key for one in planned}, table),
                stop_requested=stop_requested,
                deadline=None if limit is None else time.monotonic() + limit,
            )

    def _say_finished(self, planned: set[str], table: SurveyTable, row: dict[str, Any]) -> None:
        what = f"{row['name']}, {row['images']:,} images, seed {row['seed']}"
        if row["status"] == "complete":
            found = f"loss {row['val_loss']:.4f}, {row['val_accuracy']:.1%}, {duration_text(row['seconds'])}"
        else:
            found = f"{row['status']}: {row['reason']}"
        self._say(f"{len(table.keys & planned)} of {len(planned)}: {what}: {found}")

    def _say_stopped(self, planned: Sequence[Planned], table: SurveyTable) -> int:
        """Tell how many trainings are left, and return it."""
        left = sum(one.key not in table.keys for one in planned)
        self._say(f"stopped; {count_text(left, 'training')} left: the same command continues")
        return left

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def finished_of(planned: Sequence[Planned], table: SurveyTable) -> list[dict[str, Any]]:
    """Return the rows of the planned trainings: a table may hold others."""
    keys = {one.key for one in planned}
    return [row for row in table.rows if row["key"] in keys]
