"""Writing files so that a reader sees the old content or the new one, also after a power failure."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file in one step, over an old one if need be; OSError leaves that, and nothing beside it."""
    # Beside the target, so that replacing it is one atomic step of the file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave the name of a file without content
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    settle_names(path.parent)


def settle_names(folder: Path) -> None:
    """Bring a folder's names to the disk: a file's content alone does not survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file; it is on the disk when this returns."""
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def taking_turns(path: Path) -> Iterator[None]:
    """Let processes that read, change and replace a file wait for each other, so that none loses anything.

    The folder must be there; OSError where it cannot be written.
    """
    # A file of its own: the other one is replaced, and its lock would go with it.
    with path.with_name(f".{path.name}.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, however the process ends
        yield
