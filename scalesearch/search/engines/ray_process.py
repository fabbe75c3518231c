"""What runs on the nodes of a Ray cluster: the process of one worker slot."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray

from scalesearch.errors import InputError
from scalesearch.files import replace_file
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Job
from scalesearch.search.engines.attempt import DAMAGED, Raised, Refused, train
from scalesearch.search.store import writing

TALK = "talk"


@dataclass(frozen=True)
class Station:
    """The machine that a process runs on, and the version of scalesearch there."""

    host: str
    version: str


@dataclass(frozen=True)
class Trained:
    """What comes back of a training.

    Attributes:
        outcome: how it ended, also by an exception, or what a file system refused.
        weights, checkpoint, damaged: contents of its files where it left them; the last one could not be
            continued from.
        said: lines for whoever watches the run.
    """

    outcome: Outcome | Raised | Refused
    weights: bytes | None = None
    checkpoint: bytes | None = None
    damaged: bytes | None = None
    said: tuple[str, ...] = ()

    def keep(self, job: Job) -> Outcome:
        """Write the files to where the driver wants them, and return the outcome that names them so.

        Raises InputError where a file system refuses, the node's or the driver's.
        """
        if isinstance(self.outcome, Refused):
            raise InputError(self.outcome.rule)
        checkpoint = Path(job.checkpoint)
        with writing(Path(job.weights).parent):
            if self.weights is not None:
                replace_file(Path(job.weights), self.weights)
            if self.damaged is not None:
                replace_file(checkpoint.with_suffix(DAMAGED), self.damaged)
            if self.checkpoint is not None:
                replace_file(checkpoint, self.checkpoint)
            elif job.checkpoint:
                checkpoint.unlink(missing_ok=True)
        outcome = self.outcome.outcome if isinstance(self.outcome, Raised) else self.outcome
        return replace(outcome, checkpoint=None if self.weights is None else job.weights)


class Process:
    """Builds its evaluator once, then trains what it is given."""

    def __init__(self, make_evaluate: Callable[..., Evaluate], goods: Sequence[Any]) -> None:
        self._make, self._goods = make_evaluate, goods
        self._seen, self._stopped = 0, -1

    def build(self) -> Station:
        """Build the evaluator and say where it is.

        Not done in __init__, which runs in another thread than `train`: some settings of torch hold for the
        thread that makes them.
        """
        self._evaluate = self._make(*(partial(ray.get, one) for one in self._goods))
        return Station(socket.gethostname(), version("scalesearch"))

    def train(self, job: Job, checkpoint: bytes | None) -> Trained:
        """Train with files of this node, which go back with the outcome."""
        self._seen = 0
        with TemporaryDirectory(prefix="scalesearch-") as folder:
            weights, kept = Path(folder) / Path(job.weights).name, Path(folder) / Path(job.checkpoint).name
            if checkpoint is not None:
                kept.write_bytes(checkpoint)
            own, said = replace(job, weights=str(weights), checkpoint=str(kept)), list[str]()
            outcome = train(self._evaluate, own, lambda: self._stopped == job.number, self._note, said.append)
            if isinstance(outcome, Refused):
                outcome = Refused(f"{socket.gethostname()}: {outcome.reason}")
            damaged = _contents(kept.with_suffix(DAMAGED))
            return Trained(outcome, _contents(weights), _contents(kept), damaged, tuple(said))

    def _note(self, images: int) -> None:
        self._seen = images

    def seen(self) -> int:
        """Return how many images the training has seen."""
        return self._seen

    def stop(self, number: int) -> None:
        """Let the training of this job write its checkpoint and end."""
        self._stopped = number


# A call of the group is answered by a thread of its own while another one trains.
Actor: Any = ray.remote(concurrency_groups={TALK: 1})(Process)


def _contents(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
