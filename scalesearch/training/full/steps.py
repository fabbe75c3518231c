"""A full training in progress: its steps, its checkpoint, its scores."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from scalesearch.training.augment import stream_seed
from scalesearch.training.data import Split
from scalesearch.training.full import checkpoint
from scalesearch.training.full.average import moving_average
from scalesearch.training.full.distributed import Ranks
from scalesearch.training.full.evaluate import AT_ONCE, Score, score
from scalesearch.training.full.images import IMAGENET, TrainImages, statistics
from scalesearch.training.full.optimizer import Optimizers
from scalesearch.training.full.recipe import Setting
from scalesearch.training.full.task import Task
from scalesearch.training.full.transfer import (
    apply_freeze,
    keep_frozen,
    least_images,
    parameter_groups,
    parse_freeze,
    starting,
)

_STEP = 9  # what the random stream of dropout and drop path is for; `images` has 5 to 8
_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class State:
    """What changes while training, beside the model, its average and the optimizers.

    Attributes:
        losses: (steps of an epoch,) of this process in the present epoch, on the device.
        step: optimizer steps taken in all.
        looked: steps of the present epoch whose losses are in `loss`.
        loss: their sum, averaged over the processes.
        rows: what is known of each finished epoch.
        best: the epoch with the best score so far: epoch, file of its weights, and the score's fields.
        seconds: of former calls.
    """

    losses: Tensor
    step: int = 0
    looked: int = 0
    loss: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None
    seconds: float = 0.0


def check_beginning(task: Task, ranks: Ranks) -> None:
    """Raise InputError where weights, `freeze` or the batch's division keep a training from beginning."""
    module = starting(task.regularised(), task.weights, seed=task.seed).module
    apply_freeze(module, parse_freeze(task.freeze, task.network), norms=task.recipe.norm_eval)
    _images(task, ranks, least_images(module), *IMAGENET, workers=0)


def _images(task: Task, ranks: Ranks, least: int, mean: Tensor, std: Tensor, *, workers: int) -> TrainImages:
    return TrainImages(
        task.data,
        task.recipe,
        seed=task.seed,
        mean=mean,
        std=std,
        workers=workers,
        rank=ranks.rank,
        world=ranks.world,
        least=least,
    )


