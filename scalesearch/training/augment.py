"""Batches from images that stay on the training device: crop, flip, resize, normalise."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scalesearch.training.data import DataSet

Size = tuple[int, ...]


@dataclass(frozen=True)
class DeviceData:
    """A data set on the training device.

    Attributes:
        train_images, select_images, report_images: (n, 3, height, width) uint8.
        train_labels, select_labels, report_labels: (n,) int64.
        classes: number of classes.
        mean, std: (3, 1, 1) float, of the training images' channels, in units of the uint8 values.
        fingerprint: names the data set; a checkpoint continues on the same one only.
    """

    train_images: Tensor
    train_labels: Tensor
    select_images: Tensor
    select_labels: Tensor
    report_images: Tensor
    report_labels: Tensor
    classes: int
    mean: Tensor
    std: Tensor
    fingerprint: str = ""

    @classmethod
    def of(cls, dataset: DataSet, device: torch.device | str = "cpu") -> DeviceData:
        """Put a data set on the device; on the CPU its arrays are shared, not copied."""
        train_images = _tensor(dataset.train.images, device)
        mean, std = channel_statistics(train_images)
        return cls(
            train_images,
            _tensor(dataset.train.labels, device),
            _tensor(dataset.select.images, device),
            _tensor(dataset.select.labels, device),
            _tensor(dataset.report.images, device),
            _tensor(dataset.report.labels, device),
            classes=len(dataset.classes),
            mean=mean,
            std=std,
            fingerprint=dataset.fingerprint,
        )


def _tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    with warnings.catch_warnings():
        # A memory-mapped array may be read-only; nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device, non_blocking=True)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel, (c, 1, 1), of images (n, c, h, w) uint8."""
    counts = torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in images.unbind(1)])
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64, device=images.device)
    mean = share @ values
    std = (share * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float().view(-1, 1, 1), std.clamp(min=1.0).float().view(-1, 1, 1)


def stream_seed(*numbers: int) -> int:
    """Return a 32-bit seed that differs for different tuples of numbers: (seed, step) and the like.

    Torch's CPU generator uses 32 bits of a seed, so that arithmetic on the numbers would collide.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Order:
    """The order of training images: a fresh permutation an epoch, the same for the same seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._permutation = lru_cache(maxsize=2)(self._draw)

    def _draw(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(stream_seed(self.seed, 1, epoch))
        return torch.randperm(self.count, generator=generator)

    def indices(self, start: int, stop: int) -> Tensor:
        """Return the images from number `start` to `stop` of the endless sequence, (stop - start,)."""
        parts = []
        while start < stop:
            epoch, position = divmod(start, self.count)
            end = min(self.count, position + stop - start)
            parts.append(self._permutation(epoch)[position:end])
            start += end - position
        return torch.cat(parts)


def _reflect(positions: Tensor, side: int) -> Tensor:
    # Reflection about the border pixels' centres: -1 -> 1, side -> side - 2.
    positions = positions.abs()
    return torch.where(positions >= side, 2 * (side - 1) - positions, positions)


def crop_flip(images: Tensor, padding: int, flip: bool) -> Tensor:
    """Shift each image by up to `padding` pixels (reflected at the border); mirror half of them.

    Equals padding by reflection and cropping back at random. (n, c, h, w) to the same shape and type;
    randomness from torch's global generator of the CPU, whatever the images' device is.
    """
    n, c, height, width = images.shape
    if padding >= min(height, width):
        raise ValueError(
            f"crop_padding must be below the images' side, but {padding} >= {min(height, width)}"
        )
    if not padding and not flip:
        return images
    shifts = torch.randint(-padding, padding + 1, (2, n, 1))
    rows = _reflect(torch.arange(height) + shifts[0], height)
    columns = _reflect(torch.arange(width) + shifts[1], width)
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    rows, columns = (t.to(images.device, non_blocking=True) for t in (rows, columns))
    images = images.gather(2, rows[:, None, :, None].expand(n, c, height, width))
    return images.gather(3, columns[:, None, None, :].expand(n, c, height, width))


@lru_cache(maxsize=64)
def area_weights(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """Return the (outputs, inputs) matrix of area resizing along one axis; rows sum to 1."""
    edges = torch.arange(outputs + 1, dtype=torch.float64) * inputs / outputs
    cells = torch.arange(inputs, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], cells + 1) - torch.maximum(edges[:-1, None], cells)
    return (overlap.clamp(min=0) * outputs / inputs).float().to(device)


def resize(images: Tensor, size: Size) -> Tensor:
    """Resize float images (n, c, h, w) to `size` by area: each output is the mean of what it covers.

    Keeps every image's mean exactly, for any ratio, unlike interpolation at points; enlarging repeats.
    """
    height, width = images.shape[-2:]
    if size != (height, width):
        rows = area_weights(height, size[0], images.device)
        columns = area_weights(width, size[1], images.device)
        images = rows @ (images @ columns.T)
    return images


def prepare(images: Tensor, size: Size, data: DeviceData) -> Tensor:
    """Turn uint8 images (n, 3, h, w) into normalised network input (n, 3, *size), channels last."""
    resized = resize(images.float(), size)
    return ((resized - data.mean) / data.std).contiguous(memory_format=torch.channels_last)


def evaluation_batches(
    images: Tensor, labels: Tensor, size: Size, data: DeviceData, batch: int = 250
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images in order, without augmentation, with their labels."""
    for start in range(0, len(labels), batch):
        stop = start + batch
        yield prepare(images[start:stop], size, data), labels[start:stop]
