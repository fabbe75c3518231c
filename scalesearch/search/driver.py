"""The driver: hands the proxies that are to be trained to an engine and records what comes back.

One driver a run. It alone decides and writes the record; `decisions` says in which order. Time never changes
a training: it decides only whether another one begins (D8).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scalesearch.outcome import Outcome
from scalesearch.search.decisions import Decisions
from scalesearch.search.engines import Engine, Finished, Job, Progress
from scalesearch.search.proposals import training_key
from scalesearch.search.records import TrialRecord
from scalesearch.search.rungs import Promotion
from scalesearch.search.samplers import PATIENCE, derived_seed
from scalesearch.search.selection import final_rung
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition, Limits
from scalesearch.search.tally import Tally

CHECKPOINT_PATIENCE = 10.0  # seconds that a training has to write its checkpoint when the run stops

Ending = Literal["trials", "time", "exhausted", "stopped"]


@dataclass(frozen=True)
class Status:
    """Where a run stands, for whoever shows it: finished trials, images seen by job, time of this call."""

    trials: tuple[TrialRecord, ...]
    running: dict[int, int]
    phase: Literal["search", "finals"]
    seconds: float


def _finite(outcome: Outcome) -> Outcome:
    """Fail an outcome that no ranking and no sampler can use, whatever evaluated it."""
    figures = (outcome.val_loss, outcome.val_accuracy, outcome.report_accuracy)
    if outcome.status == "complete" and not all(f is not None and math.isfinite(f) for f in figures):
        return replace(outcome, status="failed", reason="non-finite validation loss", val_loss=None)
    return outcome


def _repeats_at_the_end(finished: Sequence[TrialRecord]) -> int:
    """Return how many repeats a record ends with: they go on counting when a run goes on (D12)."""
    searched = [trial for trial in finished if trial.role == "search"]
    return next((n for n, trial in enumerate(reversed(searched)) if trial.repeats is None), len(searched))


class Driver:
    """Runs a study on an engine until a limit is reached."""

    def __init__(
        self,
        definition: Definition,
        store: RunStore,
        engine: Engine,
        on_status: Callable[[Status], None] = lambda _status: None,
        stop_requested: Callable[[], bool] = lambda: False,
        predict: Callable[[TrialRecord], float | None] = lambda _trial: None,
        on_trial: Callable[[TrialRecord], None] = lambda _trial: None,
    ) -> None:
        # `on_trial` is told of each trial once the record holds it.
        self.definition, self._store, self._engine = definition, store, engine
        self._on_status, self._stop_requested, self._predict = on_status, stop_requested, predict
        self._on_trial = on_trial
        self._decisions = Decisions(definition, store)
        finished = store.finished
        self._tally = Tally(finished, definition.study.finals.candidates)
        self._unfinished = deque(self._decisions.restore(self.searched))
        self._running: dict[int, tuple[TrialRecord, Job]] = {}
        self._twins: dict[str, list[TrialRecord]] = {}
        self._images: dict[int, int] = {}
        self._taken = {trial.key: trial for trial in store.taken}
        self._jobs = 0
        self._barren = _repeats_at_the_end(finished)
        self._phase: Literal["search", "finals"] = "search"
        self._work = store.open_work()

    def run(self, limits: Limits) -> Ending:
        """Search, then re-train the finalists; return what ended it."""
        self._started, self._limits = time.monotonic(), limits
        ending = self._search()
        if ending == "stopped" or self._close_rungs():
            return "stopped"
        self._phase = "finals"
        return "stopped" if self._train_finalists() else ending

    @property
    def searched(self) -> dict[tuple[int, int], TrialRecord]:
        """The search's finished trainings, by number and rung."""
        return self._tally.searched

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    # Searching

    def _search(self) -> Ending:
        while True:
            while self._engine.idle and self._barren < PATIENCE:
                trial = self._take_next()
                if trial is None:
                    break
                self._begin(trial)
            if not self._running:
                return self._ending()
            if self._may_begin(0):
                self._decisions.prepare()  # while the trainings run
            if self._listen():
                return "stopped"

    def _ending(self) -> Ending:
        if self._barren >= PATIENCE:
            return "exhausted"
        reached = self._limits.trials is not None and self._tally.counted >= self._limits.trials
        return "trials" if reached else "time"

    def _may_begin(self, rung: int) -> bool:
        trials, seconds = self._limits.trials, self._limits.time
        if rung == 0 and trials is not None:
            running = sum(t.role == "search" and t.rung == 0 for t, _ in self._running.values())
            if self._tally.counted + running >= trials:
                return False
        if seconds is None:
            return True
        kept = self.definition.study.finals.share * seconds
        return self._elapsed + self._typical_seconds(rung) <= seconds - kept

    def _typical_seconds(self, rung: int) -> float:
        return self._tally.typical_seconds(self.definition.study.rungs[rung])

    def _take_next(self) -> TrialRecord | None:
        """Return an unfinished training or the next decision's; None where a limit or the lag forbids it."""
        if self._unfinished:
            return self._unfinished.popleft() if self._may_begin(self._unfinished[0].rung) else None
        upcoming = self._decisions.upcoming(self.searched)
        rung = upcoming.rung if isinstance(upcoming, Promotion) else 0
        if upcoming is None or not self._may_begin(rung):
            return None
        trial = self._decisions.take(upcoming, self.searched)
        if trial is None:
            self._barren = PATIENCE
        return trial

    def _begin(self, trial: TrialRecord) -> None:
        """Train the proxy, unless its training is in the record or under way: then share that result."""
        if (trial.number, trial.rung) in self.searched:
            return  # trained when an earlier call closed its rungs
        twin = self._tally.answer(trial.key)
        if twin is not None:
            self._repeat(trial, twin)
        elif trial.key in self._twins:
            self._twins[trial.key].append(trial)
        else:
            self._barren = 0
            self._submit(trial, self.definition.study.seed)

    def _submit(self, trial: TrialRecord, seed: int) -> None:
        if trial.key in self._taken:
            self._take_over(trial, self._taken[trial.key])
            return
        files = self._work / trial.key[:16]
        job = Job(
            number=self._jobs,
            network=trial.proxy.document,
            images=self.definition.study.rungs[trial.rung],
            seed=seed,
            weights=str(files.with_suffix(".safetensors")),
            checkpoint=str(files.with_suffix(".checkpoint")),
        )
        self._jobs += 1
        self._twins[trial.key] = []
        begun = replace(trial, started=time.time(), predicted_seconds=self._predict(trial))
        self._running[job.number] = (begun, job)
        self._engine.submit(job)

    def _take_over(self, trial: TrialRecord, source: TrialRecord) -> None:
        """Use the same training of another run."""
        self._store.take_weights(source.outcome.checkpoint)
        now = time.time()
        self._finish(replace(trial, outcome=source.outcome, started=now, finished=now))

    # Listening

    def _listen(self) -> bool:
        """Take in what happens for a moment; interrupt everything at a stop (return True) or the deadline."""
        for event in self._engine.wait(min(0.2, (self._limits.time or math.inf) - self._elapsed)):
            self._take(event)
        trials = (*self.searched.values(), *self._tally.finals)
        self._on_status(Status(trials, dict(self._images), self._phase, self._elapsed))
        stop = self._stop_requested()
        late = self._limits.time is not None and self._elapsed >= self._limits.time
        if self._running and (stop or late):
            self._interrupt()
        return stop

    def _take(self, event: Progress | Finished) -> None:
        if isinstance(event, Progress):
            self._images[event.job] = event.images
            return
        trial, _ = self._running.pop(event.job)
        self._images.pop(event.job, None)
        twins = self._twins.pop(trial.key)
        if event.outcome.status == "interrupted":
            return  # its checkpoint stays; the trial is taken up again when the run goes on
        outcome = replace(_finite(event.outcome), checkpoint=self._relative(event.outcome.checkpoint))
        record = replace(trial, outcome=outcome, finished=time.time(), worker=event.worker)
        self._finish(record)
        for twin in twins:
            self._repeat(twin, record)

    def _relative(self, file: str | None) -> str | None:
        return None if file is None else Path(file).relative_to(self._store.folder).as_posix()

    def _finish(self, record: TrialRecord) -> None:
        self._tally.add(record)
        self._store.finish(record)
        self._on_trial(record)
        self._drop_weights()

    def _repeat(self, trial: TrialRecord, twin: TrialRecord) -> None:
        self._barren += 1
        now = time.time()
        self._finish(replace(trial, outcome=twin.outcome, repeats=twin.number, started=now, finished=now))

    def _interrupt(self) -> None:
        self._engine.stop()
        deadline = time.monotonic() + CHECKPOINT_PATIENCE
        while self._running and time.monotonic() < deadline:
            for event in self._engine.wait(deadline - time.monotonic()):
                self._take(event)
        self._running.clear()

    # What follows the search: the rungs that it left open, then the finalists (D4)

    def _close_rungs(self) -> bool:
        """Train what the rungs still call for, wave after wave; return whether a stop was asked for."""
        while wave := self._decisions.closing(self.searched):
            waiting = deque(wave)
            while True:
                while waiting and self._engine.idle and self._may_begin(waiting[0].rung):
                    self._begin(waiting.popleft())
                if not self._running:
                    break
                if self._listen():
                    return True
            if waiting:
                break
        return False

    def _final_jobs(self) -> Iterator[tuple[TrialRecord, int]]:
        rung = final_rung(self.searched.values())
        done = {(trial.number, trial.rung, trial.outcome.seed) for trial in self._tally.finals}
        for turn in range(self.definition.study.finals.seeds):
            seed = derived_seed(self.definition.study.seed, "final", turn)
            for trial in self._tally.finalists:
                if (trial.number, rung, seed) not in done:
                    key = training_key(self.definition, trial.proxy.document, seed, rung)
                    blank = Outcome("interrupted")
                    yield replace(trial, role="final", rung=rung, key=key, outcome=blank), seed

    def _train_finalists(self) -> bool:
        """Train the finalists again; return whether a stop was asked for."""
        jobs = deque(self._final_jobs())
        while True:
            while jobs and self._engine.idle and self._fits(jobs[0][0].rung):
                self._submit(*jobs.popleft())
            if not self._running:
                return False
            if self._listen():
                return True

    def _fits(self, rung: int) -> bool:
        limit = self._limits.time
        return limit is None or self._elapsed + self._typical_seconds(rung) <= limit

    def _drop_weights(self) -> None:
        """Keep the trained weights of the finalists alone."""
        kept = {trial.outcome.checkpoint for trial in (*self._tally.finalists, *self._tally.finals)}
        kept |= {self._relative(job.weights) for _, job in self._running.values()}
        for path in self._work.glob("*.safetensors"):
            if self._relative(str(path)) not in kept:
                path.unlink()
