"""One step's batch: drawn on the host, turned into network input on the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from scalesearch.training.augment import (
    DeviceData,
    Size,
    cut_out,
    draw_boxes,
    draw_corners,
    draw_shifts,
    normalise,
    resize,
    resize_boxes,
    shift,
)
from scalesearch.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """What tells one step's batch from another's; None where the recipe or the moment has no such choice.

    Attributes:
        images: (n,) int64, the training images.
        shifts, mirrored: (2, n, 1) int64 and (n, 1) bool, see `augment.shift`.
        boxes: (n, 4) float64, see `augment.draw_boxes`.
        corners: (2, n, 1) int64, see `augment.draw_corners`.
    """

    images: Tensor
    shifts: Tensor | None = None
    mirrored: Tensor | None = None
    boxes: Tensor | None = None
    corners: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return what there is, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: tensor for name, tensor in named if tensor is not None}

    def to(self, device: torch.device) -> Batch:
        """Return the batch on the device; the copies do not wait."""
        return Batch(**{k: tensor.to(device, non_blocking=True) for k, tensor in self.tensors().items()})

    def clone(self) -> Batch:
        """Return a batch with memory of its own."""
        return Batch(**{name: tensor.clone() for name, tensor in self.tensors().items()})

    def fill(self, other: Batch) -> None:
        """Take over the other's contents, in place; ValueError where it has other choices or another size."""
        mine, theirs = self.tensors(), other.tensors()
        if {k: t.shape for k, t in mine.items()} != {k: t.shape for k, t in theirs.items()}:
            raise ValueError("a batch can be filled only with one of the same size and choices")
        for name, tensor in mine.items():
            tensor.copy_(theirs[name], non_blocking=True)

    def split(self, parts: int) -> Iterator[Batch]:
        """Yield the batch in at most `parts` pieces of nearly equal size."""
        if parts == 1:
            yield self
            return
        axis = {"shifts": 1, "corners": 1}
        pieces = {name: t.tensor_split(parts, axis.get(name, 0)) for name, t in self.tensors().items()}
        for index in range(parts):
            piece = Batch(**{name: split[index] for name, split in pieces.items()})
            if len(piece.images):
                yield piece


def draw(images: Tensor, recipe: Recipe, data_size: Size, size: Size, *, vary: bool) -> Batch:
    """Draw a batch of given images for an input of side `size`, from torch's global generator of the CPU.

    With `vary` off nothing is drawn, and there are no choices.
    """
    if not vary:
        return Batch(images)
    n, shifts, mirrored = len(images), None, None
    if recipe.crop_padding or recipe.flip:
        shifts, mirrored = draw_shifts(n, recipe.crop_padding, recipe.flip, data_size)
    boxes = draw_boxes(n, recipe.crop_area, recipe.crop_aspect) if recipe.crops else None
    corners = draw_corners(n, recipe.cutout, size) if recipe.cutout else None
    return Batch(images, shifts, mirrored, boxes, corners)


def with_null_choices(batch: Batch, recipe: Recipe, size: Size) -> Batch:
    """Return an unvaried batch with choices that change nothing, so that all batches look alike.

    Whole boxes resize as no boxes do up to the rounding of their products.
    """
    n = len(batch.images)
    shifts = recipe.crop_padding or recipe.flip
    return Batch(
        batch.images,
        torch.zeros(2, n, 1, dtype=torch.int64) if shifts else None,
        torch.zeros(n, 1, dtype=torch.bool) if shifts else None,
        torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).repeat(n, 1) if recipe.crops else None,
        torch.full((2, n, 1), max(size)) if recipe.cutout else None,
    )


def network_input(batch: Batch, data: DeviceData, recipe: Recipe, size: Size) -> tuple[Tensor, Tensor]:
    """Return normalised images (n, 3, *size), channels last, and labels (n,) of a batch on the device."""
    images = data.train_images[batch.images]
    if batch.shifts is not None and batch.mirrored is not None:
        images = shift(images, batch.shifts, batch.mirrored)
    values = images.float()
    boxed = resize(values, size) if batch.boxes is None else resize_boxes(values, batch.boxes, size)
    x = normalise(boxed, data)
    if batch.corners is not None:
        x = cut_out(x, batch.corners, recipe.cutout)
    return x, data.train_labels[batch.images]
