"""What a reader of data gives: decoded images that are not yet divided."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from scalesearch.errors import InputError

Progress = Callable[[str, float], None]
"""Told what is done (a few words) and how much of it (0 to 1)."""

PARTS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""The names that folders and files give to the parts of a data set, and what they are called here."""


class LeftOut(NamedTuple):
    """A file that is no part of the data, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class Pool:
    """Decoded images [n, 3, side, side] uint8, labels [n] int64, and the part each came in.

    `parts` holds "train", "val" or "test"; data that comes undivided is all "train". `skipped` are images
    that could not be decoded, `ignored` files and folders that are not taken for images of a class. `keys`
    are the content hashes [n] that decide the split, None where they are those of `images`.
    """

    name: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    skipped: tuple[LeftOut, ...] = ()
    ignored: tuple[LeftOut, ...] = ()
    keys: np.ndarray | None = None


class Source(Protocol):
    """Data that was found but not read."""

    @property
    def where(self) -> str:
        """What errors name."""

    @property
    def demonstration(self) -> bool:
        """Whether this is data to show the program with, not to conclude anything from."""

    def identity(self) -> list[object]:
        """Tell this data from other data without reading it: names, sizes and times of its files."""

    def read(self, scratch: Path, progress: Progress) -> Pool:
        """Decode everything; large arrays may be mapped from files in the folder `scratch`."""


def identify(files: list[Path], root: Path) -> list[object]:
    """List the relative path, size in bytes and time of last change in nanoseconds of every file."""
    rows: list[object] = [str(root)]
    for file in files:
        stat = file.stat()
        rows.append([str(file.relative_to(root)), stat.st_size, stat.st_mtime_ns])
    return rows


def check_classes(where: str, classes: tuple[str, ...]) -> None:
    """Raise InputError where there is nothing to tell apart."""
    if len(classes) < 2:
        raise InputError(f"{where}: at least two classes are needed, found {list(classes)}")


def check_skipped(where: str, skipped: tuple[str, ...], total: int, limit: float) -> None:
    """Raise InputError where more than the share `limit` of `total` images could not be decoded."""
    if len(skipped) > limit * total:
        first = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        raise InputError(
            f"{where}: {len(skipped)} of {total} images ({len(skipped) / total:.1%}) cannot be decoded, "
            f"at most {limit:.1%} may be skipped: {first}"
        )
