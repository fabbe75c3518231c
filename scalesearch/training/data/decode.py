"""Image files to one uint8 array: RGB, one square size, every image decoded once."""

import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from scalesearch.errors import InputError
from scalesearch.training.data.image import attempt, decode_image, read_header
from scalesearch.training.data.pool import LeftOut, Progress
from scalesearch.training.data.split import HASH, content_hash

T = TypeVar("T")

# Proxies of the default recipe have 20 to 32 px. Twice that leaves room for crops; at 128 px, preparing a
# batch took 4.5 times as long (16.5 for 3.7 ms per 64 images) and the cache four times the disk.
LARGEST_SIDE = 64  # px: 12 kB an image, so 1.2 GB for 100,000 photos
SIDE_STEP = 8  # px
BATCH = 1024  # images in memory at once
# Below this the interpreter's own work on an image outweighs the decoder's, and threads only wait for
# each other (60,000 JPEGs of 32 px: 4 s without threads, 6 s with; 500 px: 2.4 ms each, 1.4 ms with two).
THREADS_FROM = 192  # px


class Encoded(NamedTuple):
    """One image as it is stored: a file, or its bytes (None where they are missing)."""

    name: str
    part: str
    label: int
    content: bytes | Path | None


Batches = Callable[[], Iterable[list[Encoded]]]
"""Starts a pass over all images; called twice."""


@dataclass(frozen=True)
class Decoded:
    """Images [n, 3, side, side], their labels and parts, and those that could not be decoded.

    `keys` are the content hashes that the images have at the usual side, None where they have that side.
    `summary` tells of what formats the images were, and their new size where that is another one.
    """

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    skipped: tuple[LeftOut, ...]
    summary: str
    keys: np.ndarray | None = None


@dataclass(frozen=True)
class Survey:
    """What the images' headers say."""

    total: int
    sizes: np.ndarray  # [n, 2] px
    formats: Counter[str]


def stored_side(side: int | None) -> int:
    """Return the largest side in pixels that photos are stored with for an input of `side` pixels.

    An input is 7/8 of it, as evaluation on ImageNet shows 224 of 256 pixels: random crops then have room.
    It is never below what the proxies take.
    """
    return LARGEST_SIDE if side is None else max(LARGEST_SIDE, -(-8 * side // 7))


def larger(largest: int) -> list[object]:
    """Return what a data set's identity says of a largest side: nothing of the usual one."""
    return [] if largest == LARGEST_SIDE else ["largest side", largest]


def decode_all(
    where: str, batches: Batches, scratch: Path, progress: Progress, largest: int = LARGEST_SIDE
) -> Decoded:
    """Decode every image to one common size into an array mapped from a file in `scratch`.

    Its side is at most `largest` pixels. The first pass reads headers only and settles the size. Raises
    InputError where no image can be read or the disk is too full.
    """
    with warnings.catch_warnings():
        # Of odd metadata and of more than 89 million pixels; what Pillow decodes all the same is used.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        survey = read_headers(batches())
        if len(survey.sizes) == 0:
            raise InputError(f"{where}: none of its {survey.total} images can be decoded")
        return _decode_surveyed(survey, batches, scratch, progress, largest)


def _decode_surveyed(
    survey: Survey, batches: Batches, scratch: Path, progress: Progress, largest: int
) -> Decoded:
    side, usual = common_side(survey.sizes, largest), common_side(survey.sizes)
    _check_room(scratch, survey.total * 3 * side * side)
    shape = (survey.total, 3, side, side)
    mapped = np.lib.format.open_memmap(scratch / "pool.npy", mode="w+", dtype=np.uint8, shape=shape)
    images = np.asarray(mapped)  # the same memory; a plain array is many times faster to index
    labels: list[int] = []
    parts: list[str] = []
    keys: list[bytes] = []
    skipped: list[LeftOut] = []
    decode = partial(_pixels, side=side, usual=usual)
    for item, pixels in _decoded(batches(), decode, _threads(survey.sizes)):
        if isinstance(pixels, str):
            skipped.append(LeftOut(item.name, pixels))
            continue
        images[len(labels)], key = pixels
        keys.append(key)
        labels.append(item.label)
        parts.append(item.part)
        if len(labels) % BATCH == 0:
            progress("decoding images", len(labels) / survey.total)
    progress("decoding images", 1.0)
    return Decoded(
        images=images[: len(labels)],
        labels=np.array(labels, dtype=np.int64),
        parts=np.array(parts, dtype="U5"),
        skipped=tuple(skipped),
        summary=_summary(survey, side),
        keys=None if side == usual else np.array(keys, dtype=HASH),
    )


def _pixels(content: bytes | Path, side: int, usual: int) -> tuple[np.ndarray, bytes]:
    """Decode an image, and again as the proxies see it: for where that belongs, see `load`."""
    image = decode_image(content, side)
    return image, b"" if side == usual else content_hash(decode_image(content, usual))


def read_headers(batches: Iterable[list[Encoded]]) -> Survey:
    """Sizes and formats of all images that can be opened; nothing is decoded."""
    total, sizes, formats = 0, [], Counter[str]()
    for batch in batches:
        total += len(batch)
        for item in batch:
            header = attempt(read_header, item.content)
            if not isinstance(header, str):
                sizes.append(header[0])
                formats[header[1]] += 1
    return Survey(total, np.array(sizes), formats)


def common_side(sizes: np.ndarray, largest: int = LARGEST_SIDE) -> int:
    """Choose the side in pixels that images of these sizes [n, 2] are brought to.

    One small square size is kept; otherwise the median of the shorter sides, at most `largest`, rounded to
    a multiple of 8 so that the strides of a network divide it.
    """
    if sizes.min() == sizes.max() and sizes.max() <= largest:
        return int(sizes.max())
    median = min(float(np.median(sizes.min(axis=1))), largest)
    return max(SIDE_STEP, int(median / SIDE_STEP + 0.5) * SIDE_STEP)


def _summary(survey: Survey, side: int) -> str:
    formats = "/".join(sorted(survey.formats))
    return f"{formats} images" + (f" brought to {side} px" if (survey.sizes != side).any() else "")


def _threads(sizes: np.ndarray) -> int:
    return min(os.cpu_count() or 1, 8) if np.median(sizes) >= THREADS_FROM else 1


def _decoded(
    batches: Iterable[list[Encoded]], pixels: Callable[[bytes | Path], T], threads: int
) -> Iterator[tuple[Encoded, T | str]]:
    def decode(item: Encoded) -> T | str:
        return attempt(pixels, item.content)

    if threads == 1:
        for batch in batches:
            yield from ((item, decode(item)) for item in batch)
        return
    with ThreadPoolExecutor(threads) as workers:
        for batch in batches:
            yield from zip(batch, workers.map(decode, batch), strict=True)


def _check_room(scratch: Path, size: int) -> None:
    free = shutil.disk_usage(scratch).free
    if free < 2 * size:  # the undivided array and the divided ones lie side by side for a moment
        raise InputError(
            f"decoding takes {2 * size / 1e9:.2g} GB of {scratch.parent}, where {free / 1e9:.2g} are free: "
            "set SCALESEARCH_CACHE to a roomier folder"
        )
