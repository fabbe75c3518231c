"""Batches from images that stay on the training device: crop, flip, cut out, resize, normalise.

Every random choice is drawn on the host (`draw_*`) and carried out on the device, so that it depends on the
seed alone, whatever the device, and so that a recorded step can be repeated with other choices.
"""

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
Range = tuple[float, float]


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


def draw_shifts(n: int, padding: int, flip: bool, size: Size) -> tuple[Tensor, Tensor]:
    """Return what `shift` takes for n images of side `size`: shifts in pixels, and which ones to mirror.

    From torch's global generator of the CPU, like all that is drawn here. Raises ValueError where the
    padding is not below the side: reflection would need pixels that are not there.
    """
    if padding >= min(size):
        raise ValueError(f"crop_padding must be below the images' side, but {padding} >= {min(size)}")
    shifts = torch.randint(-padding, padding + 1, (2, n, 1))
    return shifts, torch.rand(n, 1) < 0.5 if flip else torch.zeros(n, 1, dtype=torch.bool)


def shift(images: Tensor, shifts: Tensor, mirrored: Tensor) -> Tensor:
    """Move images (n, c, h, w) by `shifts` (2, n, 1), reflected at the border; mirror `mirrored` (n, 1)."""
    n, c, height, width = images.shape
    device = images.device
    rows = _reflect(torch.arange(height, device=device) + shifts[0], height)
    columns = _reflect(torch.arange(width, device=device) + shifts[1], width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    images = images.gather(2, rows[:, None, :, None].expand(n, c, height, width))
    return images.gather(3, columns[:, None, None, :].expand(n, c, height, width))


def crop_flip(images: Tensor, padding: int, flip: bool) -> Tensor:
    """Shift each image by up to `padding` pixels (reflected at the border); mirror half of them.

    Equals padding by reflection and cropping back at random. (n, c, h, w) to the same shape and type.
    """
    if not padding and not flip:
        return images
    draws = draw_shifts(len(images), padding, flip, images.shape[2:])
    return shift(images, *(draw.to(images.device) for draw in draws))


def draw_boxes(n: int, area: Range, aspect: Range) -> Tensor:
    """Return n random boxes in the image, (n, 4) float64: top, left, height, width, as shares of its sides.

    The area is uniform, the aspect (width over height, relative to the image's own) log-uniform, the place
    uniform, as in random resized cropping (Szegedy et al. 2015, section 6). A box longer than the image is
    cut to it, where others draw again: a fixed number of draws keeps a batch in one piece.
    """
    u = torch.rand(4, n, dtype=torch.float64)
    areas = area[0] + u[0] * (area[1] - area[0])
    aspects = aspect[0] * (aspect[1] / aspect[0]) ** u[1]
    sides = torch.stack([areas / aspects, areas * aspects], 1).sqrt().clamp(max=1.0)
    return torch.cat([u[2:].T * (1 - sides), sides], 1)


def draw_corners(n: int, share: float, size: Size) -> Tensor:
    """Return n random upper left corners, (2, n, 1), of cutouts that lie wholly inside `size`."""
    return torch.stack(
        [
            torch.randint(side - covered + 1, (n, 1))
            for side, covered in zip(size, cutout_size(share, size), strict=True)
        ]
    )


def cutout_size(share: float, size: Size) -> Size:
    """Return the sides of a cutout in pixels of images of side `size`, at least one pixel."""
    return tuple(max(1, round(share * side)) for side in size)


def cut_out(x: Tensor, corners: Tensor, share: float) -> Tensor:
    """Zero a rectangle of every image (DeVries and Taylor 2017): normalised, that is the mean colour.

    Args:
        x: (n, c, h, w), any type.
        corners: (2, n, 1), see `draw_corners`; at the size of the image or beyond nothing is covered.
        share: of each side; the rectangle lies wholly inside, so that its area is always the same.
    """
    inside = []
    for side, covered, corner in zip(x.shape[2:], cutout_size(share, x.shape[2:]), corners, strict=True):
        positions = torch.arange(side, device=x.device)
        inside.append((positions >= corner) & (positions < corner + covered))
    # A copy keeps the order of the axes in memory, which filling out of place does not.
    return x.clone().masked_fill_((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0)


def box_weights(starts: Tensor, lengths: Tensor, inputs: int, outputs: int) -> Tensor:
    """Return (n, outputs, inputs): area resizing, along one axis, of n intervals of it; rows sum to 1.

    `starts` and `lengths`, (n,) float64 in pixels, need not be whole.
    """
    starts, lengths = starts[:, None, None], lengths[:, None, None]
    bounds = torch.arange(outputs + 1, dtype=torch.float64, device=starts.device)[:, None]
    edges = starts + bounds * lengths / outputs
    cells = torch.arange(inputs, dtype=torch.float64, device=starts.device)
    overlap = torch.minimum(edges[:, 1:], cells + 1) - torch.maximum(edges[:, :-1], cells)
    return (overlap.clamp(min=0) * outputs / lengths).float()


@lru_cache(maxsize=64)
def area_weights(inputs: int, outputs: int, device: torch.device) -> Tensor:
    """Return the (outputs, inputs) matrix of area resizing along one axis; rows sum to 1."""
    start, length = torch.zeros(1, dtype=torch.float64), torch.full((1,), inputs, dtype=torch.float64)
    return box_weights(start, length, inputs, outputs)[0].to(device)


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


def resize_boxes(images: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Resize a box of each float image (n, c, h, w) to `size` by area; `boxes` (n, 4) as in `draw_boxes`.

    Each output is the mean of what it covers, fractions of pixels included, so nothing aliases.
    """
    height, width = images.shape[-2:]
    top, left, tall, wide = boxes.unbind(1)
    rows = box_weights(top * height, tall * height, height, size[0])
    columns = box_weights(left * width, wide * width, width, size[1])
    return rows[:, None] @ (images @ columns[:, None].mT)


def normalise(images: Tensor, data: DeviceData) -> Tensor:
    """Return float images (n, 3, h, w) with mean 0 and deviation 1 a channel, channels last."""
    return ((images - data.mean) / data.std).contiguous(memory_format=torch.channels_last)


def prepare(images: Tensor, size: Size, data: DeviceData) -> Tensor:
    """Turn uint8 images (n, 3, h, w) into normalised network input (n, 3, *size), channels last."""
    return normalise(resize(images.float(), size), data)


def evaluation_batches(
    images: Tensor, labels: Tensor, size: Size, data: DeviceData, batch: int = 250
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images in order, without augmentation, with their labels."""
    for start in range(0, len(labels), batch):
        stop = start + batch
        yield prepare(images[start:stop], size, data), labels[start:stop]
