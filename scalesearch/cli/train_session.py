"""One call of `train`: documents and data resolved, the folder held, the network trained, models written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from scalesearch import documents
from scalesearch.architecture.network import Network
from scalesearch.cli.coefficients_session import check_image_network
from scalesearch.cli.definition import RUNS
from scalesearch.cli.folder import read_json
from scalesearch.cli.progress import DataProgress
from scalesearch.cli.provenance import notice
from scalesearch.cli.show import with_options
from scalesearch.cli.target import Target, resolve
from scalesearch.cli.train_progress import TrainProgress
from scalesearch.cli.train_report import BEST, LAST, epoch_text, facts, found_text, make_report
from scalesearch.cli.train_request import TrainRequest
from scalesearch.errors import InputError
from scalesearch.handover.model import Model, is_model, write_model
from scalesearch.search.lock import LOCK, FolderLock
from scalesearch.search.store import write_atomically, writing
from scalesearch.search.study import digest
from scalesearch.training.data import DataSet, load
from scalesearch.training.full.checkpoint import check_same
from scalesearch.training.full.distributed import Ranks, joined, own_device
from scalesearch.training.full.logs import Logs, check_tensorboard
from scalesearch.training.full.loop import train_fully
from scalesearch.training.full.recipe import FullRecipe
from scalesearch.training.full.result import Trained
from scalesearch.training.full.steps import check_beginning
from scalesearch.training.full.task import Task
from scalesearch.training.full.transfer import TORCHVISION, parse_freeze
from scalesearch.training.process import choose_device, prepare_process, usable_cores

TRAINING, METRICS = "training.yaml", "metrics.json"
MOST_LOADERS = 8

Report = dict[str, Any]


class TrainSession:
    """Resolves a request step by step; bad input ends it with InputError before anything is written.

    Started by torchrun there is one session a process; the first alone writes and speaks.
    """

    def __init__(self, request: TrainRequest) -> None:
        self.request = request
        self.console = Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")
        self.recipe = _recipe(request)
        target = resolve(request.network)
        self.origin, self.unused = target.origin, _unused(request.network, target)
        self.network = with_options(target.network, request.resolution, None)
        check_image_network(self.network)
        parse_freeze(request.freeze, self.network)
        self.device = own_device(choose_device(request.device))
        if request.tensorboard:
            check_tensorboard()
        self.threads = _threads()
        prepare_process(self.threads)

    def run(self, stop_requested: Callable[[], bool]) -> tuple[Report | None, int]:
        """Train, or go on; return the report (None in all processes but the first) and the exit code."""
        with joined(self.device) as ranks:
            task = ranks.in_turn(lambda: self._prepared(ranks))
            key = task.key(ranks.world)
            folder = self._folder(key)
            with self._held(folder, ranks):
                if ranks.first:
                    self._announce(task, key, folder)
                stored = ranks.first_says(self._finished(folder) if ranks.first else None)
                if stored is not None:
                    self._say("this training is finished")
                report = stored or self._trained(task, key, folder, ranks, stop_requested)
                code = self._conclude(report, folder)
                return (report if ranks.first else None), code

    # Resolving

    def _prepared(self, ranks: Ranks) -> Task:
        task = self._task(self._load_data())
        check_beginning(task, ranks)
        return task

    def _load_data(self) -> DataSet:
        side = max(self.network.input.size)
        with DataProgress(self.console) as progress:
            data = load(self.request.data, side=side, progress=progress)
        for count, what in (
            (data.skipped, "images could not be decoded and are left out"),
            (data.ignored, "other files were not taken for images"),
        ):
            if count:
                self._say(f"{len(count)} {what}: {', '.join(count[:3])}")
        return data

    def _task(self, data: DataSet) -> Task:
        request = self.request
        return Task(
            network=_with_classes(self.network, data),
            data=data,
            recipe=self.recipe,
            seed=request.seed,
            device=self.device,
            weights=_weights(request.weights),
            freeze=request.freeze,
            loader_workers=self._loaders(),
        )

    def _loaders(self) -> int:
        if self.request.loader_workers is not None:
            return self.request.loader_workers
        # On the CPU the cores have enough to do with the network.
        return min(MOST_LOADERS, self.threads) if self.device.type == "cuda" else 0

    def _folder(self, key: dict[str, Any]) -> Path:
        if self.request.out is not None:
            return Path(self.request.out)
        # Another number of processes is refused there, not begun anew beside it.
        same = {name: value for name, value in key.items() if name != "processes"}
        # Former versions' digest held the network's name.
        named = same | {"network": key["network"] | {"name": self.network.name}}
        for hashed in (digest(same), digest(named)):
            for folder in sorted(RUNS.glob(f"train_*_{hashed[:8]}")):
                return folder
        name = re.sub(r"[^\w.-]", "_", self.network.name)
        return RUNS / f"train_{name}_{digest(same)[:8]}"

    # Folder

    def _held(self, folder: Path, ranks: Ranks) -> AbstractContextManager[Any]:
        return FolderLock(folder) if ranks.first else nullcontext()

    def _announce(self, task: Task, key: dict[str, Any], folder: Path) -> None:
        """Write what this folder's training is, or check that it is this one; tell what begins."""
        path = folder / TRAINING
        if path.exists():
            check_same(folder, documents.read(path).get("training"), key)
        elif any(one.name != LOCK and one.name[0] != "." for one in folder.iterdir()):
            raise InputError(f"--out: a training has a folder for itself, but {folder} holds something else")
        else:
            write_atomically(path, documents.write_text({"schema": 1, "training": key}))
        if self.unused and task.weights is None:
            self._say(self.unused)
        warning = notice({"demonstration": task.data.demonstration, "name": task.data.name})
        if warning:
            self.console.print(f"[bold yellow]{warning}[/bold yellow]")
        size, cost = "x".join(map(str, task.network.input.size)), task.network.cost()
        self._say(
            f"{task.network.name}: {cost.flops:,} FLOPs, {cost.params:,} parameters at {size} px; "
            f"data {task.data.name}, {len(task.data.train):,} training images of {task.data.resolution} px; "
            f"{task.recipe.epochs} epochs on {self.device}; folder {folder}"
        )

    def _finished(self, folder: Path) -> Report | None:
        path = folder / METRICS
        stored = read_json(path) if path.is_file() else {"status": None}
        return stored if stored["status"] == "complete" else None

    # Training

    def _trained(
        self, task: Task, key: Report, folder: Path, ranks: Ranks, stop_requested: Callable[[], bool]
    ) -> Report:
        own = folder if ranks.first else None
        with (
            Logs(own, tensorboard=self.request.tensorboard, tell=self._tell_epoch) as logs,
            TrainProgress(self.console) as progress,
            writing(folder),
        ):
            trained = train_fully(
                task, folder, ranks=ranks, logs=logs, should_stop=stop_requested, on_progress=progress
            )
        report = make_report(task, key, trained, self.origin, self.threads)
        if ranks.first:
            self._write(folder, task, trained, report)
        return report

    def _write(self, folder: Path, task: Task, trained: Trained, report: Report) -> None:
        models = {BEST: trained.weights, LAST: trained.last}
        with writing(folder):
            for name, weights in models.items():
                if weights is not None:
                    known = facts(report, name)
                    model = Model(task.network, weights, task.data.classes, trained.mean, trained.std, known)
                    write_model(folder / name, model)
        write_atomically(folder / METRICS, json.dumps(report, indent=1) + "\n")

    # Telling

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _tell_epoch(self, row: dict[str, Any]) -> None:
        self._say(epoch_text(row, self.recipe.epochs))

    def _conclude(self, report: Report, folder: Path) -> int:
        if report["status"] == "failed":
            self._say(f"failed: {report['reason']}")
        self._say(found_text(report))
        if report["status"] == "interrupted":
            self._say("stopped: the same command continues")
        if report["best"] is not None:
            self._say(f"  {folder / BEST}")
        return {"complete": 0, "failed": 1, "interrupted": 130}[report["status"]]


