"""What `durability.py` measures with: runs of any length that are made up, and evaluators without work."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.documents import load_space, plain
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Event, Finished, Job
from scalesearch.search.proposals import Proposals
from scalesearch.search.records import TrialRecord
from scalesearch.search.store import RunStore
from scalesearch.search.study import Definition, Finals, SamplerChoice, Study
from scalesearch.search.trust import SeedNoise

BUDGET = 2e9
DRAWN = 40  # candidates that a made-up record consists of
NAME = "durability"


def definition(sampler: str, workers: int, seed: int) -> Definition:
    study = Study(NAME, sampler=SamplerChoice(sampler), finals=Finals(0, 0), seed=seed)
    space = load_space("mixed")
    resolved = {"recipe": {}, "data": {"fingerprint": ""}, "space": plain(space), "seed": seed}
    levels = tuple(level * BUDGET for level in study.levels)
    noise = SeedNoise(0.01, 5)
    return Definition(study, space, ProxyPolicy(), levels, {}, 2 * workers, 10, 32, 2500, noise, resolved)


def outcome(number: int, seed: int = 0) -> Outcome:
    """Return the result of a training that took no time."""
    loss = 1 + float(np.random.default_rng((seed, number)).random())
    figures = {"val_accuracy": 1 - loss / 2, "val_loss": loss, "report_accuracy": 1 - loss / 2}
    return Outcome("complete", **figures, images=20_000, seconds=1.0, curve=((10_000, 2.0), (20_000, loss)))


class Memory:
    """A record that is kept nowhere: what a made-up run is restored from."""

    folder = Path("memory")

    def __init__(self, events: Sequence[dict[str, Any]] = ()) -> None:
        self.events = list(events)

    def append(self, event: str, **fields: Any) -> None:
        """Keep an event."""
        self.events.append({"event": event, **fields})


@dataclass
class Made:
    """A run of any length: drawn candidates that take turns, each time with another number and loss."""

    seed: int
    drawn: list[TrialRecord] = field(default_factory=list)
    fit: float = 0.0

    def __post_init__(self) -> None:
        proposals = Proposals(definition("random", 1, self.seed), Memory())
        began = time.thread_time()
        self.drawn = [trial for _ in range(DRAWN) if (trial := proposals.propose([])) is not None]
        self.fit = (time.thread_time() - began) / len(self.drawn)

    def trials(self, count: int) -> list[TrialRecord]:
        """Return so many finished trials; each number has always the same."""
        turns = len(self.drawn)
        return [
            replace(
                self.drawn[n % turns],
                number=n,
                key=f"{n:064x}",
                outcome=outcome(n, self.seed),
                started=n,
                finished=n + 0.5,
            )
            for n in range(count)
        ]

    def events(self, trials: Iterable[TrialRecord]) -> list[dict[str, Any]]:
        """Return what a record holds of trials."""
        found: list[dict[str, Any]] = []
        for t in trials:
            notes = {"place": t.number}
            asked = {"number": t.number, "level": t.level, "params": t.params, "notes": notes}
            found += [{"event": "asked", **asked}, {"event": "finished", "trial": asdict(t)}]
        return found


class Threads:
    """An engine whose evaluators are threads that have nothing to do."""

    def __init__(self, workers: int) -> None:
        self.idle = workers
        self._ended: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(workers)

    def submit(self, job: Job) -> None:
        """Have a thread answer a job."""
        self.idle -= 1
        self._pool.submit(lambda: self._ended.put(Finished(job.number, outcome(job.number, job.seed), 0)))

    def wait(self, seconds: float) -> list[Event]:
        """Return the answers that are there, waiting at most this long for one."""
        try:
            events: list[Event] = [self._ended.get(timeout=max(0.0, seconds))]
        except queue.Empty:
            return []
        while not self._ended.empty():
            events.append(self._ended.get())
        self.idle += len(events)
        return events

    def stop(self) -> None:
        """Trainings that take no time end by themselves."""


class Telling(RunStore):
    """A run's store that hands on what it has written."""

    add = staticmethod(lambda _trial: None)

    def finish(self, trial: TrialRecord) -> None:
        """Write a trial, and hand it on."""
        super().finish(trial)
        self.add(trial)
