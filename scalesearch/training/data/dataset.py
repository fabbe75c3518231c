"""What the search sees of a data set: uint8 arrays that lie in a cache folder and are mapped, not read."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ABOUT = "about.json"


class CacheError(RuntimeError):
    """A cache folder that is missing, half there or damaged: load the data again."""


@dataclass(frozen=True)
class Split:
    """Images and labels of one part, in the order of the images' content hashes (so classes are mixed).

    `images` is uint8 [n, 3, side, side], RGB, mapped from the cache and read-only; `labels` is int64 [n].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DataSet:
    """A decoded and divided data set.

    `train` is what networks learn from, `select` what chooses between them, `report` what reported
    accuracies come from; `test` stays untouched by the search and is None where the data has a given
    validation part but no test part. `fingerprint` is the SHA-256 over decoded images, labels, class
    names and membership of the splits: the same content has the same one wherever it lies. `skipped`
    names the images that could not be decoded, `ignored` the files and folders that were not taken for
    images, each with the reason in brackets; `left_out` counts both by reason. A pickle carries only
    `folder`, so that handing a data set to another process costs nothing.
    """

    name: str
    classes: tuple[str, ...]
    fingerprint: str
    resolution: int
    train: Split
    select: Split
    report: Split
    test: Split | None
    skipped: tuple[str, ...]
    demonstration: bool
    folder: Path
    ignored: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Callable[[Path], "DataSet"], tuple[Path]]:
        return open_cached, (self.folder,)


def open_cached(folder: Path) -> DataSet:
    """Open the data set that lies in a cache folder (`DataSet.folder`); nothing is copied into memory.

    Raises CacheError where the folder is missing, a file is missing or shorter than it says.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return _described(folder, about)
    except Exception as error:  # NumPy reads an array's header as Python source, and meets damage likewise
        raise CacheError(f"the data cache {folder} is incomplete ({str(error)[:300]})") from error


def _described(folder: Path, about: dict[str, Any]) -> DataSet:
    side = about["resolution"]
    splits = {name: _open_split(folder, name, count, side) for name, count in about["splits"].items()}
    return DataSet(
        name=about["name"],
        classes=tuple(about["classes"]),
        fingerprint=about["fingerprint"],
        resolution=side,
        train=splits["train"],
        select=splits["select"],
        report=splits["report"],
        test=splits.get("test"),
        skipped=tuple(about["skipped"]),
        ignored=tuple(about["ignored"]),
        left_out=about["left_out"],
        demonstration=about["demonstration"],
        folder=folder,
    )


def _open_split(folder: Path, name: str, count: int, side: int) -> Split:
    images = np.load(folder / f"{name}.images.npy", mmap_mode="r")
    stored = np.load(folder / f"{name}.labels.npy", mmap_mode="r")
    if images.shape != (count, 3, side, side) or stored.shape != (count,):
        raise ValueError(f"{name} holds {images.shape} images and {stored.shape} labels, not {count}")
    labels = np.array(stored)
    labels.flags.writeable = False
    return Split(images, labels)
