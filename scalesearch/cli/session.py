"""One call of `run`: documents and data resolved, the folder held, the driver run, the outputs written."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from scalesearch import documents
from scalesearch.architecture.latency import LatencyModel
from scalesearch.cli.definition import Request, check_reachable, define, run_folder, run_name, warm_starts
from scalesearch.cli.engines import RAY, make_engine, staff_ray
from scalesearch.cli.options import seconds
from scalesearch.cli.outputs import published_networks, stored_report, write_outputs
from scalesearch.cli.progress import DataProgress, SearchProgress
from scalesearch.cli.provenance import notice
from scalesearch.cli.run_report import REPORT
from scalesearch.cli.studyfile import belongs, stored_source
from scalesearch.cli.words import (
    budget_text,
    count_text,
    evidence_lines,
    exhausted_text,
    found_text,
    ratio_text,
)
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import HANGING
from scalesearch.search.records import TrialRecord
from scalesearch.search.samplers import PATIENCE
from scalesearch.search.selection import final_rung, ranked
from scalesearch.search.store import STUDY, RunStore, writing
from scalesearch.search.study import Definition, Limits
from scalesearch.training.data import DataSet, load
from scalesearch.training.graph import Execution, check_compiler

if TYPE_CHECKING:
    from scalesearch.cli.plan import Staff
    from scalesearch.training.calibration import Setting

QUICK = ("network", "card")  # forms that are written in a moment


class Session:
    """Resolves a request step by step; bad input ends it with InputError before anything is written.

    `on_driven` is told when the search has ended: nobody asks for a stop while its outputs are written.
    """

    def __init__(
        self,
        request: Request,
        fork: bool = False,
        patience: float = HANGING,
        on_driven: Callable[[], None] = lambda: None,
    ) -> None:
        self.request, self._fork, self._patience, self._on_driven = request, fork, patience, on_driven
        self._cluster: Setting | None = None
        if request.storage is not None:
            from scalesearch.search.storages.address import read_address  # SQLAlchemy

            read_address(request.storage)  # a wrong one ends the command before it reads data
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
        self.starts, left_out = warm_starts(request, self.space)
        if left_out:
            self._say(f"no start, as the space {self.space.name} does not hold them: {', '.join(left_out)}")

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Run the search; return the report and the exit code."""
        device = self._look_at_place()
        data = self._load_data()
        check_reachable(self.request, self.space, len(data.classes))
        # Nothing that names the folder depends on the workers: they are chosen where there is work to do.
        latency = self._latency_model(device)
        definition = self._define(data, latency, workers=1)
        asked = run_folder(self.request, definition)
        folder = self._forked(asked, definition) if self._fork else asked
        self._announce(definition, data, folder)
        with RunStore(folder, self._say) as store:
            chosen = None
            if not (folder / STUDY).exists():
                chosen = self._staff(device, store)
                definition = self._define(data, latency, chosen.setting.workers)
            definition = belongs(self.request, definition, store)
            if folder != asked:
                self._take_over(asked, store)
            if _satisfied(definition, store, self.limits):
                self._say_finished(store)
                report = self._stored(folder) or self._write(definition, store, quick=self._trains_best)
                return self._finish(definition, store, report, stop_requested)
            chosen = chosen or self._staff(device, store)
            stopped = self._drive(definition, store, chosen, device, data, stop_requested)
            self._on_driven()
            report = self._write(definition, store, quick=stopped or self._trains_best)
            if stopped:
                return self._conclude(report, folder, stopped)
            return self._finish(definition, store, report, stop_requested)

    def _look_at_place(self) -> str:
        """Return the device that trainings run on; bad options end here, before anything is read."""
        from scalesearch.cli.plan import settings_of
        from scalesearch.training.process import choose_device, usable_cores

        request = self.request
        if request.place.engine == RAY:
            self._cluster, device = staff_ray(request.place, request.workers, request.device)
            return device
        device = choose_device(request.device)
        settings_of(request.workers, device, usable_cores())
        if request.compile:
            check_compiler(device)
        return device

    @property
    def _trains_best(self) -> bool:
        return self.request.final_epochs is not None

    def _write(self, definition: Definition, store: RunStore, *, quick: bool) -> dict[str, Any]:
        """Write the outputs; `quick` leaves the forms that take long to the next call.

        Who stops a run waits for it, and what is trained at the end is exported then.
        """
        forms = tuple(form for form in self.request.forms if form in QUICK or not quick)
        with writing(store.folder):
            return write_outputs(definition, store, self.references, forms, self._say)

    def _finish(
        self,
        definition: Definition,
        store: RunStore,
        report: dict[str, Any],
        stop_requested: Callable[[], bool],
    ) -> tuple[dict[str, Any], int]:
        """Train the deployed network where that is asked for; return the report and the exit code."""
        epochs = self.request.final_epochs
        if epochs is None or report["best"] is None:
            return self._conclude(report, store.folder, stopped=False)
        from scalesearch.cli.final import train_final

        code = train_final(self.request, store.folder, report["best"]["trial"], epochs, stop_requested)
        report = self._write(definition, store, quick=bool(code))
        found, own = self._conclude(report, store.folder, stopped=False)
        return found, code or own

    def _stored(self, folder: Path) -> dict[str, Any] | None:
        """Return the stored report, or None where the outputs lack something that is asked for now.

        A damaged one is kept beside, and written again from the record.
        """
        from scalesearch.cli.best import exported

        try:
            report = stored_report(folder)
        except (OSError, ValueError):
            backup = folder / f"{REPORT}.damaged"
            if (folder / REPORT).exists():
                (folder / REPORT).replace(backup)
            self._say(f"{folder / REPORT} is damaged or missing: it is written again from the record")
            return None
        whole = report is not None and (report["best"] is None or exported(folder, self.request.forms))
        return report if whole else None

    # Forking

    def _forked(self, folder: Path, definition: Definition) -> Path:
        """Return the folder of a changed study, beside the one that it takes over from."""
        if not (folder / STUDY).is_file():
            raise InputError(f"--fork: {folder} holds no run that a changed study could take over from")
        with RunStore(folder, self._say) as store:
            try:
                belongs(self.request, definition, store)
            except InputError as difference:
                self._say(f"forked: {difference}")
                return folder.with_name(f"{folder.name}-{definition.digest[:8]}")
        return folder

    def _take_over(self, source: Path, store: RunStore) -> None:
        """Take over the other run's trainings; their keys say which of them are this study's (D12)."""
        compiled = [documents.read(folder / STUDY).get("compile") for folder in (source, store.folder)]
        if compiled[0] != compiled[1]:  # networks round differently, which keys do not tell
            self._say("no training is taken over, as one of the studies compiles its networks")
            return
        with RunStore(source, self._say) as other:
            count = store.take_over(other)
        self._say(f"{count_text(count, 'training')} of {source} may be used instead of being repeated")

    # Resolving

    def _define(self, data: DataSet, latency: LatencyModel | None, workers: int) -> Definition:
        return define(self.request, self.space, self.recipe, data, workers, self.starts, latency)

    def _latency_model(self, device: str) -> LatencyModel | None:
        """Return the model that predicts latency, where the study needs one."""
        if not self.request.needs_latency:
            return None
        from scalesearch.cli.latency_session import model_for

        return model_for(self.request, device, self._say)

    def _load_data(self) -> DataSet:
        out = self.request.out
        source = self.request.data or (stored_source(Path(out)) if out is not None else None)
        with DataProgress(self.console) as progress:
            data = load(source, progress=progress)
        if data.skipped:
            shown = ", ".join(data.skipped[:3])
            self.console.print(f"{len(data.skipped)} images could not be decoded and are left out: {shown}")
        if data.ignored:
            shown = ", ".join(data.ignored[:3])
            self.console.print(f"{len(data.ignored)} other files were not taken for images: {shown}")
        return data

    def _limits(self) -> Limits:
        request = self.request
        if request.time is None and request.trials is None:
            return Limits(seconds(request.study.time), None)
        return Limits(request.time, request.trials)

    def _staff(self, device: str, store: RunStore) -> Staff:
        from scalesearch.cli.plan import Staff, is_short, staff

        if self._cluster is not None:
            return Staff(self._cluster, None)
        return staff(
            self.request.workers,
            device,
            short=is_short(self.limits, self.request.study.rungs[0]),
            say=self._say,
            peak_memory=max((trial.outcome.peak_memory for trial in store.finished), default=0),
        )

    # Running

    def _drive(
        self,
        definition: Definition,
        store: RunStore,
        chosen: Staff,
        device: str,
        data: DataSet,
        stop_requested: Callable[[], bool],
    ) -> bool:
        started, limits, setting = time.monotonic(), self.limits, chosen.setting
        predict = self._plan(definition, store, chosen, len(data.select) + len(data.report))
        execution = Execution(compile=self.request.compile)
        place, waited = self.request.place, self._patience
        from scalesearch.search.storages.mirror import mirrored  # SQLAlchemy

        name, url = run_name(self.request, definition), self.request.storage
        with (
            mirrored(url, name, definition, store.finished, self._say, stop_requested) as copied,
            make_engine(place, setting, data, self.recipe, device, execution, waited, self._say) as engine,
            SearchProgress(self.console, definition, limits) as progress,
        ):
            driver = Driver(definition, store, engine, progress, stop_requested, predict, copied)
            ending = driver.run(limits)
        store.append(
            "ended",
            ending=ending,
            seconds=time.monotonic() - started,
            time=limits.time,
            trials=limits.trials,
            machine=_machine(setting.workers),
        )
        return ending == "stopped"

    def _plan(
        self, definition: Definition, store: RunStore, chosen: Staff, evaluated: int
    ) -> Callable[[TrialRecord], float | None]:
        """Tell what the run will cost and return what predicts a trial's seconds."""
        from scalesearch.cli.plan import make_plan, predict_trial, predictor

        if chosen.model is None or self.request.compile:  # the model knows nothing of compilation
            return lambda _trial: None
        predict = predictor(chosen.model, definition, self.recipe, evaluated)
        plan = make_plan(definition, predict, chosen.setting.workers, chosen.model.error)
        if plan is not None:
            done = sum(t.role == "search" and t.rung == 0 and t.repeats is None for t in store.finished)
            self._say(plan.text(self.limits, done))
        return predict_trial(predict)

    # Telling

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False)

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
        if report["plan"] is not None:
            self._say(ratio_text(report["plan"]))
        if report["best"] is not None:
            for line in evidence_lines(report["evidence"]):
                self._say(line)
            self.console.print(found_text(report, folder), highlight=False)
        elif any(report["trials"].values()) or exhausted is None:
            self.console.print("no candidate completed a training yet, so there is no result")
        if report.get("failed_check"):
            self._say(f"failed check: best/ could not be handed over: {report['failed_check']}")
        return report, 130 if stopped else int(report["best"] is None or bool(report.get("failed_check")))


def _satisfied(definition: Definition, store: RunStore, limits: Limits) -> bool:
    """Return whether a former call already did all that these limits ask for.

    A record that goes on after its last end belongs to a call that was killed.
    """
    if not store.events or store.events[-1]["event"] != "ended" or store.events[-1]["ending"] == "stopped":
        return False
    exhausted: bool = store.events[-1]["ending"] == "exhausted"
    searched = [t for t in store.finished if t.role == "search" and t.rung == 0 and t.repeats is None]
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
    rung = final_rung(store.finished)
    trained = Counter(t.number for t in store.finished if t.role == "final" and t.rung == rung)
    finalists = ranked(store.finished)[: finals.candidates]
    return all(trained[finalist.number] >= finals.seeds for finalist in finalists)


def _machine(workers: int) -> str:
    return f"{platform.machine()} {platform.system()}, {workers} trainings at once"
