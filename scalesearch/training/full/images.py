"""Batches of a full training, on the host: cropped, mirrored, augmented, normalised and mixed.

Every random choice comes from a stream that the seed, the epoch and a position in the epoch name, so that
batches are the same whatever prepares them, and from wherever an epoch is taken up again.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from scalesearch.errors import InputError
from scalesearch.training.augment import Order, draw_shifts, shift, stream_seed
from scalesearch.training.data import DataSet, Split
from scalesearch.training.full.parts import divided
from scalesearch.training.full.recipe import MAGNITUDES, FullRecipe, Setting

if TYPE_CHECKING:
    from torchvision.transforms import v2

# torchvision takes longer to load than all else together, and most commands that come by here never change an
# image: functions that do load it.
Size = tuple[int, int]
Batch = tuple[Tensor, Tensor]

# What a random stream is for; together with the seed, the epoch and a position it seeds the stream.
_STEP, _IMAGE, _ERASED, _MIXED = 5, 6, 7, 8
_AT_ONCE = 256  # images, for statistics

# Mean and standard deviation, (3,) each, in units of pixels scaled to [0, 1], that torchvision's published
# weights were trained with.
IMAGENET = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))


class _Task(NamedTuple):
    """What a worker needs to know to prepare one part of a step's batch."""

    epoch: int
    step: int
    part: int
    size: Size
    setting: Setting


class _Plan:
    """The tasks of the present epoch, as a sampler: it alone changes between epochs."""

    def __init__(self) -> None:
        self.tasks: list[_Task] = []

    def __iter__(self) -> Iterator[_Task]:
        return iter(self.tasks)


def _tensor(images: np.ndarray) -> Tensor:
    with warnings.catch_warnings():
        # A memory-mapped array is read-only; nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def _resized(images: Tensor, size: Size) -> Tensor:
    from torchvision.transforms.v2.functional import resize

    resized: Tensor = resize(images, list(size), antialias=True)
    return resized


def _normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    scale = 255 * std.view(-1, 1, 1)
    return images.float().sub_(255 * mean.view(-1, 1, 1)).div_(scale)


def _seed(*numbers: int) -> None:
    torch.default_generator.manual_seed(stream_seed(*numbers))