def _with_classes(network: Network, data: DataSet) -> Network:
    return with_options(network, None, len(data.classes))


def _unused(asked: str, target: Target) -> str:
    """Return the line that a model's own weights are not begun with; "" where it has none."""
    if target.model.weights is None:
        return ""
    folder = asked if is_model(Path(asked)) else "FOLDER"
    return (
        f"the weights of {target.origin} are not used, the training begins afresh: "
        f"--weights {folder} begins with those of a model's folder"
    )


def _weights(asked: str | None) -> str | None:
    """Return the weights that are asked for; of a training's folder they are its best model's."""
    if asked in (None, TORCHVISION):
        return asked
    folder = Path(asked)
    return str(folder / BEST) if not is_model(folder) and is_model(folder / BEST) else asked


def _recipe(request: TrainRequest) -> FullRecipe:
    """Return the recipe with what the options ask for instead."""
    recipe = documents.load_full_recipe(request.recipe or ("transfer" if request.weights else "full"))
    if request.epochs is not None:
        recipe = recipe.over(request.epochs)
    for option, (name, value) in request.changes.items():
        try:
            recipe = replace(recipe, **{name: value})
        except ValueError as error:
            raise InputError(f"{option}: {error}") from error
    return recipe


def _threads() -> int:
    """Return the CPU threads of this process: what torch or the user chose, or a share of the cores."""
    shared = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return torch.get_num_threads() if shared == 1 else max(1, usable_cores() // shared)
