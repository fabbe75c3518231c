"""One call of `run`: documents and data resolved, the folder held, the driver run, the outputs written."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from scalesearch import documents
from scalesearch.cli.definition import Request, check_reachable, define, run_folder
from scalesearch.cli.evaluation import make_evaluate
from scalesearch.cli.options import seconds
from scalesearch.cli.outputs import notice, published_networks, stored_report, write_outputs
from scalesearch.cli.progress import DataProgress, SearchProgress
from scalesearch.cli.studyfile import belongs, stored_source
from scalesearch.cli.words import budget_text, exhausted_text, found_text
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver, ranked
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.proposals import PATIENCE
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition, Limits
from scalesearch.training.data import DataSet, load


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
        check_reachable(request, self.space)

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Run the search; return the report and the exit code."""
        from scalesearch.training.process import choose_device, choose_workers

        device = choose_device(self.request.device)
        workers = self.request.workers or choose_workers(device)
        data = self._load_data()
        check_reachable(self.request, self.space, len(data.classes))
        definition = define(self.request, self.space, self.recipe, data, workers)
        folder = run_folder(self.request, definition)
        self._announce(definition, data, folder)
        with RunStore(folder, self.console.print) as store:
            definition = belongs(self.request, definition, store)
            limits = self.limits
            if _satisfied(definition, store, limits):
                self._say_finished(store)
                report = stored_report(folder) or write_outputs(definition, store, self.references)
                return self._conclude(report, folder, stopped=False)
            make = partial(make_evaluate, data.folder, self.recipe, device, _threads(device, workers))
            stopped = self._drive(definition, store, limits, workers, make, stop_requested)
            return self._conclude(write_outputs(definition, store, self.references), folder, stopped)

    # Resolving

    def _load_data(self) -> DataSet:
        out = self.request.out
        source = self.request.data or (stored_source(Path(out)) if out is not None else None)
        with DataProgress(self.console) as progress:
            data = load(source, progress=progress)
        if data.skipped:
            shown = ", ".join(data.skipped[:3])
            self.console.print(f"{len(data.skipped)} images could not be decoded and are left out: {shown}")
        return data

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
        self.console.print(
            f"{budget_text(self.request.budgets, definition.limits)}\n"
            f"space {self.space.name}: {self.space.bases():.1e} bases; data {data.name}, "
            f"{len(data.train):,} training images; run folder {folder}",
            highlight=False,
        )

    def _say_finished(self, store: RunStore) -> None:
        over = store.events[-1]["ending"] == "exhausted"
        more = "" if over else "; more --trials or --time extends it"
        self.console.print(f"this search is finished{more}")

    def _conclude(self, report: dict[str, Any], folder: Path, stopped: bool) -> tuple[dict[str, Any], int]:
        exhausted = exhausted_text(report, self.space.name, PATIENCE)
        if exhausted is not None:
            self.console.print(exhausted, highlight=False)
        if report["best"] is not None:
            self.console.print(found_text(report, folder), highlight=False)
        elif any(report["trials"].values()) or exhausted is None:
            self.console.print("no candidate completed a training yet, so there is no result")
        return report, 130 if stopped else int(report["best"] is None)


def _satisfied(definition: Definition, store: RunStore, limits: Limits) -> bool:
    """Return whether a former call already did all that these limits ask for.

    A record that goes on after its last end belongs to a call that was killed.
    """
    if not store.events or store.events[-1]["event"] != "ended" or store.events[-1]["ending"] == "stopped":
        return False
    exhausted: bool = store.events[-1]["ending"] == "exhausted"
    searched = [t for t in store.finished if t.role == "search" and t.repeats is None]
    if not any(trial.complete for trial in searched):
        return exhausted
    if exhausted or limits.trials is not None:
        enough = exhausted or len(searched) >= (limits.trials or 0)
        return enough and _finalists_done(definition, store)
    by_time = [event["time"] for event in store.events if event.get("ending") == "time"]
    return any(time >= (limits.time or 0) for time in by_time)


def _finalists_done(definition: Definition, store: RunStore) -> bool:
    """Return whether every finalist had all its trainings, which a stop or the time may have cut off."""
    finals = definition.study.finals
    trained = Counter(trial.number for trial in store.finished if trial.role == "final")
    finalists = ranked(store.finished)[: finals.candidates]
    return all(trained[finalist.number] >= finals.seeds for finalist in finalists)


def _threads(device: str, workers: int) -> int:
    from scalesearch.training.process import usable_cores

    return max(1, usable_cores() // workers) if device == "cpu" else 1


def _machine(workers: int) -> str:
    return f"{platform.machine()} {platform.system()}, {workers} trainings at once"
