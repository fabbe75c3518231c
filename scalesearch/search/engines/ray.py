"""Trainings on the nodes of a Ray cluster, under one driver.

Each worker slot is one small actor, not a task a training. A task that holds a GPU gets a fresh process each
time, which would import torch and copy the data anew; an actor does so once, keeps its GPU, and can be asked
how far it is and told to stop while it trains. Nothing else of an actor is used: Ray never restarts one nor
repeats a call, so a training runs again only where this module says so, and counts it.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple, Self

import ray
from ray.exceptions import ActorDiedError, AuthenticationError, RayActorError

from scalesearch.errors import InputError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Event, Finished, Job, Progress

ATTEMPTS = 3
LOOK_SECONDS = 1.0  # between two questions to a training how far it is
# A node that dies takes its processes with it, and which of the two deaths is told first is chance.
VERDICT_SECONDS = 5.0
SIGNALS = signal.SIGINT, signal.SIGTERM

Fetch = Callable[[], Any]
Files = dict[str, bytes]


class Resources(NamedTuple):
    """What a training holds of its node: CPU cores and GPUs, of which it may hold a fraction."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Station:
    """Where a slot's process runs and what runs there."""

    node: str
    version: str


class Evaluator:
    """The process of a slot: builds its evaluator once, then trains what it is given."""

    def __init__(self, make_evaluate: Callable[..., Evaluate], goods: Sequence[Any]) -> None:
        self._evaluate = make_evaluate(*(partial(ray.get, one) for one in goods))
        self._seen, self._stopped = 0, -1

    def station(self) -> Station:
        """Say where this is; answered once the evaluator is built."""
        return Station(ray.get_runtime_context().get_node_id(), version("scalesearch"))

    def train(self, job: Job, checkpoint: bytes | None) -> tuple[Outcome, Files]:
        """Train here and return the outcome with the files that the training left, by their role."""
        self._seen = 0
        with TemporaryDirectory(prefix="scalesearch-") as folder:
            paths = {role: Path(folder) / role for role in ("weights", "checkpoint")}
            if checkpoint is not None:
                paths["checkpoint"].write_bytes(checkpoint)
            here = replace(job, **{role: str(path) for role, path in paths.items()})
            outcome = self._outcome(here)
            return outcome, {role: path.read_bytes() for role, path in paths.items() if path.exists()}

    def _outcome(self, job: Job) -> Outcome:
        try:
            return self._evaluate(job, lambda: self._stopped == job.number, self._note)
        except Exception as error:
            return Outcome("failed", f"{type(error).__name__}: {' '.join(str(error).split())}", seed=job.seed)

    def _note(self, images: int) -> None:
        self._seen = images

    @ray.method(concurrency_group="talk")
    def seen(self) -> int:
        """Return how many images the training has seen."""
        return self._seen

    @ray.method(concurrency_group="talk")
    def stop(self, number: int) -> None:
        """Let the training of this job write its checkpoint and end."""
        self._stopped = number


# A call of the group "talk" is answered by a thread of its own while the main thread trains.
_Actor: Any = ray.remote(concurrency_groups={"talk": 1})(Evaluator)


@dataclass
class _Slot:
    number: int
    actor: Any
    station: Station | None = None
    job: Job | None = None
    looked: float = 0.0


@dataclass
class _Death:
    """A process that has died, of which it is not yet known whether its node died too."""

    slot: _Slot
    error: RayActorError
    until: float


