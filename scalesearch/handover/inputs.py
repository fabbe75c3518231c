"""How image files become a model's inputs: as the evaluation of its training made them of stored images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from scalesearch.errors import InputError
from scalesearch.handover.model import Model
from scalesearch.training import augment
from scalesearch.training.data.dataset import Split
from scalesearch.training.full.images import evaluation_batches

AREA = "area"  # facts["resize"] of what the short engine trained; full trainings interpolate
LARGEST = 4096  # px of a stored square that is believed


@dataclass(frozen=True)
class Preparation:
    """What was done to images before a model was evaluated on them.

    Attributes:
        stored: the side in pixels of the squares that the data were kept as; None where it is not known.
        area: whether these were resized by area, as in a search, or bilinearly with antialias, as in a full
            training.
    """

    stored: int | None = None
    area: bool = False

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Read a model's facts, `data.resolution` and `resize`; InputError where the side cannot be one."""
        data = facts.get("data")
        side = data.get("resolution") if isinstance(data, Mapping) else None
        if side is not None and (type(side) is not int or not 1 <= side <= LARGEST):
            raise InputError(
                f"a model's facts: data.resolution is whole pixels from 1 to {LARGEST}, but got {side!r}"
            )
        return cls(side, facts.get("resize") == AREA)

    @property
    def text(self) -> str:
        """What a user has to do to images, in words; empty where it is not known."""
        if self.stored is None:
            return ""
        way = "by area" if self.area else "bilinearly with antialias"
        return (
            f"It was evaluated on images cropped to their middle at {self.stored} px (shorter side resized "
            f"bicubically) and then resized {way} to the input's size; `scalesearch predict` does the same."
        )


class Inputs:
    """Makes a model's inputs; `side` is that of the squares that files are decoded to."""

    def __init__(self, model: Model) -> None:
        self._prepared = Preparation.of(model.facts)
        height, width = model.network.input.size
        self._size = (height, width)
        self.side = self._prepared.stored or height
        self._mean, self._std = _channels(model.mean, 0.0), _channels(model.std, 1.0)

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """Return decoded images, (n, 3, side, side) uint8, as the network takes them."""
        if self._prepared.area:
            resized = augment.resize(torch.from_numpy(np.array(pixels)).float(), self._size)
            mean, std = (values.view(1, 3, 1, 1) for values in (self._mean, self._std))
            return (resized - 255 * mean) / (255 * std)
        split = Split(pixels, np.zeros(len(pixels), dtype=np.int64))
        ((inputs, _),) = evaluation_batches(split, self._size, self._mean, self._std, len(pixels))
        return inputs


def _channels(values: Sequence[float] | None, default: float) -> Tensor:
    return torch.tensor([default] * 3 if values is None else values)
