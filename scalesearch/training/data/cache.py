"""Decoded data sets on disk: one folder each, there as a whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from scalesearch.errors import InputError
from scalesearch.training.data.dataset import ABOUT
from scalesearch.training.data.pool import Pool

DECODER_VERSION = 2
"""Counted up whenever the same files would give other arrays or other splits."""

SCRATCH = ".building-"
ABANDONED_SECONDS = 86_400
CHUNK = 50_000_000  # bytes of images in memory at once


def cache_folder() -> Path:
    """$SCALESEARCH_CACHE, else $XDG_CACHE_HOME/scalesearch, else ~/.cache/scalesearch."""
    if own := os.environ.get("SCALESEARCH_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "scalesearch"


def cache_key(identity: list[object]) -> str:
    """Name the folder in which data with this identity lies decoded."""
    text = json.dumps([DECODER_VERSION, *identity])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def building(folder: Path, usable: Callable[[Path], bool]) -> Iterator[Path]:
    """Give a scratch folder that becomes `folder` in one step when the block ends without an exception.

    Several processes may do this at once: the first one to end wins unless what it left is not
    `usable`. Raises InputError where the cache cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"the data cache {folder.parent} cannot be written ({error.strerror}): set SCALESEARCH_CACHE"
        ) from error
    try:
        yield scratch
        _publish(scratch, folder, usable)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write(
    folder: Path, pool: Pool, splits: dict[str, np.ndarray], hashes: np.ndarray, demonstration: bool
) -> None:
    """Write the images of each split one after the other, their labels, and what describes them."""
    for name, members in splits.items():
        shape = (len(members), *pool.images.shape[1:])
        path = folder / f"{name}.images.npy"
        images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        chunk = max(1, CHUNK // pool.images[0].nbytes)
        for start in range(0, len(members), chunk):
            images[start : start + chunk] = pool.images[members[start : start + chunk]]
        images.flush()
        np.save(folder / f"{name}.labels.npy", pool.labels[members])
    about = {
        "name": pool.name,
        "classes": pool.classes,
        "fingerprint": fingerprint(pool, splits, hashes),
        "resolution": pool.images.shape[-1],
        "splits": {name: len(members) for name, members in splits.items()},
        "skipped": [str(file) for file in pool.skipped],
        "ignored": [str(file) for file in pool.ignored],
        "left_out": Counter(file.reason for file in (*pool.skipped, *pool.ignored)),
        "demonstration": demonstration,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")


def fingerprint(pool: Pool, splits: dict[str, np.ndarray], hashes: np.ndarray) -> str:
    """SHA-256 over class names, size, and each split's images (by their hashes) and labels."""
    digest = hashlib.sha256(json.dumps([pool.classes, pool.images.shape[-1]]).encode())
    for name, members in splits.items():
        digest.update(f"{name} {len(members)}".encode())
        digest.update(hashes[members].tobytes())
        digest.update(pool.labels[members].astype("<i8").tobytes())
    return digest.hexdigest()


def _publish(scratch: Path, folder: Path, usable: Callable[[Path], bool]) -> None:
    # A rename onto a folder that is not empty fails: another process was faster, or it is damaged.
    try:
        scratch.rename(folder)
    except OSError:
        if usable(folder):
            return
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder.parent) as trash:
            folder.rename(Path(trash) / "damaged")
            scratch.rename(folder)


def _sweep(root: Path) -> None:
    """Remove what killed processes left behind."""
    for scratch in root.glob(f"{SCRATCH}*"):
        with suppress(FileNotFoundError):  # another process may just have put its folder in place
            if time.time() - scratch.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(scratch, ignore_errors=True)
