"""How many images a second a network trains on: by this engine and by the usual loop, over a few seconds."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

from scalesearch.architecture.network import Network
from scalesearch.training.augment import DeviceData
from scalesearch.training.build import build
from scalesearch.training.data import DataSet, Split, open_cached
from scalesearch.training.loop import train
from scalesearch.training.process import usable_cores
from scalesearch.training.recipe import Phase, Recipe

SIDE, CLASSES = 32, 10  # CIFAR-10's
STORED, EPOCH = 2048, 50_000  # synthetic images that there are, and how many the usual loop takes them for
JUDGED = 500  # synthetic validation images, of which a training evaluates two lots
WARM_STEPS = 3  # the first ones also set up kernels and memory
ENDLESS = 2_000_000  # images of a training that is stopped by the clock; its rates are still warming up then


class Throughput(NamedTuple):
    """One process's training: images a second, and the peak memory in bytes (of the device on CUDA)."""

    images_per_second: float
    peak_memory: int


def synthetic_data(seed: int = 0) -> DataSet:
    """Return random uint8 images of CIFAR-10's size and number of classes, as a data set in memory."""
    rng = np.random.default_rng(seed)

    def split(count: int) -> Split:
        images = rng.integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)
        return Split(images, rng.integers(0, CLASSES, count))

    classes = tuple(map(str, range(CLASSES)))
    return DataSet(
        name="synthetic",
        classes=classes,
        fingerprint=f"synthetic {seed}",
        resolution=SIDE,
        train=split(STORED),
        select=split(JUDGED),
        report=split(JUDGED),
        test=None,
        skipped=(),
        ignored=(),
        left_out={},
        demonstration=False,
        folder=Path(),
    )


@lru_cache(maxsize=1)
def _opened(folder: Path | None) -> DataSet:
    return synthetic_data() if folder is None else open_cached(folder)


@lru_cache(maxsize=1)
def _on_device(folder: Path | None, device: str) -> DeviceData:
    return DeviceData.of(_opened(folder), device)


class _Window:
    """Counts the images of a training between two of its steps; the first steps do not count."""

    def __init__(self, seconds: float, device: str) -> None:
        self._seconds, self._device = seconds, torch.device(device)
        self._began, self._steps, self._images = time.perf_counter(), 0, 0
        self._first: tuple[float, int, int] | None = None

    def count(self, images: int) -> None:
        """Take in that so many images have been seen."""
        self._steps += 1
        self._images = images
        # A machine that is slow or busy would spend minutes on three steps.
        warm = self._steps >= WARM_STEPS or time.perf_counter() - self._began > 2 * self._seconds
        if self._first is None and warm:
            self._first = self._now(), images, self._steps

    def over(self) -> bool:
        """Return whether the seconds are over, and at least two steps counted."""
        if self._first is None or self._steps < self._first[2] + 2:
            return False
        return time.perf_counter() - self._first[0] >= self._seconds

    def rate(self) -> float:
        """Return the images a second; call it right after the last step."""
        if self._first is None or self._images == self._first[1]:
            raise RuntimeError(f"the training ended after {self._images} images, before it could be timed")
        return (self._images - self._first[1]) / (self._now() - self._first[0])

    def _now(self) -> float:
        if self._device.type == "cuda":  # steps are queued: those that are counted must be done
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def at_own_resolution(recipe: Recipe) -> Recipe:
    """Return the recipe without a resolution schedule."""
    return Recipe(**{**vars(recipe), "phases": (Phase(1.0, 1.0),)})


def measure_engine(
    network: Network,
    *,
    seconds: float = 3.0,
    device: str = "cpu",
    recipe: Recipe | None = None,
    folder: Path | None = None,
) -> Throughput:
    """Train a network with this engine for some seconds, at its own resolution throughout.

    The network has the data's number of classes (10 for synthetic data); `folder` is that of cached data
    (`DataSet.folder`), None stands for synthetic images. Raises RuntimeError where the training fails.
    """
    window = _Window(seconds, device)
    outcome = train(
        network,
        _on_device(folder, device),
        at_own_resolution(recipe or Recipe()),
        images=ENDLESS,
        seed=0,
        device=device,
        should_stop=window.over,
        on_progress=window.count,
    )
    rate = window.rate()
    if outcome.status == "failed":
        raise RuntimeError(f"the timed training failed: {outcome.reason}")
    return Throughput(rate, outcome.peak_memory)


def engine_rate(network: Network, **options: Any) -> float:
    """Return this engine's images a second for a network in this process; options as in `measure_engine`."""
    return measure_engine(network, **options).images_per_second


