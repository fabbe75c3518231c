"""What `scalesearch train` was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainRequest:
    """What the command line asks for; None stands for the recipe's, the network's or the machine's own.

    Attributes:
        network: as `target.resolve` reads it.
        recipe: a name or path, or None for `full`, with weights for `transfer`.
        changes: fields of the recipe and their values, by the option that asks for them.
        weights: "torchvision" or a path. freeze: see `transfer.parse_freeze`.
        resolution: of the inputs, in pixels.
        out: the folder.
    """

    network: str
    data: str | None
    recipe: str | None
    epochs: int | None
    changes: Mapping[str, tuple[str, Any]]
    weights: str | None
    freeze: str
    resolution: int | None
    seed: int
    device: str
    loader_workers: int | None
    out: str | None
    tensorboard: bool
