"""What passes between a search and whatever evaluates its candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["complete", "failed", "interrupted"]


@dataclass(frozen=True)
class Outcome:
    """The result of one training.

    Attributes:
        status: complete; failed (`reason` says why); interrupted (checkpointed, never scored).
        val_accuracy, val_loss: on the validation images that choices are made by; accuracy is a fraction.
        report_accuracy: on the other half of the validation images, by which nothing is chosen.
        train_loss_last_quarter: mean training loss over the last quarter of the images.
        curve: (images seen, training loss) pairs, evenly spread.
        images: training images seen, repeats counted.
        macs: multiply-accumulates of the forward passes spent on training images.
        seconds: wall time of the training. peak_memory: bytes, of the process (CPU) or the device.
        checkpoint: the file with the trained weights, or None.
        accumulated: parts that each batch was split into for want of memory; batch norm then took its
            statistics from the parts.
        deterministic: whether a repeat on the same machine with the same versions and threads gives the
            same bits; where it is false, that is not promised.
    """

    status: Status
    reason: str | None = None
    val_accuracy: float | None = None
    val_loss: float | None = None
    report_accuracy: float | None = None
    train_loss_last_quarter: float | None = None
    curve: tuple[tuple[int, float], ...] = ()
    images: int = 0
    macs: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    seed: int = 0
    checkpoint: str | None = None
    accumulated: int = 1
    deterministic: bool = False