class FullTraining:
    """One training from its first weights, in one of the ranks's processes.

    Attributes:
        least: images that each part of a batch must have.
    """

    def __init__(self, task: Task, ranks: Ranks) -> None:
        self.task, self.recipe, self.ranks, self.device = task, task.recipe, ranks, task.device
        self.key = task.key(ranks.world)
        freeze = parse_freeze(task.freeze, task.network)
        self.start = starting(task.regularised(), task.weights, seed=task.seed)
        self.mean, self.std = self._statistics()
        memory = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        self.model = self.start.module.to(self.device).to(memory_format=memory)
        apply_freeze(self.model, freeze, norms=self.recipe.norm_eval)
        groups = parameter_groups(self.model, task.network, self.recipe, freeze)
        self.scaler = GradScaler(self.device.type, enabled=self.recipe.amp == "fp16")
        self.optimizers = Optimizers(self.model, groups, self.recipe, self.scaler)
        self.average = moving_average(self.model, self.recipe.ema_decay) if self.recipe.ema_decay else None
        self.least = least_images(self.model)
        self.images = _images(task, ranks, self.least, self.mean, self.std, workers=task.loader_workers)
        self.state = State(self._no_losses())
        self.parallel = ranks.parallel(self.model, self.device)
        self._began = time.perf_counter()

    def _statistics(self) -> tuple[Tensor, Tensor]:
        start = self.start
        if start.mean is None or start.std is None:
            return statistics(self.task.data)
        return start.mean, start.std

    def _no_losses(self) -> Tensor:
        return torch.full((self.images.steps,), math.nan, device=self.device)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.images.steps * self.recipe.epochs

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 0."""
        return self.state.step // self.images.steps

    @property
    def unevaluated(self) -> bool:
        """Whether the last step ended an epoch that has not been evaluated."""
        return self.state.step == (len(self.state.rows) + 1) * self.images.steps

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated and kept: the moving average where there is one."""
        return self.model if self.average is None else self.average.module

    def seconds(self) -> float:
        """Return the wall time of the training, former calls included."""
        return self.state.seconds + time.perf_counter() - self._began

    def side(self, setting: Setting) -> tuple[int, ...]:
        """Return the sides of the inputs in pixels."""
        return tuple(max(1, round(side * setting.scale)) for side in self.task.network.input.size)

    # Steps

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what is left of the present epoch, after setting the network to what the epoch asks for."""
        setting = self.recipe.setting(self.epoch)
        self.model.train()
        keep_frozen(self.model)
        if setting.dropout is not None:
            for module in self.model.modules():
                if isinstance(module, nn.Dropout):
                    module.p = setting.dropout
        height, width = self.side(setting)
        return self.images.batches(
            self.epoch, (height, width), setting, first=self.state.step % self.images.steps
        )

    def step(self, parts: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Take one optimizer step; its randomness depends on seed, process and the step's number alone."""
        state, count = self.state, self.recipe.accumulate
        self.optimizers.set_rates((state.step + 0.5) / self.steps)
        total = torch.zeros((), device=self.device)
        for number in range(count):
            x, targets = next(parts)
            torch.manual_seed(stream_seed(self.task.seed, _STEP, state.step, number, self.ranks.rank))
            with nullcontext() if number + 1 == count else self.ranks.unshared(self.parallel):
                loss = self._loss(x, targets) / count
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.optimizers.update()
        if self.average is not None:
            self.average.update_parameters(self.model)
        state.losses[state.step % self.images.steps] = total
        state.step += 1

    def _loss(self, x: Tensor, targets: Tensor) -> Tensor:
        logits = self._logits(self.parallel, x.to(self.device, non_blocking=True))
        return F.cross_entropy(logits, targets.to(self.device, non_blocking=True))

    def _logits(self, model: nn.Module, x: Tensor) -> Tensor:
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        amp = self.recipe.amp
        with torch.autocast(self.device.type, _AMP.get(amp), enabled=amp in _AMP):
            logits: Tensor = model(x)
        return logits.float()

    def look(self) -> int | None:
        """Take the losses since the last look into account; return the step of the first that is not finite.

        All processes look at the same steps. Looking makes the host wait for the device.
        """
        state = self.state
        done = state.step - len(state.rows) * self.images.steps
        fresh = self.ranks.sums(state.losses[state.looked : done].tolist())
        bad = next((at for at, loss in enumerate(fresh) if not math.isfinite(loss)), None)
        if bad is not None:
            return state.looked + bad
        state.loss += sum(fresh) / self.ranks.world
        state.looked = done
        return None

    # Epochs

    def score(self, split: Split) -> Score:
        """Return the score of the network that is evaluated, at its own resolution."""
        height, width = self.task.network.input.size
        return score(
            self.evaluated,
            self._logits,
            split,
            self.ranks,
            size=(height, width),
            mean=self.mean,
            std=self.std,
            at_once=min(AT_ONCE, self.recipe.batch_size // self.recipe.accumulate),
        )

    def end_epoch(self, select: Score) -> dict[str, Any]:
        """Note what is known of the epoch that just ended, and begin the next; return the row."""
        state, steps = self.state, self.images.steps
        number = state.step // steps
        before = state.rows[-1]["seconds"] if state.rows else 0.0
        seconds = self.seconds()
        row = {
            "epoch": number,
            "step": state.step,
            "side": max(self.side(self.recipe.setting(number - 1))),
            "learning_rate": self.recipe.learning_rate * self.recipe.rate((state.step - 0.5) / self.steps),
            "train_loss": state.loss / steps,
            "select_loss": select.loss,
            "select_accuracy": select.accuracy,
            "images_per_second": steps * self.images.batch / max(seconds - before, 1e-9),
            "seconds": seconds,
        }
        state.rows.append(row)
        state.losses, state.looked, state.loss = self._no_losses(), 0, 0.0
        return row

    # Checkpoint

    def save(self, path: Path) -> None:
        """Write everything that continuing needs; the first process does so for all."""
        if not self.ranks.first:
            return
        state = {name: getattr(self.state, name) for name in State.__dataclass_fields__}
        checkpoint.write(
            path,
            self.key,
            model=self.model.state_dict(),
            optimizer=self.optimizers.state_dict(),
            average={} if self.average is None else self.average.state_dict(),
            scaler=self.scaler.state_dict(),
            state=state | {"seconds": self.seconds()},
        )

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; InputError where it is damaged or another training's."""
        # By way of the host: the device need not hold it twice. The state first: where the device's memory
        # does not suffice for the rest, what is known of the training still is.
        stored = checkpoint.read(path, self.key, torch.device("cpu"))
        self.state = State(**stored["state"])
        self.state.losses = self.state.losses.to(self.device)
        self.model.load_state_dict(stored["model"])
        self.optimizers.load_state_dict(stored["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(stored["average"])
        self.scaler.load_state_dict(stored["scaler"])
        self._began = time.perf_counter()
