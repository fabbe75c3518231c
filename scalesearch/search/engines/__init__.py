"""Where trainings run. An engine takes jobs and gives back outcomes; it knows nothing of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from scalesearch.outcome import Outcome


@dataclass(frozen=True)
class Job:
    """One training to run.

    Attributes:
        network: the proxy's document. images: training images. seed: of everything random in it.
        weights: file for the trained weights. checkpoint: file that an interrupted training continues from.
    """

    number: int
    network: dict[str, Any]
    images: int
    seed: int
    weights: str
    checkpoint: str


Evaluate = Callable[[Job, Callable[[], bool], Callable[[int], None]], Outcome]


@dataclass(frozen=True)
class Progress:
    """A training has seen this many images."""

    job: int
    images: int


@dataclass(frozen=True)
class Finished:
    """A training has ended."""

    job: int
    outcome: Outcome
    worker: int


Event = Progress | Finished


class Engine(Protocol):
    """What the driver asks of a place to run trainings."""

    @property
    def idle(self) -> int:
        """How many jobs would start at once."""
        ...

    def submit(self, job: Job) -> None:
        """Start a job; only while `idle` is positive."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """Return what has happened, waiting at most this long for something."""
        ...

    def stop(self) -> None:
        """Ask every running training to write its checkpoint and end as interrupted."""
        ...