class RayEngine:
    """Runs at most `workers` jobs at once on a Ray cluster.

    Args:
        workers: slots; those that the cluster has no room for wait for it to grow.
        make_evaluate: builds the evaluator in a process of a node; it gets one function for each of `goods`,
            which fetches it there.
        address: of a standing cluster; None starts Ray on this machine for as long as the engine runs.
        cpus, gpus: what each training holds of its node.
        goods: what travels through the object store, put there once.
        say: is told a line where a training is tried again.

    Raises InputError where the cluster is not reached or no node of it could hold a training.
    """

    def __init__(
        self,
        workers: int,
        make_evaluate: Callable[..., Evaluate],
        *,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        goods: Sequence[Any] = (),
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._count, self._make, self._goods = workers, make_evaluate, goods
        self._address, self._resources, self._say = address, Resources(cpus, gpus), say

    def __enter__(self) -> Self:
        connect(self._address)
        try:
            check_room(self._resources)
            self._jobs: dict[int, Job] = {}
            self._waiting: deque[Job] = deque()
            self._stopped: set[int] = set()
            self._losses: dict[int, int] = {}
            self._asked: dict[Any, tuple[Callable[[_Slot, Any], list[Event]], _Slot]] = {}
            self._deaths: list[_Death] = []
            self._told: list[Event] = []
            self._put = [ray.put(one) for one in self._goods]
            self._slots = [self._begin(number) for number in range(self._count)]
        except BaseException:
            ray.shutdown()
            raise
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        with _handlers_kept():
            ray.shutdown()  # which ends the actors, as nothing else owns them

    @property
    def idle(self) -> int:
        """How many more jobs the slots take; where the cluster has less room, they wait for it."""
        return self._count - len(self._jobs)

    def submit(self, job: Job) -> None:
        """Give a job to the slot that is free first."""
        self._jobs[job.number] = job
        self._waiting.append(job)
        self._hand_out()

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting at most this long for something."""
        deadline = time.monotonic() + seconds
        events = self._hear(0.0 if self._told else seconds)
        while self._deaths and not events and not self._told and time.monotonic() < deadline:
            time.sleep(0.05)
            events = self._hear(0.0)
        told, self._told = self._told, []
        return told + events

    def stop(self) -> None:
        """Ask every running training to write its checkpoint and end as interrupted."""
        for job in self._waiting:
            self._finish(job, Outcome("interrupted", seed=job.seed), 0)
        self._waiting.clear()
        for slot in self._slots:
            if slot.job is not None:
                self._stopped.add(slot.job.number)
                slot.actor.stop.remote(slot.job.number)

    # Slots

    def _begin(self, number: int) -> _Slot:
        actor = _Actor.options(
            num_cpus=self._resources.cpus,
            num_gpus=self._resources.gpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        ).remote(self._make, self._put)
        slot = _Slot(number, actor)
        self._asked[actor.station.remote()] = self._started, slot
        return slot

    def _hand_out(self) -> None:
        free = (slot for slot in self._slots if slot.station is not None and slot.job is None)
        for slot in free:
            if not self._waiting:
                return
            job = slot.job = self._waiting.popleft()
            kept = Path(job.checkpoint)
            checkpoint = kept.read_bytes() if kept.is_file() else None
            self._asked[slot.actor.train.remote(job, checkpoint)] = self._trained, slot
            slot.looked = time.monotonic()

    # Hearing

    def _hear(self, seconds: float) -> list[Event]:
        self._look()
        self._judge()
        wanted = list(self._asked)
        if not wanted:
            return []
        timeout = min(seconds, LOOK_SECONDS) if not self._deaths else 0.0
        first, _ = ray.wait(wanted, timeout=max(0.0, timeout))
        ready = ray.wait(wanted, num_returns=len(wanted), timeout=0)[0] if first else []
        events = [event for ref in ready for event in self._take(ref)]
        self._hand_out()
        return events

    def _take(self, ref: Any) -> list[Event]:
        hear, slot = self._asked.pop(ref)
        try:
            answer = ray.get(ref)
        except RayActorError as error:
            self._mourn(slot, error)
            return []
        return hear(slot, answer)

    def _look(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.job is not None and now - slot.looked > LOOK_SECONDS:
                slot.looked = now
                self._asked[slot.actor.seen.remote()] = self._saw, slot

    def _started(self, slot: _Slot, station: Station) -> list[Event]:
        own = version("scalesearch")
        if station.version != own:
            raise InputError(
                f"every node must run the driver's scalesearch {own}, but one has {station.version}"
            )
        slot.station = station
        return []

    def _saw(self, slot: _Slot, images: int) -> list[Event]:
        return [] if slot.job is None else [Progress(slot.job.number, images)]

    def _trained(self, slot: _Slot, answer: tuple[Outcome, Files]) -> list[Event]:
        job, slot.job = slot.job, None
        assert job is not None, "an outcome comes only for a job"
        outcome, files = answer
        if outcome.checkpoint is not None:
            outcome = replace(outcome, checkpoint=job.weights)
        for role, path in (("weights", Path(job.weights)), ("checkpoint", Path(job.checkpoint))):
            if role in files:
                _write(path, files[role])
        if "checkpoint" not in files and job.checkpoint:
            Path(job.checkpoint).unlink(missing_ok=True)
        self._finish(job, outcome, slot.number)
        return []

    def _finish(self, job: Job, outcome: Outcome, worker: int) -> None:
        del self._jobs[job.number]
        self._stopped.discard(job.number)
        self._losses.pop(job.number, None)
        self._told.append(Finished(job.number, outcome, worker))

    # Deaths

    def _mourn(self, slot: _Slot, error: RayActorError) -> None:
        known = any(death.slot is slot for death in self._deaths)
        if slot is self._slots[slot.number] and not known:
            self._deaths.append(_Death(slot, error, time.monotonic() + VERDICT_SECONDS))

    def _judge(self) -> None:
        """Decide of each death whether the node died (the job is tried again) or the process alone."""
        if not self._deaths:
            return
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        for death in list(self._deaths):
            station = death.slot.station
            lost = station is None if _says_node_died(death.error) else False
            lost = lost or (station is not None and station.node not in alive)
            if lost or time.monotonic() >= death.until:
                self._deaths.remove(death)
                self._bury(death, lost=lost)

    def _bury(self, death: _Death, *, lost: bool) -> None:
        slot = death.slot
        reason = f"the evaluating process ended: {_words(death.error)}"
        if slot.station is None and not lost:
            raise RuntimeError(f"{reason} while it started")
        self._slots[slot.number] = self._begin(slot.number)
        if slot.job is None:
            return
        if lost:
            self._try_again(slot.job, slot.number)
        else:
            self._finish(slot.job, Outcome("failed", reason, seed=slot.job.seed), slot.number)

    def _try_again(self, job: Job, worker: int) -> None:
        losses = self._losses[job.number] = self._losses.get(job.number, 0) + 1
        if job.number in self._stopped:
            self._finish(job, Outcome("interrupted", seed=job.seed), worker)
        elif losses == ATTEMPTS:
            reason = f"the node of each of its {ATTEMPTS} attempts was lost"
            self._finish(job, Outcome("failed", reason, seed=job.seed), worker)
        else:
            self._say(f"a node was lost: its training begins again (attempt {losses + 1} of {ATTEMPTS})")
            self._told.append(Progress(job.number, 0))
            self._waiting.appendleft(job)


def _says_node_died(error: RayActorError) -> bool:
    return isinstance(error, ActorDiedError) and "node" in str(error).lower()


def _words(error: RayActorError) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def _write(path: Path, data: bytes) -> None:
    # Beside the target, so that replacing it is one atomic step of the file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


# The cluster


@contextmanager
def _handlers_kept() -> Iterator[None]:
    # Ray takes SIGTERM for itself; what an interruption does to a run is the command's to say.
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def connect(address: str | None) -> None:
    """Join the cluster at an address, or start Ray on this machine; InputError where there is none.

    Without an address RAY_ADDRESS counts, as elsewhere. A cluster started here has no dashboard and reports
    its use to nobody.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    with _handlers_kept():
        try:
            if address is None:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                ray.init("local", include_dashboard=False, **quiet)
            else:
                ray.init(address, **quiet)
        except AuthenticationError as error:
            raise InputError(
                f"--address {address}: the cluster wants its token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN)"
            ) from error
        except (ConnectionError, ValueError) as error:
            words = " ".join(str(error).split())[:300]
            raise InputError(f"--address {address}: no Ray cluster is reached ({words})") from error


def nodes() -> list[Resources]:
    """Return the resources of the nodes that the cluster has now."""
    found = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [Resources(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in found]


def room(resources: Resources) -> int:
    """Return how many trainings the nodes of the cluster hold at once."""
    shares = [
        [has / wants for has, wants in zip(node, resources, strict=True) if wants] for node in nodes()
    ]
    return sum(int(min(share) + 1e-9) for share in shares)


def check_room(resources: Resources) -> None:
    """Raise InputError where no node holds a training: Ray would wait for one for ever."""
    if room(resources) == 0:
        there = ", ".join(f"{one.cpus:g} CPUs and {one.gpus:g} GPUs" for one in nodes())
        raise InputError(
            f"a training holds {resources.cpus:g} CPUs and {resources.gpus:g} GPUs of one node, but the nodes "
            f"have {there}: where nodes start on demand, one of them must stand first"
        )
