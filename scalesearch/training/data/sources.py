"""From what a user names to the data that is meant."""

import difflib
from pathlib import Path

from scalesearch.errors import InputError
from scalesearch.training.data.cifar10 import UnreachableError, find_batches, obtain
from scalesearch.training.data.decode import LARGEST_SIDE
from scalesearch.training.data.digits import Digits
from scalesearch.training.data.folders import find_class_folders
from scalesearch.training.data.parquet import find_parquet
from scalesearch.training.data.pool import Progress, Source

NAMES = ("cifar10", "digits")


def find_source(
    source: str | Path | None, cache: Path, progress: Progress, largest: int = LARGEST_SIDE
) -> Source:
    """Find the data that a name or a folder stands for; `None` is CIFAR-10 or else digits.

    A name goes before a folder called the same ("./digits" is the folder). Photos will be brought to at
    most `largest` pixels a side. Raises InputError where there is no such data.
    """
    if source is None:
        return _default(cache, progress)
    if str(source) == "digits":
        return Digits()
    if str(source) == "cifar10":
        return obtain(cache, progress)
    return _in_folder(Path(source).expanduser(), largest)


def _default(cache: Path, progress: Progress) -> Source:
    try:
        return obtain(cache, progress)
    except UnreachableError:
        return Digits()


def _in_folder(folder: Path, largest: int) -> Source:
    if not folder.is_dir():
        raise InputError(_missing(folder))
    root = folder.resolve()
    return find_batches(root) or find_parquet(root, largest) or find_class_folders(root, largest)


def _missing(folder: Path) -> str:
    accepted = f"{', '.join(NAMES)} or a folder"
    if folder.exists():
        return f"data {folder} is a file: give {accepted}"
    if len(folder.parts) > 1:
        return f"data folder {folder} does not exist: give {accepted}"
    near = difflib.get_close_matches(str(folder).lower(), NAMES, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"data {str(folder)!r} is neither a known name nor an existing folder{hint}: give {accepted}"
