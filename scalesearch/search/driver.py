"""The driver: hands the proxies of proposed candidates to an engine and records what comes back.

One driver a run. It alone asks the sampler and writes the record. Trial n is proposed from the results of
trials 0 to n - lag alone, told in the order of their numbers (D9), so a run repeats exactly whatever
finishes first. Time never changes a training: it decides only whether another one begins (D8).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from scalesearch.outcome import Outcome
from scalesearch.search.engines import Engine, Finished, Job, Progress
from scalesearch.search.proposals import PATIENCE, Proposals, training_key
from scalesearch.search.records import TrialRecord
from scalesearch.search.samplers import derived_seed
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition, Limits

WORK = "work"
CHECKPOINT_PATIENCE = 10.0  # seconds that a training has to write its checkpoint when the run stops

Ending = Literal["trials", "time", "exhausted", "stopped"]


@dataclass(frozen=True)
class Status:
    """Where a run stands, for whoever shows it: finished trials, images seen by job, time of this call."""

    trials: tuple[TrialRecord, ...]
    running: dict[int, int]
    phase: Literal["search", "finals"]
    seconds: float


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
    ) -> None:
        self.definition, self._store, self._engine = definition, store, engine
        self._on_status, self._stop_requested, self._predict = on_status, stop_requested, predict
        self._proposals = Proposals(definition, store)
        finished = store.finished
        self.searched = {trial.number: trial for trial in finished if trial.role == "search"}
        self.finals = [trial for trial in finished if trial.role == "final"]
        self._unfinished = deque(self._proposals.restore(self.searched))
        self._running: dict[int, tuple[TrialRecord, Job]] = {}
        self._twins: dict[str, list[TrialRecord]] = {}
        self._images: dict[int, int] = {}
        self._jobs = 0
        self._settled = 0
        self._barren = 0
        self._phase: Literal["search", "finals"] = "search"
        self._work = store.folder / WORK
        self._work.mkdir(exist_ok=True)

    def run(self, limits: Limits) -> Ending:
        """Search, then re-train the finalists; return what ended it."""
        self._started, self._limits = time.monotonic(), limits
        ending = self._search()
        if ending == "stopped":
            return ending
        self._phase = "finals"
        return self._train_finalists() or ending

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    # Searching

    def _search(self) -> Ending:
        while True:
            while self._engine.idle and self._barren < PATIENCE and self._may_search():
                trial = self._take_next()
                if trial is None:
                    break
                self._begin(trial)
            if not self._running:
                return self._ending()
            if self._listen():
                return "stopped"

    def _ending(self) -> Ending:
        if self._barren >= PATIENCE:
            return "exhausted"
        reached = self._limits.trials is not None and self.counted >= self._limits.trials
        return "trials" if reached else "time"

    @property
    def counted(self) -> int:
        """Search trials that count towards a limit: complete and failed ones that are no repeats."""
        return sum(trial.repeats is None for trial in self.searched.values())

    def _may_search(self) -> bool:
        trials, seconds = self._limits.trials, self._limits.time
        if trials is not None and self.counted + len(self._running) >= trials:
            return False
        if seconds is None:
            return True
        kept = self.definition.study.finals.share * seconds
        return self._elapsed + self._typical_seconds() <= seconds - kept

    def _typical_seconds(self) -> float:
        seconds = [t.outcome.seconds for t in self.searched.values() if t.complete and t.repeats is None]
        return sum(seconds) / len(seconds) if seconds else 0.0

    def _take_next(self) -> TrialRecord | None:
        """Return an unfinished or a new trial, or None where the lag wants earlier results first."""
        if self._unfinished:
            return self._unfinished.popleft()
        while self._settled in self.searched:
            self._settled += 1
        if self._proposals.next - self.definition.lag >= self._settled:
            return None
        trial = self._proposals.propose(self.searched)
        if trial is None:
            self._barren = PATIENCE
        return trial

    def _begin(self, trial: TrialRecord) -> None:
        """Train the proxy, unless its training is in the record or under way: then share that result."""
        known = (t for t in self.searched.values() if t.key == trial.key and t.repeats is None)
        twin = next(known, None)
        if twin is not None:
            self._repeat(trial, twin)
        elif trial.key in self._twins:
            self._twins[trial.key].append(trial)
        else:
            self._barren = 0
            self._submit(trial, self.definition.study.seed)

    def _submit(self, trial: TrialRecord, seed: int) -> None:
        files = self._work / trial.key[:16]
        job = Job(
            number=self._jobs,
            network=trial.proxy.document,
            images=self.definition.study.images,
            seed=seed,
            weights=str(files.with_suffix(".safetensors")),
            checkpoint=str(files.with_suffix(".checkpoint")),
        )
        self._jobs += 1
        self._twins[trial.key] = []
        begun = replace(trial, started=time.time(), predicted_seconds=self._predict(trial))
        self._running[job.number] = (begun, job)
        self._engine.submit(job)

    # Listening

    def _listen(self) -> bool:
        """Take in what happens for a moment; interrupt everything at a stop (return True) or the deadline."""
        for event in self._engine.wait(0.2):
            self._take(event)
        trials = (*self.searched.values(), *self.finals)
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
        outcome = replace(event.outcome, checkpoint=self._relative(event.outcome.checkpoint))
        record = replace(trial, outcome=outcome, finished=time.time(), worker=event.worker)
        self._finish(record)
        for twin in twins:
            self._repeat(twin, record)

    def _relative(self, file: str | None) -> str | None:
        return None if file is None else Path(file).relative_to(self._store.folder).as_posix()

    def _finish(self, record: TrialRecord) -> None:
        if record.role == "search":
            self.searched[record.number] = record
        else:
            self.finals.append(record)
        self._store.finish(record)
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

    # The finalists (D4)

    def _finalists(self) -> list[TrialRecord]:
        return ranked(self.searched.values())[: self.definition.study.finals.candidates]

    def _final_jobs(self) -> Iterator[tuple[TrialRecord, int]]:
        done = {(trial.number, trial.outcome.seed) for trial in self.finals}
        for turn in range(self.definition.study.finals.seeds):
            seed = derived_seed(self.definition.study.seed, "final", turn)
            yield from ((trial, seed) for trial in self._finalists() if (trial.number, seed) not in done)

    def _train_finalists(self) -> Ending | None:
        jobs = deque(self._final_jobs())
        while True:
            while jobs and self._engine.idle and self._fits(jobs[0][0]):
                trial, seed = jobs.popleft()
                key = training_key(self.definition, trial.proxy.document, seed)
                self._submit(replace(trial, role="final", key=key, outcome=Outcome("interrupted")), seed)
            if not self._running:
                return None
            if self._listen():
                return "stopped"

    def _fits(self, trial: TrialRecord) -> bool:
        limit = self._limits.time
        return limit is None or self._elapsed + trial.outcome.seconds <= limit

    def _drop_weights(self) -> None:
        """Keep the trained weights of the finalists alone."""
        kept = {trial.outcome.checkpoint for trial in (*self._finalists(), *self.finals)}
        kept |= {self._relative(job.weights) for _, job in self._running.values()}
        for path in self._work.glob("*.safetensors"):
            if self._relative(str(path)) not in kept:
                path.unlink()


def ranked(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the complete search trials of the highest level reached, lowest validation loss first (D4)."""
    complete = [t for t in trials if t.complete and t.role == "search" and t.repeats is None]
    if not complete:
        return []
    level = max(t.level for t in complete)
    return sorted(
        (t for t in complete if t.level == level), key=lambda t: (t.outcome.val_loss or 0.0, t.number)
    )
