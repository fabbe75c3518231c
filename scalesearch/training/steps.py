"""A training in progress: its steps, its checkpoint, its measurements."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.outcome import Outcome
from scalesearch.training.augment import DeviceData, Order, Size, evaluation_batches, stream_seed
from scalesearch.training.batches import Batch, draw, network_input, with_null_choices
from scalesearch.training.build import build
from scalesearch.training.checkpoint import read_checkpoint, write_checkpoint
from scalesearch.training.curve import loss_curve
from scalesearch.training.ema import WeightAverage
from scalesearch.training.evaluation import batch_norms, evaluate, measure_norms
from scalesearch.training.graph import Execution, Recorder, compiled
from scalesearch.training.optimizer import Optimizers
from scalesearch.training.process import peak_memory
from scalesearch.training.recipe import Recipe

# What a random stream is for; together with the training's seed and a counter it seeds the stream.
INITIAL, _STEP, _NORM = 2, 3, 4
_EVALUATED = 250  # images at once


@dataclass(frozen=True)
class Task:
    """What a training is asked to do; see `loop.train`."""

    network: Network
    data: DeviceData
    recipe: Recipe
    images: int
    seed: int
    device: torch.device
    execution: Execution

    def key(self) -> str:
        """Return what a checkpoint must agree on to be continued."""
        parts = [to_document(self.network), asdict(self.recipe), self.images, self.seed]
        compiled = ["compiled"] if self.execution.compile else []  # results differ in rounding
        text = json.dumps([*parts, self.data.fingerprint, *compiled], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def deterministic(self) -> bool:
        """Return whether a repeat gives the same bits: always on the CPU, on CUDA if torch was told to."""
        return self.device.type == "cpu" or torch.are_deterministic_algorithms_enabled()


@dataclass
class _State:
    """What changes while training, beside the model, its average and the optimizers."""

    losses: Tensor  # of each step, on the device; NaN where not yet taken
    accumulated: int
    step: int = 0
    macs: int = 0
    seconds: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.started


def _seed(seed: int, device: torch.device) -> None:
    # As torch.manual_seed, without its search for other kinds of devices, which costs more than the seeding.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)


class Training:
    """One training from its initial weights; with `accumulated` parts a batch."""

    def __init__(self, task: Task, accumulated: int = 1) -> None:
        self.task, self.recipe, self.data, self.device = task, task.recipe, task.data, task.device
        self.steps = math.ceil(task.images / self.recipe.batch_size)
        self.order = Order(len(self.data.train_images), task.seed)
        self.flops: dict[Size, int] = {}
        _seed(stream_seed(task.seed, INITIAL, 0), self.device)
        self.model = build(task.network).to(self.device).to(memory_format=torch.channels_last)
        recorded = task.execution.graph and self.device.type == "cuda"
        self.optimizers = Optimizers(self.model, self.recipe, rates_on_device=recorded)
        self.average = WeightAverage(self.model, self.recipe.ema_decay) if self.recipe.ema_decay else None
        self.state = _State(torch.full((self.steps,), math.nan, device=self.device), accumulated)
        self.position = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.recorder = Recorder(self.take, self.recipe.batch_size, self.device) if recorded else None
        self.forward: Callable[[Tensor], Tensor] = (
            compiled(self.model) if task.execution.compile else self.model
        )

    def seen(self) -> int:
        """Return the number of training images so far."""
        return min(self.state.step * self.recipe.batch_size, self.task.images)

    def losses(self) -> list[float]:
        """Return the loss of each step so far."""
        taken: list[float] = self.state.losses[: self.state.step].tolist()
        return taken

    def _size(self, scale: float) -> Size:
        return tuple(max(1, round(side * scale)) for side in self.task.network.input.size)

    def _draw(self, start: int, stop: int, size: Size) -> Batch:
        images, data_size = self.data.train_images, tuple(self.data.train_images.shape[2:])
        vary = start >= len(images)  # an image's first time needs no variation
        return draw(self.order.indices(start, stop), self.recipe, data_size, size, vary=vary)

    def _logits(self, x: Tensor, *, compiled: bool = False) -> Tensor:
        # A recorded step must not keep converted weights from one step to the next: no cache.
        on = self.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16, enabled=on, cache_enabled=False):
            logits: Tensor = self.forward(x) if compiled else self.model(x)
        return logits.float()

    def step(self) -> None:
        """Take one step; its randomness depends on the seed and the step's number only."""
        state, start = self.state, self.seen()
        stop = min(start + self.recipe.batch_size, self.task.images)
        size = self._size(self.recipe.scale(start / self.task.images))
        _seed(stream_seed(self.task.seed, _STEP, state.step), self.device)
        batch = self._draw(start, stop, size)
        self.optimizers.set_rates((start + stop) / 2 / self.task.images)
        self.position.fill_(state.step)
        if self.recorder is None:
            self.take(batch.to(self.device), size)
        else:
            varied = start >= len(self.data.train_images)
            self.recorder.take(batch if varied else with_null_choices(batch, self.recipe, size), size)
        state.macs += (stop - start) * self._flops(size)
        state.step += 1

    def take(self, batch: Batch, size: Size) -> None:
        """Do what a step does on the device, and nothing else, so that it can be recorded.

        Nothing here waits for the device or depends on a number of the host that differs between steps.
        """
        parts = batch.split(self.state.accumulated)
        losses = [self._backward(part, len(batch.images), size) for part in parts]
        self.optimizers.update()
        if self.average is not None:
            self.average.update()
        self.state.losses.index_copy_(0, self.position, torch.stack(losses).sum(0, keepdim=True))

    def _backward(self, part: Batch, images: int, size: Size) -> Tensor:
        x, labels = network_input(part, self.data, self.recipe, size)
        logits = self._logits(x, compiled=True)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if len(labels) < images:
            loss = loss * (len(labels) / images)
        torch.autograd.backward(loss)
        return loss.detach()

    def _flops(self, size: Size) -> int:
        if size not in self.flops:
            self.flops[size] = replace(self.task.network, resolution=size).cost().flops
        return self.flops[size]

    def broken_at(self) -> int | None:
        """Return the number of images after which the loss was first not finite, or None."""
        bad = (~torch.isfinite(self.state.losses[: self.state.step])).nonzero()
        return int(bad[0]) * self.recipe.batch_size if len(bad) else None

    def settle(self) -> None:
        """After the last step: average the weights, if asked for, and measure batch norm's statistics."""
        if self.average is not None:
            self.average.apply(self.state.step)
        if self.recipe.norm_batches and batch_norms(self.model):
            _seed(stream_seed(self.task.seed, _NORM, 0), self.device)
            measure_norms(self.model, self._logits, self._norm_inputs())

    def _norm_inputs(self) -> Iterator[Tensor]:
        size = tuple(self.task.network.input.size)
        for number in range(self.recipe.norm_batches):
            start = self.task.images + number * self.recipe.batch_size
            batch = self._draw(start, start + self.recipe.batch_size, size).to(self.device)
            for part in batch.split(self.state.accumulated):
                yield network_input(part, self.data, self.recipe, size)[0]

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return accuracy (a fraction) and mean cross entropy, in eval mode at the network's resolution."""
        size = tuple(self.task.network.input.size)
        at_once = _EVALUATED // self.state.accumulated
        batches = evaluation_batches(images, labels, size, self.data, at_once)
        return evaluate(self.model, self._logits, batches, len(labels))

    def save(self, path: Path) -> None:
        """Write everything that continuing needs."""
        state = self.state
        progress = {"losses": state.losses, "step": state.step, "macs": state.macs}
        write_checkpoint(
            path,
            key=self.task.key(),
            model=self.model.state_dict(),
            optimizers=self.optimizers.state_dict(),
            average=[] if self.average is None else self.average.tensors,
            state=progress | {"seconds": state.elapsed(), "accumulated": state.accumulated},
        )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; ValueError where it is damaged or of another training."""
        stored = read_checkpoint(path, self.task.key(), self.device)
        self.model.load_state_dict(stored["model"])
        self.optimizers.load_state_dict(stored["optimizers"])
        if self.average is not None:
            self.average.load(stored["average"])
        self.state = _State(**stored["state"])

    def outcome(self, **values: Any) -> Outcome:
        """Return the outcome so far, with what the status adds to it."""
        return Outcome(
            curve=loss_curve(self.losses(), self.recipe.batch_size, self.task.images),
            images=self.seen(),
            macs=self.state.macs,
            seconds=self.state.elapsed(),
            peak_memory=peak_memory(self.device),
            seed=self.task.seed,
            accumulated=self.state.accumulated,
            # A repeat that gets the memory would not split its batches.
            deterministic=self.task.deterministic() and self.state.accumulated == 1,
            **values,
        )
