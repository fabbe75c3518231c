"""Ctrl-C and SIGTERM as a question that whatever is under way asks."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

INTERRUPTED = "interrupted; nothing is lost, and the same command goes on"


class Interruption:
    """Turns Ctrl-C and SIGTERM into a question that the driver asks; a second one ends at once.

    Before the driver asks for the first time, and after it has ended, nothing is lost: a signal ends the
    command there and then.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._listened = False

    def requested(self) -> bool:
        """Return whether an end was asked for."""
        self._listened = True
        return self._event.is_set()

    def unheard(self) -> None:
        """Note that nobody asks from here on, until somebody does again."""
        self._listened = False

    def _hear(self, _signal: int, _frame: Any) -> None:
        if not self._listened:
            print(f"\n{INTERRUPTED}", file=sys.stderr)
            raise KeyboardInterrupt  # which typer turns into its exit code without a word
        if self._event.is_set():
            os._exit(130)
        self._event.set()
        print("stopping: trainings write their checkpoints ...", file=sys.stderr)

    def __enter__(self) -> Interruption:
        self._before = {
            number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
