"""Full training: a network, a data set and a recipe in; the best network and how far to trust it out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from scalesearch.errors import InputError
from scalesearch.files import replace_file
from scalesearch.training.full.checkpoint import CHECKPOINT
from scalesearch.training.full.distributed import ALONE, Ranks
from scalesearch.training.full.evaluate import Score
from scalesearch.training.full.logs import Logs
from scalesearch.training.full.parts import divided, smaller
from scalesearch.training.full.result import Seen, Status, Trained, Weights
from scalesearch.training.full.steps import FullTraining
from scalesearch.training.full.task import Task
from scalesearch.training.memory import OutOfMemory, within_memory
from scalesearch.training.process import peak_memory

EVERY = 180.0  # seconds between the checkpoints within an epoch
_BEST, _ANY_BEST = "best-{:05d}.safetensors", "best-*.safetensors"


def _never() -> bool:
    return False


def _ignore(_seen: Seen) -> None:
    return None


def train_fully(
    task: Task,
    folder: Path,
    *,
    ranks: Ranks = ALONE,
    logs: Logs | None = None,
    should_stop: Callable[[], bool] = _never,
    on_progress: Callable[[Seen], None] = _ignore,
    every: float = EVERY,
) -> Trained:
    """Train a network for the recipe's epochs, or go on where a former call was stopped or killed.

    After each epoch the network (its moving average, where the recipe has one) is evaluated on the data's
    `select` split, and the best is kept. After the last one the best is evaluated on `report` and on `test`,
    which are not looked at before. On the CPU, with the same number of threads, the same task gives the
    same weights bit for bit, also one that was stopped or killed in between.

    Args:
        task: what to train, on what, and how.
        folder: where checkpoint, best weights so far and logs are; one training has it for itself.
        ranks: the processes that share the training, see `distributed`.
        logs: told of every epoch.
        should_stop: asked before every step; when true, the training is checkpointed and ends "interrupted".
        on_progress: told after every step.
        every: seconds between checkpoints within an epoch, which is also checkpointed at its end.

    Returns:
        What the training came to.

    Raises:
        InputError: the checkpoint is damaged or of another training, the message says in what; or the task
            cannot be carried out here.
    """
    own = Logs(None) if logs is None else logs

    def attempt() -> Trained:
        training = FullTraining(task, ranks)
        with training.images:
            course = _Course(training, folder, own, should_stop, on_progress, every)
            ended = within_memory(course.run)
            return course.too_large(ended) if isinstance(ended, OutOfMemory) else ended

    with _surroundings(task.device):
        ended = within_memory(attempt)
    if isinstance(ended, OutOfMemory):
        reason = f"out of memory before the first step: the network needs a larger device ({ended.message})"
        return Trained("failed", reason, peak_memory=peak_memory(task.device))
    return ended


@contextmanager
def _surroundings(device: torch.device) -> Iterator[None]:
    """Leave the caller's generators alone."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