def closing_seconds(network: Network, *, device: str = "cpu", recipe: Recipe | None = None) -> float:
    """Return the seconds an image from the last step to the end: batch-norm statistics and evaluation."""
    recipe = recipe or Recipe()
    last = [time.perf_counter()]
    outcome = train(
        network,
        _on_device(None, device),
        at_own_resolution(recipe),
        images=WARM_STEPS * recipe.batch_size,
        seed=0,
        device=device,
        on_progress=lambda _images: last.append(time.perf_counter()),
    )
    seconds = time.perf_counter() - last[-1]
    if outcome.status == "failed":
        raise RuntimeError(f"the timed training failed: {outcome.reason}")
    return seconds / (2 * JUDGED + recipe.norm_batches * recipe.batch_size)


class _Inside:
    """Adds up the time from a step's first module to the end of its last optimizer.

    Forward pass, loss, backward pass, clipping and update lie in between; the batch, augmentation and
    bookkeeping do not.
    """

    def __init__(self) -> None:
        self._entered, self._left = 0.0, 0.0
        self.steps, self.inside, self.total = 0, 0.0, 0.0

    def __enter__(self) -> Self:
        self._hooks = [
            register_module_forward_pre_hook(lambda _module, _inputs: self._enter()),
            register_optimizer_step_post_hook(lambda _optimizer, _args, _kwargs: self._leave()),
        ]
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self) -> None:
        if self._entered > self._left:
            return  # a module within the forward pass that has been entered
        now = time.perf_counter()
        if self._left:
            self.steps += 1
            if self.steps > 1:
                self.inside += self._left - self._entered
                self.total += now - self._entered
        self._entered = now

    def _leave(self) -> None:
        self._left = time.perf_counter()


def outside_share(network: Network, **options: Any) -> float:
    """Return the share of a training's time outside forward, backward and update; options as above.

    On the CPU only: on CUDA the host's clock does not see when a kernel runs, which raises ValueError.
    """
    if str(options.get("device", "cpu")).startswith("cuda"):
        raise ValueError("the share of time outside the step is measured on the CPU only")
    with _Inside() as inside:
        measure_engine(network, **options)
    if not inside.total:
        raise RuntimeError("no whole step of an optimizer was seen")
    return 1 - inside.inside / inside.total


class _Photos(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Images as torchvision's CIFAR10 serves them: a PIL image from an array (h, w, 3), then transforms."""

    def __init__(self, data: Split, length: int, transform: Any) -> None:
        self._images, self._labels = data.images, data.labels
        self._length, self._transform = length, transform

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        index %= len(self._labels)
        image = Image.fromarray(np.ascontiguousarray(self._images[index].transpose(1, 2, 0)))
        return self._transform(image), int(self._labels[index])


def _usual_transform(size: tuple[int, ...], side: int) -> Any:
    from torchvision import transforms as t

    resize = [] if size == (side, side) else [t.Resize(size)]
    varied = [t.RandomCrop(side, padding=side // 8), t.RandomHorizontalFlip(), *resize]
    return t.Compose([*varied, t.ToTensor(), t.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))])


def usual_batches(network: Network, data: DataSet, batch: int, loaders: int) -> Iterator[Any]:
    """Yield batches of (images, labels) without end, as the usual loop's DataLoader serves them."""
    length = EPOCH if data.folder == Path() else len(data.train)
    photos = _Photos(data.train, length, _usual_transform(network.input.size, data.resolution))
    # Forked, as on Linux by default: a process that was itself spawned would hand on all images by pickle.
    context = "fork" if loaders and sys.platform == "linux" else None
    loader = torch.utils.data.DataLoader(
        photos, batch, shuffle=True, num_workers=loaders, drop_last=True, multiprocessing_context=context
    )
    while True:
        with warnings.catch_warnings():
            # Python warns of a fork beside threads; the loader's processes use none of them.
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            batches = iter(loader)
        yield from batches


def naive_rate(
    network: Network,
    *,
    seconds: float = 3.0,
    device: str = "cpu",
    batch: int = 64,
    loaders: int | None = None,
    folder: Path | None = None,
) -> float:
    """Return the images a second of the usual loop for the same network at the same resolution.

    PIL images, torchvision's transforms (crop, flip, resize where the network's side is another, to
    tensor, normalise), a DataLoader with `loaders` processes (default: one a core), float32, NCHW, SGD
    with momentum; as many threads as torch is set to.
    """
    loaders = usable_cores() if loaders is None else loaders
    window = _Window(seconds, device)
    model = build(network).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step, (images, labels) in enumerate(usual_batches(network, _opened(folder), batch, loaders), 1):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images.to(device)), labels.to(device))
        torch.autograd.backward(loss)
        optimizer.step()
        window.count(step * batch)
        if window.over():
            break
    return window.rate()
