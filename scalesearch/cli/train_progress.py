"""The progress bar of a full training."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from scalesearch.training.full.result import Seen


class _SpeedColumn(ProgressColumn):
    """Images a second over the last steps."""

    def render(self, task: Task) -> Text:
        """Return the cell's text."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} images/s")


class TrainProgress:
    """Epoch, images a second, and the time left at that speed; nothing is drawn before the first step."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
            speed_estimate_period=120,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def __call__(self, seen: Seen) -> None:
        """Show how far a training is."""
        if self._task is None:  # what a former call did says nothing of the speed of this one
            self._task = self._bar.add_task("", total=seen.all_images, completed=seen.images)
        doing = f"epoch {seen.epoch} of {seen.epochs}"
        self._bar.update(self._task, description=doing, completed=seen.images)