class _Course:
    """A training on its way through its epochs."""

    def __init__(
        self,
        training: FullTraining,
        folder: Path,
        logs: Logs,
        should_stop: Callable[[], bool],
        on_progress: Callable[[Seen], None],
        every: float,
    ) -> None:
        self.training, self.folder, self.logs = training, folder, logs
        self.should_stop, self.on_progress, self.every = should_stop, on_progress, every
        # Looking at a loss makes the host wait for the device, so on CUDA it is done now and then only.
        self.look_every = 1 if training.device.type == "cpu" else 32
        self.saved = time.monotonic()

    def run(self) -> Trained:
        training = self.training
        if training.ranks.first_says((self.folder / CHECKPOINT).exists()):
            training.load(self.folder / CHECKPOINT)
        self.logs.begin(training.state.rows)
        ended = self._end_of_epoch() if training.unevaluated else None
        if ended is not None:
            return ended
        while training.state.step < training.steps:
            ended = self._epoch()
            if ended is not None:
                return ended
        return self._finish()

    def _epoch(self) -> Trained | None:
        """Train to the end of the present epoch and evaluate; return what ended the training, if anything."""
        training = self.training
        parts, end = training.parts(), (training.epoch + 1) * training.images.steps
        while training.state.step < end:
            if training.ranks.any(self.should_stop()):
                return self._stop()
            training.step(parts)
            self.on_progress(self._seen())
            # The epoch's end is checkpointed after its evaluation, which a kill would otherwise lose.
            if training.state.step % self.look_every == 0 and training.state.step < end:
                broken = training.look()
                if broken is not None:
                    return self._broken("loss", broken)
                if time.monotonic() - self.saved >= self.every:
                    self._save()
        return self._end_of_epoch()

    def _end_of_epoch(self) -> Trained | None:
        broken = self.training.look()
        return self._evaluate() if broken is None else self._broken("loss", broken)

    def _seen(self) -> Seen:
        training, state = self.training, self.training.state
        epoch = (state.step - 1) // training.images.steps + 1
        return Seen(
            epoch,
            training.recipe.epochs,
            state.step * training.images.batch,
            training.steps * training.images.batch,
        )

    def _evaluate(self) -> Trained | None:
        training = self.training
        select = training.score(training.task.data.select)
        if not math.isfinite(select.loss):
            return self._broken("validation loss", training.images.steps - 1)
        row = training.end_epoch(select)
        best = training.state.best
        if best is None or select.rank > _score(best).rank:
            self._keep(row["epoch"], select)
        self._save()
        if training.ranks.first:
            self._tidy()
            self.logs.epoch(training.state.rows)
        return None

    def _keep(self, epoch: int, select: Score) -> None:
        # Under a name of its own, and before the checkpoint that names it: whatever a kill leaves, the
        # checkpoint and the weights that it calls the best belong together.
        name = _BEST.format(epoch)
        if self.training.ranks.first:
            replace_file(self.folder / name, save_tensors(self._weights()))
        self.training.state.best = {
            "epoch": epoch,
            "file": name,
            "right": select.right,
            "images": select.images,
            "loss": select.loss,
        }

    def _weights(self) -> Weights:
        state = self.training.evaluated.state_dict()
        return {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in state.items()}

    def _save(self) -> None:
        self.training.save(self.folder / CHECKPOINT)
        self.saved = time.monotonic()

    # Endings

    def _stop(self) -> Trained:
        broken = self.training.look()
        if broken is not None:
            return self._broken("loss", broken)
        self._save()
        return self._ended("interrupted", None)

    def _broken(self, what: str, step: int) -> Trained:
        training = self.training
        epoch = (training.state.step - 1) // training.images.steps + 1
        return self._ended(
            "failed",
            f"non-finite {what} in epoch {epoch} of {training.recipe.epochs}, "
            f"step {step + 1} of {training.images.steps}",
        )

    def too_large(self, ended: OutOfMemory) -> Trained:
        """Return what the training came to where the memory did not suffice; the best epoch is kept."""
        training = self.training
        recipe, world, images = training.recipe, training.ranks.world, len(training.task.data.train)
        part = divided(images, recipe, world, training.least).part
        fit = smaller(images, recipe, world, training.least)
        help_ = "a smaller --resolution" if fit is None else f"--accumulate {fit}"
        return self._ended(
            "failed",
            f"out of memory with {part} images at once: {help_} takes less and begins a new training, "
            f"in another --out or in the default folder ({ended.message})",
        )

    def _finish(self) -> Trained:
        """Evaluate the best network where nothing was chosen by; the test images are read here alone."""
        training, data = self.training, self.training.task.data
        last = self._weights()
        training.ranks.first_says(None)  # the file is there when the first process has come here
        training.evaluated.load_state_dict(self._best_weights())
        report = training.score(data.report)
        test = None if data.test is None else training.score(data.test)
        return self._ended("complete", None, report=report, test=test, last=last)

    def _best_weights(self) -> Weights:
        best = self.training.state.best
        if best is None:
            return {}
        path = self.folder / best["file"]
        try:
            return load_tensors(path.read_bytes())
        except Exception as error:  # a file of another kind ends in several kinds of errors
            raise InputError(f"{path}: the best weights so far cannot be read: {error}") from error

    def _ended(self, status: Status, reason: str | None, **found: Any) -> Trained:
        training, best = self.training, self.training.state.best
        if training.ranks.first:
            self._tidy()
        return Trained(
            status,
            reason,
            rows=tuple(training.state.rows),
            best=None if best is None else best["epoch"],
            select=None if best is None else _score(best),
            weights=self._best_weights() if training.ranks.first and best is not None else None,
            steps=training.state.step,
            images=training.state.step * training.images.batch,
            seconds=training.seconds(),
            peak_memory=peak_memory(training.device),
            mean=tuple(training.mean.tolist()),
            std=tuple(training.std.tolist()),
            source=training.start.source,
            loaded=training.start.loaded,
            left_out=training.start.left_out,
            **found,
        )

    def _tidy(self) -> None:
        """Remove best weights that no checkpoint names: those before, and what a killed call left."""
        best = self.training.state.best
        for path in self.folder.glob(_ANY_BEST):
            if best is None or path.name != best["file"]:
                with suppress(OSError):
                    path.unlink()


def _score(best: dict[str, Any]) -> Score:
    return Score(best["right"], best["images"], best["loss"])
