"""One call of `run`: documents and data resolved, the folder held, the driver run, the outputs written."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from scalesearch import documents
from scalesearch.architecture.space import SearchSpace
from scalesearch.cli.evaluation import make_evaluate
from scalesearch.cli.options import seconds
from scalesearch.cli.outputs import notice, published_networks, stored_report, write_outputs
from scalesearch.cli.progress import DataProgress, SearchProgress
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import STUDY, RunStore, write_atomically
from scalesearch.search.study import Definition, Limits, Study, digest
from scalesearch.search.trust import SeedNoise
from scalesearch.training.data import DataSet, load

RUNS = Path("runs")
# What a study's results do not depend on, or what is stored resolved.
FREE = ("time", "lag", "dashboard", "description")


@dataclass(frozen=True)
class Request:
    """What the command line asks for; `time` in seconds, `out` the run folder."""

    study: Study
    budget: float
    data: str | None
    trials: int | None
    time: float | None
    device: str
    workers: int
    out: str | None


class Session:
    """Resolves a request step by step; bad input ends it with InputError before anything is written."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.console = Console(stderr=True)
        self.space = documents.load_space(request.study.space)
        self.recipe = documents.load_recipe(request.study.recipe)
        documents.load_layout(request.study.dashboard)
        self.references = published_networks()
        self.limits = self._limits()
        if self.space.document.get("dims", 2) != 2 or self.space.document.get("in_channels", 3) != 3:
            raise InputError(
                f"--space: a search trains on colour images, but {self.space.name} is for others"
            )
        _check_reachable(self.space, request.budget)

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Run the search; return the report and the exit code."""
        from scalesearch.training.process import choose_device, choose_workers

        device = choose_device(self.request.device)
        workers = self.request.workers or choose_workers(device)
        data = self._load_data()
        definition = self._define(data, workers)
        _check_reachable(self.space, self.request.budget, definition.classes)
        folder = self._folder(definition)
        self._announce(definition, data, folder)
        with RunStore(folder, self.console.print) as store:
            definition = self._belongs(definition, store)
            limits = self.limits
            if _satisfied(definition, store, limits):
                self.console.print("this search is finished; more --trials or --time extends it")
                report = stored_report(folder) or write_outputs(definition, store, self.references)
                return self._conclude(report, folder, stopped=False)
            make = partial(make_evaluate, data.folder, self.recipe, device, _threads(device, workers))
            stopped = self._drive(definition, store, limits, workers, make, stop_requested)
            return self._conclude(write_outputs(definition, store, self.references), folder, stopped)

    # Resolving

    def _load_data(self) -> DataSet:
        source = self.request.data or self._stored_source()
        with DataProgress(self.console) as progress:
            data = load(source, progress=progress)
        if data.skipped:
            shown = ", ".join(data.skipped[:3])
            self.console.print(f"{len(data.skipped)} images could not be decoded and are left out: {shown}")
        return data

    def _stored_source(self) -> str | None:
        """Return the data that a run in the asked folder was created with: a resumed run keeps them."""
        if self.request.out is None:
            return None
        path = Path(self.request.out) / STUDY
        return _stored_study(path)["data"]["source"] if path.is_file() else None

    def _define(self, data: DataSet, workers: int) -> Definition:
        study = self.request.study
        resolved = {
            "study": {name: value for name, value in asdict(study).items() if name not in FREE},
            "budget_flops": self.request.budget,
            "space": documents.plain(self.space),
            "recipe": asdict(self.recipe),
            "data": {
                "name": data.name,
                "train_images": len(data.train),
                "val_images": len(data.select) + len(data.report),
                "classes": list(data.classes),
                "fingerprint": data.fingerprint,
                "demonstration": data.demonstration,
                "skipped": len(data.skipped),
            },
        }
        return Definition(
            study=study,
            space=self.space,
            policy=self.recipe.proxy,
            levels=tuple(level * self.request.budget for level in study.levels),
            limits={},
            lag=study.lag or 2 * workers,
            classes=len(data.classes),
            resolution=data.resolution,
            report_images=len(data.report),
            seed_noise=SeedNoise(self.recipe.seed_deviation, self.recipe.seed_trainings - 1),
            resolved=documents.plain(resolved),
        )

    def _folder(self, definition: Definition) -> Path:
        if self.request.out is not None:
            return Path(self.request.out)
        name = f"{definition.study.name}-{definition.budget:g}".replace("+", "")
        return RUNS / f"{name}-{definition.digest[:8]}"

    def _belongs(self, definition: Definition, store: RunStore) -> Definition:
        """Write the study document of a new run, or check that an old one is the same study."""
        path = store.folder / STUDY
        if not path.exists():
            if store.events:
                raise InputError(
                    f"{store.folder} has a record but no {STUDY}: whose trials it holds is unknown"
                )
            source = self.request.data if self.request.data is None else str(self.request.data)
            stored = definition.resolved | {"lag": definition.lag}
            stored["data"] = definition.resolved["data"] | {"source": source or _kept_source(definition)}
            write_atomically(path, documents.write_text(stored))
            return definition
        stored = _stored_study(path)
        stored["data"].pop("source", None)
        lag = stored.pop("lag")
        different = sorted(_differences(stored, definition.resolved))
        if different:
            raise InputError(f"{store.folder} belongs to another study; it differs in {'; '.join(different)}")
        return replace(definition, lag=lag)

    def _limits(self) -> Limits:
        request = self.request
        if request.time is None and request.trials is None:
            return Limits(seconds(request.study.time), None)
        return Limits(request.time, request.trials)

    # Running

    def _drive(
        self,
        definition: Definition,
        store: RunStore,
        limits: Limits,
        workers: int,
        make: Callable[[], Any],
        stop_requested: Callable[[], bool],
    ) -> bool:
        started = time.monotonic()
        with (
            LocalEngine(workers, make) as engine,
            SearchProgress(self.console, definition, limits) as progress,
        ):
            driver = Driver(definition, store, engine, progress, stop_requested)
            ending = driver.run(limits)
        store.append(
            "ended",
            ending=ending,
            seconds=time.monotonic() - started,
            time=limits.time,
            trials=limits.trials,
            machine=_machine(workers),
        )
        return ending == "stopped"

    # Telling

    def _announce(self, definition: Definition, data: DataSet, folder: Path) -> None:
        warning = notice(definition.resolved["data"])
        if warning:
            self.console.print(f"[bold yellow]{warning}[/bold yellow]")
        budget = definition.budget
        self.console.print(
            f"budget {budget:,.0f} multiply-accumulates of the deployed network "
            f"(FLOPs as papers count them; {2 * budget:,.0f} at two operations each)\n"
            f"space {self.space.name}: {self.space.bases():.1e} bases; data {data.name}, "
            f"{len(data.train):,} training images; run folder {folder}",
            highlight=False,
        )

    def _conclude(self, report: dict[str, Any], folder: Path, stopped: bool) -> tuple[dict[str, Any], int]:
        best = report["best"]
        if best is None:
            self.console.print("no candidate completed a training yet, so there is no result")
            return report, 130 if stopped else 1
        low, high = best["proxy_interval"]
        ties = f"; trials {', '.join(map(str, best['ties']))} are ties" if best["ties"] else ""
        self.console.print(
            f"best: trial {best['trial']}, {best['pattern']}\n"
            f"  deployed: {best['flops']:,} FLOPs ({best['budget_share']:.1%} of the budget), "
            f"{best['params']:,} parameters, {best['activations']:,} activations at {best['resolution']} px\n"
            f"  its proxy: {best['proxy_accuracy']:.1%} validation accuracy "
            f"[{low:.1%}, {high:.1%}], n = {best['proxy_seeds']}{ties}\n"
            f"  {folder / best['network']}  {folder / 'dashboard.html'}",
            highlight=False,
        )
        return report, 130 if stopped else 0


def _check_reachable(space: SearchSpace, budget: float, classes: int = 1) -> None:
    """Raise InputError where no network of the space is within the budget; before the data, for one class."""
    smallest = space.smallest(classes)
    if budget < smallest:
        raise InputError(
            f"--budget-flops: the smallest network of the space {space.name} costs {smallest:,} "
            f"multiply-accumulates, but the budget is {budget:,.0f}"
        )


def _satisfied(definition: Definition, store: RunStore, limits: Limits) -> bool:
    """Return whether a former call already did all that these limits ask for."""
    ended = [event for event in store.events if event["event"] == "ended"]
    if not ended or ended[-1]["ending"] == "stopped":
        return False
    if ended[-1]["ending"] == "exhausted":
        return True
    searched = [t for t in store.finished if t.role == "search" and t.repeats is None]
    if not any(trial.complete for trial in searched):
        return False
    if limits.trials is not None:
        return len(searched) >= limits.trials
    by_time = [event["time"] for event in ended if event["ending"] == "time"]
    return any(time >= (limits.time or 0) for time in by_time)


def _stored_study(path: Path) -> dict[str, Any]:
    stored = documents.read(path)
    if not isinstance(stored.get("data"), dict) or "lag" not in stored:
        raise InputError(
            f"{path}: a run folder's study document has data and lag, but this is another document"
        )
    return stored


def _kept_source(definition: Definition) -> str | None:
    return "digits" if definition.resolved["data"]["demonstration"] else None


def _differences(stored: Any, wanted: Any, path: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(wanted, dict):
        keys = sorted(set(stored) | set(wanted))
        return [
            line
            for key in keys
            for line in _differences(stored.get(key), wanted.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if digest(stored) == digest(wanted) else [f"{path}: {stored!r} there, {wanted!r} here"]


def _threads(device: str, workers: int) -> int:
    from scalesearch.training.process import usable_cores

    return max(1, usable_cores() // workers) if device == "cpu" else 1


def _machine(workers: int) -> str:
    return f"{platform.machine()} {platform.system()}, {workers} trainings at once"
