"""What a training leaves behind an epoch: a table, and events for TensorBoard where they are asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scalesearch.errors import InputError
from scalesearch.files import replace_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG, EVENTS = "log.csv", "tensorboard"
Rows = Sequence[Mapping[str, Any]]


class Logs(AbstractContextManager["Logs"]):
    """The logs of a training in its folder; use it as a context, which ends the writing of events.

    Args:
        folder: of the training; None keeps no logs.
        tensorboard: write events too; InputError where the library is not installed.
        tell: told the row of every epoch.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        tensorboard: bool = False,
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._tell = tell
        self._folder, self._events = folder, tensorboard and folder is not None
        self._writer: SummaryWriter | None = None
        if tensorboard:
            check_tensorboard()

    def begin(self, rows: Rows) -> None:
        """Continue after the epochs of `rows`: what a killed call wrote beyond them is taken back."""
        if self._folder is None:
            return
        if rows:
            self._write_table(rows)
        if self._events:
            from torch.utils.tensorboard import SummaryWriter

            purge = rows[-1]["epoch"] + 1 if rows else None
            self._writer = SummaryWriter(str(self._folder / EVENTS), purge_step=purge)

    def epoch(self, rows: Rows) -> None:
        """Write the last of the rows."""
        if self._folder is not None:
            self._write_table(rows)
        if self._writer is not None:
            row = rows[-1]
            for name, value in row.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, row["epoch"])
            self._writer.flush()
        if self._tell is not None:
            self._tell(dict(rows[-1]))

    def _write_table(self, rows: Rows) -> None:
        # The whole table: it is small, and a killed process leaves no half of a line.
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        assert self._folder is not None
        replace_file(self._folder / LOG, text.getvalue().encode())

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def check_tensorboard() -> None:
    """Raise InputError where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise InputError("--tensorboard needs TensorBoard: pip install 'scalesearch[tensorboard]'")
