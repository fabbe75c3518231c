"""Progress bars: data being prepared, and a search under way."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from scalesearch.search.driver import Status
from scalesearch.search.selection import ranked
from scalesearch.search.study import Definition, Limits


class DataProgress:
    """A bar for reading and decoding; nothing is drawn while nothing takes time."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def __call__(self, doing: str, share: float) -> None:
        """Show that this share of what is being done is done."""
        if not self._bar.tasks:
            self._bar.add_task(doing, total=1.0)
        self._bar.update(self._bar.task_ids[0], description=doing, completed=share)


class SearchProgress:
    """Trials done, the best so far, and the time left."""

    def __init__(self, console: Console, definition: Definition, limits: Limits) -> None:
        self._definition, self._limits = definition, limits
        self._bar = Progress(TextColumn("{task.description}"), BarColumn(), console=console)
        self._task = self._bar.add_task("starting", total=1.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def __call__(self, status: Status) -> None:
        """Show a driver's status."""
        done, left = self._progress(status)
        searched = [t for t in status.trials if t.role == "search" and t.rung == 0 and t.repeats is None]
        wanted = f" of {self._limits.trials}" if self._limits.trials else ""
        top = ranked(status.trials)
        best = f"best {top[0].outcome.val_accuracy:.1%} (trial {top[0].number})" if top else "no result yet"
        phase = "re-training the best" if status.phase == "finals" else "searching"
        remaining = f"{int(left) // 60}:{int(left) % 60:02d} left" if left is not None else ""
        text = f"{phase}: {len(searched)}{wanted} trials, {best}, {remaining}"
        self._bar.update(self._task, description=text, completed=done)

    def _progress(self, status: Status) -> tuple[float, float | None]:
        """Return the share done and the seconds left; by time where it is limited, else by trials."""
        if self._limits.time is not None:
            left = max(0.0, self._limits.time - status.seconds)
            return 1 - left / self._limits.time, left
        study = self._definition.study
        finals = study.finals.candidates * study.finals.seeds * study.rungs[-1]
        total = (self._limits.trials or 0) * study.images_each + finals
        done = sum(t.outcome.images for t in status.trials if t.repeats is None)
        share = min(1.0, (done + sum(status.running.values())) / total)
        return share, status.seconds * (1 - share) / share if share > 0.02 else None
