"""The short training: a network, a data set, a recipe and a number of images in; an outcome out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from scalesearch.architecture.network import Network
from scalesearch.outcome import Outcome
from scalesearch.training.augment import DeviceData
from scalesearch.training.checkpoint import EVERY, write_weights
from scalesearch.training.curve import last_quarter
from scalesearch.training.graph import DEFAULT, Execution
from scalesearch.training.memory import OutOfMemory, within_memory
from scalesearch.training.process import peak_memory
from scalesearch.training.recipe import Recipe
from scalesearch.training.steps import Task, Training

_PARTS = 2  # of a batch, for want of memory


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
    execution: Execution = DEFAULT,
) -> Outcome:
    """Train a network from scratch on exactly `images` training images and evaluate it.

    On the CPU the same arguments give the same result bit for bit, and a training that was stopped and
    continued gives the same as one that was not. A training that runs out of memory begins again with each
    batch in two parts whose gradients are added; if that fails too, so does the training.

    Args:
        network: with the data's number of classes; trained and evaluated at its own resolution.
        data: on `device`.
        recipe: the learning rates follow its schedule over `images`, whatever their number.
        images: training images, repeats counted; the last batch may be smaller.
        seed: of the initial weights, the order of images, augmentation, dropout and drop path.
        device: "cpu" (float32) or a CUDA device (bfloat16 autocast).
        weights: where the trained weights go, as safetensors, named as in `build`.
        checkpoint: where a stopped training is kept, and a long one every minute; an existing one is
            continued, and removed at the end.
        should_stop: asked before every step; when true, the training is checkpointed and ends "interrupted".
        on_progress: told the number of images seen, after every step.
        execution: how steps are carried out.

    Returns:
        The outcome; status "failed" where the loss was not finite or the memory did not suffice.

    Raises:
        ValueError: the network does not fit the data, or the checkpoint is damaged or another training's.
        RuntimeError: the step cannot be recorded as a CUDA graph, or the network not be compiled.
    """
    _check(network, data, images)
    task = Task(network, data, recipe, images, seed, torch.device(device), execution)
    with _surroundings(task.device):
        outcome = _within_memory(task, weights, checkpoint, should_stop, on_progress)
    if checkpoint is not None and outcome.status != "interrupted":
        checkpoint.unlink(missing_ok=True)
    return outcome


@contextmanager
def _surroundings(device: torch.device) -> Iterator[None]:
    """Leave the caller's generators alone; on CUDA work on a stream that steps can be recorded on."""
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    torch.cuda.reset_peak_memory_stats(device)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))  # which may still be copying the data
    with torch.random.fork_rng(devices=[device]), torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def _within_memory(
    task: Task,
    weights: Path | None,
    checkpoint: Path | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> Outcome:
    started = time.perf_counter()

    def attempt(accumulated: int) -> Outcome:
        training = Training(task, accumulated)
        if accumulated == 1 and checkpoint is not None and checkpoint.exists():
            training.load(checkpoint)
        return _run(training, weights, checkpoint, should_stop, on_progress)

    ended = within_memory(lambda: attempt(1))
    if isinstance(ended, OutOfMemory):
        ended = within_memory(lambda: attempt(_PARTS))
    if isinstance(ended, Outcome):
        return ended
    return Outcome(
        status="failed",
        reason=f"out of memory: {ended.message}",
        seconds=time.perf_counter() - started,
        peak_memory=peak_memory(task.device),
        seed=task.seed,
        accumulated=_PARTS,
        deterministic=False,  # another machine, or a less busy one, may have the memory
    )


def _run(
    training: Training,
    weights: Path | None,
    checkpoint: Path | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int], None],
) -> Outcome:
    # Looking at a loss makes the host wait for the device, so on CUDA it is done now and then only.
    look_every = 1 if training.device.type == "cpu" else 32
    saved = time.monotonic()
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
        if checkpoint is not None and time.monotonic() - saved >= EVERY:
            training.save(checkpoint)  # for the case that this process is killed
            saved = time.monotonic()
    return _finish(training, weights)


def _finish(training: Training, weights: Path | None) -> Outcome:
    data = training.data
    training.settle()
    val_accuracy, val_loss = training.evaluate(data.select_images, data.select_labels)
    if not math.isfinite(val_loss):
        return training.outcome(status="failed", reason="non-finite validation loss")
    report_accuracy, _ = training.evaluate(data.report_images, data.report_labels)
    if weights is not None:
        write_weights(weights, training.model, data.mean, data.std)
    return training.outcome(
        status="complete",
        val_accuracy=val_accuracy,
        val_loss=val_loss,
        report_accuracy=report_accuracy,
        train_loss_last_quarter=last_quarter(
            training.losses(), training.recipe.batch_size, training.task.images
        ),
        checkpoint=str(weights) if weights else None,
    )