class _Parts(Dataset[Batch]):
    """Prepares any part of any step's batch; the same in every process."""

    def __init__(
        self, data: DataSet, recipe: FullRecipe, seed: int, mean: Tensor, std: Tensor, sizes: tuple[int, int]
    ) -> None:
        self.data, self.recipe, self.seed, self.mean, self.std = data, recipe, seed, mean, std
        self.batch, self.part = sizes  # images a step, images a part

    @cached_property
    def _order(self) -> Order:
        return Order(len(self.data.train), self.seed)

    def __getitem__(self, task: _Task) -> Batch:
        """Return x (n, 3, *size) and targets (n, classes); the caller's generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            start = task.step * self.batch + task.part * self.part
            positions = range(start, start + self.part)
            images, labels = self._read(task.epoch, positions)
            images = self._shifted(images, task)
            images = self._changed(images, task, positions)
            x = self._erased(_normalised(images, self.mean, self.std), task, positions)
            return self._mixed(x, labels, task)

    def _read(self, epoch: int, positions: range) -> Batch:
        before = epoch * len(self.data.train)
        chosen = self._order.indices(before + positions.start, before + positions.stop).numpy()
        train = self.data.train
        return torch.from_numpy(train.images[chosen]), torch.from_numpy(train.labels[chosen])

    def _shifted(self, images: Tensor, task: _Task) -> Tensor:
        """Mirror, and shift within the padding: drawn for the whole step, so that any split of it agrees."""
        recipe = self.recipe
        _seed(self.seed, _STEP, task.epoch, task.step)
        shifts, mirrored = draw_shifts(self.batch, recipe.crop_padding, recipe.flip, images.shape[2:])
        mine = slice(task.part * self.part, (task.part + 1) * self.part)
        if recipe.crop_padding:
            return shift(images, shifts[:, mine], mirrored[mine])
        return torch.where(mirrored[mine][:, :, None, None], images.flip(3), images)

    def _changed(self, images: Tensor, task: _Task, positions: range) -> Tensor:
        """Crop and augment image by image where the recipe asks for it; bring all to the size."""
        changes = self._changes(task)
        if not self.recipe.crops:
            images = _resized(images, task.size)
        if not changes:
            return images
        changed = []
        for image, position in zip(images, positions, strict=True):
            _seed(self.seed, _IMAGE, task.epoch, position)
            for change in changes:
                image = change(image)
            changed.append(image)
        return torch.stack(changed)

    def _changes(self, task: _Task) -> list[v2.Transform]:
        from torchvision.transforms import v2

        recipe, changes = self.recipe, list[v2.Transform]()
        if recipe.crops:
            area, aspect = recipe.crop_area, recipe.crop_aspect
            changes.append(v2.RandomResizedCrop(task.size, scale=area, ratio=aspect, antialias=True))
        if task.setting.randaugment_magnitude:
            colour = (255 * self.mean).round().tolist()  # of what a shift or turn uncovers
            operations, magnitude = recipe.randaugment_ops, task.setting.randaugment_magnitude
            changes.append(v2.RandAugment(operations, magnitude, MAGNITUDES + 1, fill=colour))
        return changes

    def _erased(self, x: Tensor, task: _Task, positions: range) -> Tensor:
        if task.setting.random_erasing:
            from torchvision.transforms import v2

            erase = v2.RandomErasing(task.setting.random_erasing, inplace=True)
            for image, position in zip(x, positions, strict=True):
                _seed(self.seed, _ERASED, task.epoch, position)
                erase(image)
        return x

    def _mixed(self, x: Tensor, labels: Tensor, task: _Task) -> Batch:
        """Mix the images of a part with each other, by one of the ways that are on; smooth the targets."""
        from torchvision.transforms import v2

        targets, setting = F.one_hot(labels, len(self.data.classes)).float(), task.setting
        ways = [
            way(alpha=alpha)
            for way, alpha in ((v2.MixUp, setting.mixup), (v2.CutMix, setting.cutmix))
            if alpha
        ]
        if ways:
            _seed(self.seed, _MIXED, task.epoch, task.step, task.part)
            x, targets = ways[int(torch.randint(len(ways), ()))](x, targets)
        smoothing = self.recipe.label_smoothing
        return x, targets * (1 - smoothing) + smoothing / targets.shape[1]


def _as_is(batch: Any) -> Any:
    return batch


def _deaf(_worker: int) -> None:
    # What a terminal or a scheduler sends to all processes is heard by the one that waits for the batches;
    # a worker ends when that one does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class TrainImages:
    """The training batches of one process; use it as a context, which ends its workers.

    Args:
        data: uint8 images, mapped from the disk.
        recipe: its `batch_size` is divided over `world` processes and `accumulate` parts.
        seed: of order and augmentation.
        mean, std: (3,), in units of pixels scaled to [0, 1].
        workers: processes that prepare batches, started once and kept; 0 prepares them here.
        rank, world: which process this is, of how many.
        least: images that each part must have, see `parts.divided`.

    Attributes:
        batch: images that a step shows, over all processes and parts.
        steps: optimizer steps an epoch; what is left of the images is dropped, unless all of them are fewer
            than a batch: then they are one.

    InputError where the batch cannot be divided so, or the padding is not below the images' side.
    """

    def __init__(
        self,
        data: DataSet,
        recipe: FullRecipe,
        *,
        seed: int,
        mean: Tensor,
        std: Tensor,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
        least: int = 1,
    ) -> None:
        batch, part = sizes = divided(len(data.train), recipe, world, least)
        if recipe.crop_padding >= data.resolution:
            raise InputError(
                f"crop_padding must be below the images' {data.resolution} px, but got {recipe.crop_padding}"
            )
        self.steps, self.batch = len(data.train) // batch, part * world * recipe.accumulate
        self._accumulate, self._rank, self._world = recipe.accumulate, rank, world
        self._parts = _Parts(data, recipe, seed, mean, std, sizes)
        self._plan = _Plan()
        self._loader = self._started(workers) if workers else None

    def _started(self, workers: int) -> DataLoader[Batch]:
        return DataLoader(
            self._parts,
            batch_size=None,
            sampler=self._plan,
            num_workers=workers,
            collate_fn=_as_is,
            worker_init_fn=_deaf,
            multiprocessing_context="spawn",
            persistent_workers=True,
            generator=torch.Generator(),  # else each epoch would draw from the caller's
        )

    def batches(self, epoch: int, size: Size, setting: Setting, first: int = 0) -> Iterator[Batch]:
        """Yield this process's parts of an epoch's steps from step `first` on; `accumulate` make a step.

        Each is x (n, 3, *size) float32, normalised, and targets (n, classes) float32. With `world` times
        `accumulate` unchanged they are the same parts, dealt to other processes; with another product,
        the same images with the same augmentation, but mixed with others.
        """
        self._plan.tasks = [
            _Task(epoch, step, turn * self._world + self._rank, size, setting)
            for step in range(first, self.steps)
            for turn in range(self._accumulate)
        ]
        if self._loader is None:
            yield from (self._parts[task] for task in self._plan.tasks)
        else:
            yield from self._loader

    def close(self) -> None:
        """End the workers; batches are prepared here from then on."""
        self._loader = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: Any) -> None:
        self.close()


def evaluation_batches(
    split: Split, size: Size, mean: Tensor, std: Tensor, batch_size: int = 250
) -> Iterator[Batch]:
    """Yield a split's images in order, whole, resized and normalised, with their labels (n,) int64."""
    for start in range(0, len(split), batch_size):
        part = slice(start, start + batch_size)
        images = _resized(_tensor(split.images[part]), size)
        yield _normalised(images, mean, std), torch.from_numpy(np.array(split.labels[part]))


def statistics(data: DataSet) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the training images' channels, (3,), pixels scaled to [0, 1].

    The deviation is at least one step of the 256, so that channels without any can be divided by it.
    """
    images, counts = data.train.images, torch.zeros(3, 256, dtype=torch.float64)
    for start in range(0, len(images), _AT_ONCE):
        channels = _tensor(images[start : start + _AT_ONCE]).unbind(1)
        counts += torch.stack([torch.bincount(channel.reshape(-1), minlength=256) for channel in channels])
    share, values = counts / counts.sum(1, keepdim=True), torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    std = (share * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return mean.float(), std.clamp(min=1 / 255).float()
