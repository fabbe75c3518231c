"""One training in an evaluating process: what damage, refusals and failures mean, on every engine alike."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scalesearch.errors import DamagedCheckpointError
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Job

# The file system refuses: that is no fault of the training, and the next one would meet the same.
REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
DAMAGED = ".damaged"  # ends the name of a checkpoint that no training can continue from
LONGEST = 2000  # characters of a reason


@dataclass(frozen=True)
class Refused:
    """What the file system refused to an evaluating process; no training is failed for it."""

    reason: str

    @property
    def rule(self) -> str:
        """The line that the run ends with."""
        return f"{self.reason}; what was finished is kept, and the same command goes on"


@dataclass(frozen=True)
class Raised:
    """A training that failed by an exception. Its process is not used again: a CUDA error stays in it."""

    outcome: Outcome


def train(
    evaluate: Evaluate,
    job: Job,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int], None],
    say: Callable[[str], None],
) -> Outcome | Raised | Refused:
    """Train one job; a checkpoint that is damaged is set aside, said, and its training begins again."""
    try:
        try:
            return evaluate(job, should_stop, on_progress)
        except DamagedCheckpointError as error:
            checkpoint = Path(job.checkpoint)
            backup = checkpoint.with_suffix(DAMAGED)
            checkpoint.replace(backup)
            say(f"{_line(str(error))}; this training begins again, {backup.name} keeps the file")
            return evaluate(job, should_stop, on_progress)
    except Exception as error:
        return _refused(error, job) or Raised(Outcome("failed", described(error), seed=job.seed))


def _refused(error: Exception, job: Job) -> Refused | None:
    if isinstance(error, OSError) and error.errno in REFUSALS:
        return Refused(f"{error.filename or Path(job.weights).parent} cannot be written: {error.strerror}")
    return None


def described(error: Exception) -> str:
    """Return an error as one line of text that any file can hold."""
    said = str(error)
    return _line(f"{type(error).__name__}: {said}" if said else type(error).__name__)


def _line(text: str) -> str:
    # The name of a file may be no text, and then no table can hold it.
    return " ".join(text.split()).encode("utf-8", "replace").decode()[:LONGEST]
