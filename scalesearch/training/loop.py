"""The short training: a network, a data set, a recipe and a number of images in; an outcome out."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.outcome import Outcome
from scalesearch.training.augment import (
    DeviceData,
    Order,
    Size,
    crop_flip,
    evaluation_batches,
    prepare,
    stream_seed,
)
from scalesearch.training.build import build
from scalesearch.training.checkpoint import read_checkpoint, write_checkpoint, write_weights
from scalesearch.training.curve import last_quarter, loss_curve
from scalesearch.training.optimizer import Optimizers
from scalesearch.training.process import peak_memory
from scalesearch.training.recipe import Recipe

_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
# What a random stream is for; together with the training's seed and a counter it seeds the stream.
_INITIAL, _STEP, _NORM = 2, 3, 4


@dataclass
class _State:
    """What changes while training, beside the model and the optimizers."""

    losses: Tensor  # of each step, on the device; NaN where not yet taken
    step: int = 0
    macs: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.started


class _Training:
    """One training; `train` is its face."""

    def __init__(
        self, network: Network, data: DeviceData, recipe: Recipe, images: int, seed: int, device: torch.device
    ) -> None:
        self.network, self.data, self.recipe = network, data, recipe
        self.images, self.seed, self.device = images, seed, device
        self.steps = math.ceil(images / recipe.batch_size)
        self.order = Order(len(data.train_images), seed)
        self.flops: dict[Size, int] = {}
        torch.manual_seed(stream_seed(seed, _INITIAL, 0))
        self.model = build(network).to(device).to(memory_format=torch.channels_last)
        self.optimizers = Optimizers(self.model, recipe)
        self.state = _State(torch.full((self.steps,), math.nan, device=device))

    def key(self) -> str:
        """Return what a checkpoint must agree on to be continued."""
        parts = [to_document(self.network), asdict(self.recipe), self.images, self.seed]
        text = json.dumps([*parts, self.data.fingerprint], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def seen(self) -> int:
        return min(self.state.step * self.recipe.batch_size, self.images)

    def losses(self) -> list[float]:
        taken: list[float] = self.state.losses[: self.state.step].tolist()
        return taken

    def _size(self, scale: float) -> Size:
        return tuple(max(1, round(side * scale)) for side in self.network.input.size)

    def _batch(self, start: int, stop: int, size: Size) -> tuple[Tensor, Tensor]:
        chosen = self.order.indices(start, stop).to(self.device, non_blocking=True)
        images = self.data.train_images[chosen]
        if start >= len(self.data.train_images):  # an image's first time needs no variation
            images = crop_flip(images, self.recipe.crop_padding, self.recipe.flip)
        return prepare(images, size, self.data), self.data.train_labels[chosen]

    def _logits(self, x: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            logits: Tensor = self.model(x)
        return logits.float()

    def step(self) -> None:
        """Take one step; its randomness depends on the seed and the step's number only."""
        state, start = self.state, self.seen()
        stop = min(start + self.recipe.batch_size, self.images)
        torch.manual_seed(stream_seed(self.seed, _STEP, state.step))
        size = self._size(self.recipe.scale(start / self.images))
        x, labels = self._batch(start, stop, size)
        loss = F.cross_entropy(self._logits(x), labels, label_smoothing=self.recipe.label_smoothing)
        torch.autograd.backward(loss)
        self.optimizers.step((start + stop) / 2 / self.images)
        state.losses[state.step] = loss.detach()
        state.macs += (stop - start) * self._flops(size)
        state.step += 1

    def _flops(self, size: Size) -> int:
        if size not in self.flops:
            self.flops[size] = replace(self.network, resolution=size).cost().flops
        return self.flops[size]

    def broken_at(self) -> int | None:
        """Return the number of images after which the loss was first not finite, or None."""
        bad = (~torch.isfinite(self.state.losses[: self.state.step])).nonzero()
        return int(bad[0]) * self.recipe.batch_size if len(bad) else None

    @torch.no_grad()
    def measure_norms(self) -> None:
        """Replace batch norm's moving averages by means over fresh training batches with final weights.

        The averages of a short training still remember its beginning and other resolutions.
        """
        norms = [m for m in self.model.modules() if isinstance(m, _BATCH_NORMS)]
        if not norms or not self.recipe.norm_batches:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches
        torch.manual_seed(stream_seed(self.seed, _NORM, 0))
        for batch in range(self.recipe.norm_batches):
            start = self.images + batch * self.recipe.batch_size
            self._logits(self._batch(start, start + self.recipe.batch_size, self.network.input.size)[0])
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return accuracy (a fraction) and mean cross entropy, in eval mode at the network's resolution."""
        right, loss = 0, 0.0
        self.model.eval()
        for x, targets in evaluation_batches(images, labels, self.network.input.size, self.data):
            logits = self._logits(x)
            right += int((logits.argmax(1) == targets).sum())
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
        self.model.train()
        return right / len(labels), loss / len(labels)

    def save(self, path: Path) -> None:
        """Write everything that continuing needs."""
        state = self.state
        progress = {"losses": state.losses, "step": state.step, "macs": state.macs}
        write_checkpoint(
            path,
            key=self.key(),
            model=self.model.state_dict(),
            optimizers=self.optimizers.state_dict(),
            state=progress | {"seconds": state.elapsed()},
        )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; ValueError where it is damaged or of another training."""
        stored = read_checkpoint(path, self.key(), self.device)
        self.model.load_state_dict(stored["model"])
        self.optimizers.load_state_dict(stored["optimizers"])
        self.state = _State(**stored["state"])

    def outcome(self, **values: Any) -> Outcome:
        return Outcome(
            curve=loss_curve(self.losses(), self.recipe.batch_size, self.images),
            images=self.seen(),
            macs=self.state.macs,
            seconds=self.state.elapsed(),
            peak_memory=peak_memory(self.device),
            seed=self.seed,
            **values,
        )


def _never() -> bool:
    return False


def _ignore(_images: int) -> None:
    return None


def _check(network: Network, data: DeviceData, images: int) -> None:
    if network.dims != 2 or network.in_channels != 3:
        raise ValueError("a training on images needs a network with dims=2 and in_channels=3")
    if network.classes != data.classes:
        raise ValueError(
            f"the network must have the data's {data.classes} classes, but has {network.classes}"
        )
    if images < 1:
        raise ValueError(f"images must be at least 1, but got {images}")


def train(
    network: Network,
    data: DeviceData,
    recipe: Recipe,
    *,
    images: int,
    seed: int,
    device: torch.device | str = "cpu",
    weights: Path | None = None,
    checkpoint: Path | None = None,
    should_stop: Callable[[], bool] = _never,
    on_progress: Callable[[int], None] = _ignore,
) -> Outcome:
    """Train a network from scratch on exactly `images` training images and evaluate it.

    On the CPU the same arguments give the same result bit for bit, and a training that was stopped and
    continued gives the same as one that was not.

    Args:
        network: with the data's number of classes; trained and evaluated at its own resolution.
        data: on `device`.
        recipe: the learning rates follow its schedule over `images`, whatever their number.
        images: training images, repeats counted; the last batch may be smaller.
        seed: of the initial weights, the order of images, augmentation, dropout and drop path.
        device: "cpu" (float32) or a CUDA device (bfloat16 autocast).
        weights: where the trained weights go, as safetensors, named as in `build`.
        checkpoint: where a stopped training is kept; an existing one is continued, and removed at the end.
        should_stop: asked before every step; when true, the training is checkpointed and ends "interrupted".
        on_progress: told the number of images seen, after every step.

    Returns:
        The outcome; status "failed" where the loss was not finite.

    Raises:
        ValueError: the network does not fit the data, or the checkpoint is damaged or another training's.
    """
    _check(network, data, images)
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        training = _Training(network, data, recipe, images, seed, device)
        if checkpoint is not None and checkpoint.exists():
            training.load(checkpoint)
        outcome = _run(training, weights, checkpoint, should_stop, on_progress)
    if checkpoint is not None and outcome.status != "interrupted":
        checkpoint.unlink(missing_ok=True)
    return outcome


def _run(
    training: _Training,
    weights: Path | None,
    checkpoint: Path | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> Outcome:
    # Looking at a loss makes the host wait for the device, so on CUDA it is done now and then only.
    look_every = 1 if training.device.type == "cpu" else 32
    while training.state.step < training.steps:
        if should_stop():
            if checkpoint is not None:
                training.save(checkpoint)
            return training.outcome(status="interrupted")
        training.step()
        on_progress(training.seen())
        last = training.state.step == training.steps
        if last or training.state.step % look_every == 0:
            broken = training.broken_at()
            if broken is not None:
                return training.outcome(status="failed", reason=f"non-finite loss at image {broken}")
    return _finish(training, weights)


def _finish(training: _Training, weights: Path | None) -> Outcome:
    data = training.data
    training.measure_norms()
    val_accuracy, val_loss = training.evaluate(data.select_images, data.select_labels)
    if not math.isfinite(val_loss):
        return training.outcome(status="failed", reason="non-finite validation loss")
    report_accuracy, _ = training.evaluate(data.report_images, data.report_labels)
    if weights is not None:
        write_weights(weights, training.model)
    return training.outcome(
        status="complete",
        val_accuracy=val_accuracy,
        val_loss=val_loss,
        report_accuracy=report_accuracy,
        train_loss_last_quarter=last_quarter(training.losses(), training.recipe.batch_size, training.images),
        checkpoint=str(weights) if weights else None,
    )
