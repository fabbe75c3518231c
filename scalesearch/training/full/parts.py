"""How the images of an optimizer step are divided over processes and accumulated parts."""

from __future__ import annotations

from typing import NamedTuple

from scalesearch.errors import InputError
from scalesearch.training.full.recipe import FullRecipe


class Division(NamedTuple):
    """Images of a step and of each of its parts; the parts may leave some of the step's over."""

    batch: int
    part: int


def divided(images: int, recipe: FullRecipe, world: int, least: int) -> Division:
    """Divide a step of a training on so many images.

    All images are one step where they are fewer than the recipe's batch.

    Args:
        images: to train on.
        recipe: its `batch_size` is divided over `world` processes and `accumulate` parts.
        world: processes.
        least: images a part; batch norm that is trained needs 2, it has no variance of one value.

    InputError where the batch cannot be divided evenly, or a part has fewer images.
    """
    parts, batch = world * recipe.accumulate, min(images, recipe.batch_size)
    if recipe.batch_size % parts:
        raise InputError(
            f"batch_size must be a multiple of processes times accumulated parts, "
            f"but got {recipe.batch_size} for {world} x {recipe.accumulate}"
        )
    if batch < parts:
        raise InputError(
            f"each of {parts} parts of a batch needs an image, but there are {images} to train on"
        )
    if batch // parts < least:
        raise InputError(
            f"batch norm that is trained needs {least} images in each part of a batch, but {batch} images "
            f"in {parts} parts ({world} processes x {recipe.accumulate} accumulated) have {batch // parts}"
        )
    return Division(batch, batch // parts)


def smaller(images: int, recipe: FullRecipe, world: int, least: int) -> int | None:
    """Return the next larger `accumulate` that `divided` allows with smaller parts, if there is one."""
    batch = min(images, recipe.batch_size)
    now = batch // (world * recipe.accumulate)
    for count in range(recipe.accumulate + 1, batch // (world * least) + 1):
        if recipe.batch_size % (world * count) == 0 and batch // (world * count) < now:
            return count
    return None
