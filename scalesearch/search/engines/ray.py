"""Trainings on the nodes of a Ray cluster, under one driver.

Each worker slot is one small actor, not a task a training. A task that holds a GPU gets a fresh process each
time, which would import torch and copy the data anew; an actor does so once, keeps its GPU, and can be asked
how far it is and told to stop while it trains. Nothing else of an actor is used: Ray never restarts one nor
repeats a call, so a training runs again only where this module says so, and counts it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import ObjectLostError, RayActorError

from scalesearch.errors import InputError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Event, Finished, Job, Progress
from scalesearch.search.engines.attempt import Raised
from scalesearch.search.engines.local import ATTEMPTS, AWAY, HANGING, STARTS
from scalesearch.search.engines.ray_cluster import Resources, check_room, connected, room
from scalesearch.search.engines.ray_process import TALK, Actor, Station, Trained

LOOK_SECONDS = 1.0  # between two questions to a process how far it is
BARREN = 600.0  # seconds without a node that could hold a training; one that starts on demand takes minutes
NO_ANSWER = RayActorError, ObjectLostError


@dataclass
class _Slot:
    number: int
    actor: Any
    placed: bool = False  # its process runs
    started: bool = False  # and has built its evaluator
    job: Job | None = None
    stopped: bool = False
    images: int = 0
    silent: float = 0.0  # seconds without a step, also on the way to the first one
    looked: float = 0.0
    asked: bool = False  # how far it is, and has not answered

    def take(self, job: Job) -> Any:
        self.job, self.stopped, self.images, self.silent = job, False, 0, 0.0
        kept = Path(job.checkpoint)
        return self.actor.train.remote(job, kept.read_bytes() if kept.is_file() else None)

    def watch(self) -> Any | None:
        """Count the silence, and ask how far it is, unless the last question is still open."""
        now = time.monotonic()
        if self.placed:
            # The driver may have been suspended: then nobody looked.
            self.silent += min(now - self.looked, LOOK_SECONDS + AWAY)
        self.looked = now
        if self.asked:
            return None
        self.asked = True
        return self.actor.seen.options(concurrency_group=TALK).remote()


Hear = Callable[[_Slot, Any], None]


class RayEngine:
    """Runs at most `workers` jobs at once on a Ray cluster.

    A training whose process dies, alone or with its node, is tried again in another one, on whichever node
    is free, from its checkpoint if it has one; after `ATTEMPTS` deaths it is failed. A training that takes no
    step for `patience` seconds is ended and failed.

    Args:
        workers: slots; those that the cluster has no room for wait for it to grow.
        make_evaluate: builds the evaluator in a process of a node; it gets one function for each of `goods`,
            which fetches it there.
        address: of a standing cluster; None starts Ray on this machine for as long as the engine runs.
        resources: what each training holds of its node.
        goods: what travels through the object store, put there once.
        patience: see above. barren: seconds without any node that could hold a training, after which the
            run ends. say: is told a line where a training is tried again, or waits for a node.

    Raises InputError where the cluster is not reached or no node of it could hold a training.
    """

    def __init__(
        self,
        workers: int,
        make_evaluate: Callable[..., Evaluate],
        *,
        address: str | None = None,
        resources: Resources = Resources(1, 0),  # noqa: B008 - a tuple
        goods: Sequence[Any] = (),
        patience: float = HANGING,
        barren: float = BARREN,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._count, self._make, self._goods = workers, make_evaluate, goods
        self._address, self._resources = address, resources
        self._patience, self._patient, self._say = patience, barren, say

    def __enter__(self) -> Self:
        self._open: set[int] = set()  # numbers of the jobs that have not ended
        self._waiting: deque[Job] = deque()
        self._deaths: Counter[int] = Counter()  # by job
        self._stillborn = 0
        self._barren, self._surveyed = 0.0, time.monotonic()
        self._asked: dict[Any, tuple[Hear, _Slot]] = {}
        self._told: list[Event] = []
        with ExitStack() as stack:
            stack.enter_context(connected(self._address))
            check_room(self._resources)
            self._put = [ray.put(one) for one in self._goods]
            self._slots = [self._begin(number) for number in range(self._count)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stack.close()  # the actors end with their driver

    @property
    def idle(self) -> int:
        """How many more jobs the slots take."""
        return self._count - len(self._open)

    def submit(self, job: Job) -> None:
        """Give a job to the slot that is free first; where the cluster is smaller than thought, it waits."""
        self._open.add(job.number)
        self._waiting.append(job)
        self._hand_out()

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting at most this long for something."""
        deadline = time.monotonic() + seconds
        while True:
            self._hear(deadline - time.monotonic())
            if self._told or time.monotonic() >= deadline:
                told, self._told = self._told, []
                return told

    def stop(self) -> None:
        """Ask every running training to write its checkpoint and end as interrupted."""
        for job in self._waiting:
            self._finish(job, Outcome("interrupted", seed=job.seed), 0)
        self._waiting.clear()
        for slot in self._slots:
            if slot.job is not None:
                slot.stopped = True
                slot.actor.stop.options(concurrency_group=TALK).remote(slot.job.number)

    # Slots

    def _begin(self, number: int) -> _Slot:
        options = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        cpus, gpus = self._resources
        actor = Actor.options(num_cpus=cpus, num_gpus=gpus, **options).remote(self._make, self._put)
        slot = _Slot(number, actor, looked=time.monotonic())
        self._asked[actor.build.remote()] = self._started, slot
        return slot

    def _hand_out(self) -> None:
        for slot in self._slots:
            if self._waiting and slot.started and slot.job is None:
                self._asked[slot.take(self._waiting.popleft())] = self._trained, slot

    # Hearing

    def _hear(self, seconds: float) -> None:
        self._look()
        pause = 0.0 if self._told else max(0.0, min(seconds, LOOK_SECONDS))
        if not self._asked:
            time.sleep(pause)
            return
        ready, _ = ray.wait(list(self._asked), timeout=pause)
        while ready:
            self._take(ready[0])
            ready = ray.wait(list(self._asked), timeout=0)[0] if self._asked else []
        self._hand_out()

    def _look(self) -> None:
        """Ask how far the processes are; one without a training is asked too, lest it has died."""
        for slot in list(self._slots):
            if time.monotonic() - slot.looked > LOOK_SECONDS:
                question = slot.watch()
                if question is not None:
                    self._asked[question] = self._saw, slot
            if slot.job is not None and slot.silent >= self._patience:
                self._end_hung(slot, slot.job)
            elif not slot.started and slot.silent >= HANGING:
                self._mourn(slot, f"the evaluating process was not ready after {HANGING:g} s")
        if time.monotonic() - self._surveyed > LOOK_SECONDS:
            self._look_for_room()

    def _look_for_room(self) -> None:
        """Wait for a node that could hold a training, as one that starts on demand, but not for ever."""
        now = time.monotonic()
        since, self._surveyed = min(now - self._surveyed, LOOK_SECONDS + AWAY), now
        if any(slot.placed for slot in self._slots) or room(self._resources):
            self._barren = 0.0
            return
        if not self._barren:
            what = "no node of the cluster could hold a training"
            self._say(f"{what}; one is waited for, at most {self._patient:g} s")
        self._barren += since
        if self._barren >= self._patient:
            raise InputError(
                f"for {self._patient:g} s no node of the cluster could hold a training; "
                f"what was finished is kept, and the same command goes on"
            )

    def _end_hung(self, slot: _Slot, job: Job) -> None:
        self._finish(job, _failed(job, f"no progress for {self._patience:g} s"), slot.number)
        self._replace(slot)

    def _take(self, ref: Any) -> None:
        hear, slot = self._asked.pop(ref)
        try:
            answer = ray.get(ref)
        except Exception as error:
            self._take_error(hear, slot, error)
        else:
            hear(slot, answer)

    def _take_error(self, hear: Hear, slot: _Slot, error: Exception) -> None:
        if slot is not self._slots[slot.number]:
            return  # it was replaced before
        if isinstance(error, InputError):
            raise error
        if isinstance(error, NO_ANSWER) or not slot.started:
            # Of a training that is under way its own call tells.
            if hear != self._saw or slot.job is None:
                self._mourn(slot, f"the evaluating process ended: {_words(error)}")
        elif slot.job is not None:
            self._trained(slot, Trained(_failed(slot.job, _words(error))))

    def _started(self, slot: _Slot, station: Station) -> None:
        own = version("scalesearch")
        if station.version != own:
            raise InputError(
                f"every node must have scalesearch {own}, but {station.host} has {station.version}"
            )
        slot.placed = slot.started = True
        slot.silent, self._stillborn = 0.0, 0

    def _saw(self, slot: _Slot, images: int) -> None:
        slot.placed, slot.asked = True, False
        if slot.job is not None:
            if images != slot.images:
                slot.images, slot.silent = images, 0.0
            self._told.append(Progress(slot.job.number, images))

    def _trained(self, slot: _Slot, trained: Trained) -> None:
        job, slot.job = slot.job, None
        if job is None or slot is not self._slots[slot.number]:
            return  # it was given up as hanging
        for line in trained.said:
            self._say(line)
        self._finish(job, trained.keep(job), slot.number)
        if isinstance(trained.outcome, Raised):
            self._replace(slot)

    def _finish(self, job: Job, outcome: Outcome, worker: int) -> None:
        self._open.remove(job.number)
        self._deaths.pop(job.number, None)
        self._told.append(Finished(job.number, outcome, worker))

    # Deaths

    def _mourn(self, slot: _Slot, reason: str) -> None:
        """Replace a process that is gone, and try its training again where it was not the last attempt."""
        if not slot.started:
            self._count_stillborn(reason)
        self._replace(slot)
        job = slot.job
        if job is None:
            return
        self._deaths[job.number] += 1
        if slot.stopped:
            self._finish(job, Outcome("interrupted", seed=job.seed), slot.number)
        elif self._deaths[job.number] == ATTEMPTS:
            self._finish(job, _failed(job, reason), slot.number)
        else:
            attempt = self._deaths[job.number] + 1
            self._say(f"{reason}; its training is tried again, attempt {attempt} of {ATTEMPTS}")
            self._told.append(Progress(job.number, 0))
            self._waiting.appendleft(job)

    def _replace(self, slot: _Slot) -> None:
        ray.kill(slot.actor)  # where it hangs, or only the connection to it was lost
        self._slots[slot.number] = self._begin(slot.number)

    def _count_stillborn(self, reason: str) -> None:
        self._stillborn += 1
        most = STARTS * self._count  # as a node that is lost takes several along
        if self._stillborn == most:
            raise InputError(
                f"{most} evaluating processes in a row died while they started, the last one as {reason}; "
                f"what was finished is kept, and the same command goes on"
            )


def _failed(job: Job, reason: str) -> Outcome:
    return Outcome("failed", reason, seed=job.seed)


def _words(error: Exception) -> str:
    # Ray's last line says what happened; its advice follows behind it.
    last = str(error).strip().splitlines()[-1:] or [""]
    return f"{type(error).__name__}: {last[0].partition(' Some common causes')[0][:300]}"
