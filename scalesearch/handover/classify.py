"""What a model makes of image files: prepared as those that it was evaluated on, one after the other."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from scalesearch.errors import InputError
from scalesearch.handover.inputs import Inputs
from scalesearch.handover.model import Model
from scalesearch.training.build import build
from scalesearch.training.data.image import attempt, decode_image


@dataclass(frozen=True)
class Guess:
    """A class by its index and name (None where classes have none), and its probability (softmax)."""

    index: int
    name: str | None
    probability: float


@dataclass(frozen=True)
class Classified:
    """A file and the likeliest classes, the likeliest first; or why it has none."""

    file: Path
    guesses: tuple[Guess, ...] = ()
    error: str | None = None


class Classifier:
    """A trained model, ready for image files; InputError where it is not one for square RGB images."""

    def __init__(self, model: Model) -> None:
        network = model.network
        if model.weights is None:
            raise InputError(f"predict needs a trained network, but {network.name} has no trained weights")
        shape = network.input
        if shape.channels != 3 or len(shape.size) != 2 or shape.size[0] != shape.size[1]:
            raise InputError(
                f"predict needs a network for square RGB images, but the input of {network.name} is "
                f"{shape.channels} x {' x '.join(str(side) for side in shape.size)}"
            )
        self._names = model.classes
        self._inputs = Inputs(model)
        self._module = _module(model)

    def classify(self, files: Iterable[Path], top: int) -> Iterator[Classified]:
        """Yield each file's `top` likeliest classes, in the order of the files."""
        for file in files:
            pixels = self._decoded(file)
            if isinstance(pixels, str):
                yield Classified(file, error=pixels)
            else:
                yield Classified(file, self._guesses(pixels, top))

    def _decoded(self, file: Path) -> np.ndarray | str:
        with warnings.catch_warnings():
            # Of odd metadata and of more than 89 million pixels; what Pillow decodes all the same is used.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            return attempt(lambda content: decode_image(content, self._inputs.side), file)

    def _guesses(self, pixels: np.ndarray, top: int) -> tuple[Guess, ...]:
        with torch.inference_mode():
            shares = self._module(self._inputs(pixels[None])).softmax(1)[0]
        found, order = shares.topk(min(top, len(shares)))
        return tuple(
            Guess(index, None if self._names is None else self._names[index], share)
            for index, share in zip(order.tolist(), found.tolist(), strict=True)
        )


def _module(model: Model) -> nn.Module:
    with torch.device("meta"):
        module = build(model.network)
    module.load_state_dict(dict(model.weights or {}), assign=True)
    return module.eval()
