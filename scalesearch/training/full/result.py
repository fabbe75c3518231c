"""What a full training tells on its way, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor

from scalesearch.training.full.evaluate import Score

Status = Literal["complete", "interrupted", "failed"]
Weights = dict[str, Tensor]


class Seen(NamedTuple):
    """How far a training is: epoch from 1, and images of this one and of all of them."""

    epoch: int
    epochs: int
    images: int
    all_images: int


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        status: "failed" where a loss was not finite or the memory did not suffice; `reason` says where.
        rows: what is known of each epoch, as in log.csv.
        best: the epoch, from 1, whose network did best on the `select` split; None before the first.
        select: the best network's score there. report, test: its scores on the splits that nothing was
            chosen by, of complete trainings; test is None where the data have no such part.
        weights, last: of the best and of the last epoch's network, on the CPU, named as in `build`; in the
            first process.
        steps, images, seconds: taken, shown and needed, former calls included.
        peak_memory: in bytes, of this process.
        mean, std: (3,), that inputs are normalised by, in units of pixels scaled to [0, 1].
        source, loaded, left_out: where the first weights came from, and which tensors of them.
    """

    status: Status
    reason: str | None = None
    rows: tuple[dict[str, Any], ...] = ()
    best: int | None = None
    select: Score | None = None
    report: Score | None = None
    test: Score | None = None
    weights: Weights | None = field(default=None, repr=False)
    last: Weights | None = field(default=None, repr=False)
    steps: int = 0
    images: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    source: str = ""
    loaded: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
