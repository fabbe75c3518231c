"""Image files to one uint8 array: RGB, one square size, every image decoded once."""

import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageOps

from scalesearch.errors import InputError
from scalesearch.training.data.pool import Progress

T = TypeVar("T")

KEPT_SIDE = 64  # px: data made for small networks is left as it is
LARGEST_SIDE = 128  # px: short trainings see no more than this
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
    """Images [n, 3, side, side], their labels and parts, the names of those that could not be decoded."""

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    skipped: tuple[str, ...]
    formats: str


@dataclass(frozen=True)
class Survey:
    """What the images' headers say."""

    total: int
    sizes: np.ndarray  # [n, 2] px
    formats: Counter[str]


def decode_all(where: str, batches: Batches, scratch: Path, progress: Progress) -> Decoded:
    """Decode every image to one common size into an array mapped from a file in `scratch`.

    The first pass reads headers only and settles the size. Raises InputError where no image can be
    read or the disk is too full.
    """
    survey = read_headers(batches())
    if len(survey.sizes) == 0:
        raise InputError(f"{where}: none of its {survey.total} images can be decoded")
    side = common_side(survey.sizes)
    _check_room(scratch, survey.total * 3 * side * side)
    shape = (survey.total, 3, side, side)
    mapped = np.lib.format.open_memmap(scratch / "pool.npy", mode="w+", dtype=np.uint8, shape=shape)
    images = np.asarray(mapped)  # the same memory; a plain array is many times faster to index
    labels: list[int] = []
    parts: list[str] = []
    skipped: list[str] = []
    for item, image in _decoded(batches(), side, _threads(survey.sizes)):
        if image is None:
            skipped.append(item.name)
            continue
        images[len(labels)] = image
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
        formats="/".join(sorted(survey.formats)),
    )


def read_headers(batches: Iterable[list[Encoded]]) -> Survey:
    """Sizes and formats of all images that can be opened; nothing is decoded."""
    total, sizes, formats = 0, [], Counter[str]()
    for batch in batches:
        total += len(batch)
        for item in batch:
            header = _unless_corrupt(_header, item.content)
            if header is not None:
                sizes.append(header[0])
                formats[header[1]] += 1
    return Survey(total, np.array(sizes), formats)


def common_side(sizes: np.ndarray) -> int:
    """Choose the side in pixels that images of these sizes [n, 2] are brought to.

    One small square size is kept; otherwise the median of the shorter sides, at most 128, rounded to
    a multiple of 8 so that the strides of a network divide it.
    """
    if sizes.min() == sizes.max() and sizes.max() <= KEPT_SIDE:
        return int(sizes.max())
    median = min(float(np.median(sizes.min(axis=1))), LARGEST_SIDE)
    return max(SIDE_STEP, int(median / SIDE_STEP + 0.5) * SIDE_STEP)


def decode_image(content: bytes | Path, side: int) -> np.ndarray:
    """Decode one image to RGB [3, side, side]: shorter side resized with antialias, centre cropped.

    The orientation that EXIF gives is applied. JPEGs may be decoded at a fraction of their size, never
    below twice `side`. Raises what the decoder raises.
    """
    with _opened(content) as image:
        image.draft(None, (2 * side, 2 * side))
        ImageOps.exif_transpose(image, in_place=True)
        rgb = to_rgb(image)
    if rgb.size != (side, side):
        rgb = ImageOps.fit(rgb, (side, side), Image.Resampling.BICUBIC)
    return np.asarray(rgb).transpose(2, 0, 1)


def to_rgb(image: Image.Image) -> Image.Image:
    """Bring any mode to 8-bit RGB.

    Transparent images are laid on white, the ground that drawings, logos and product pictures are made
    for: on black their dark lines would vanish. Of 16-bit values the upper eight bits are kept, as
    Pillow does for 16-bit colour. Raises ValueError where the range of the values is unknown.
    """
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise ValueError("floating-point images have no stated range")
    if image.mode.startswith("I"):
        return _upper_byte(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _upper_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("integer images must lie in the 16-bit range")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _opened(content: bytes | Path) -> Image.Image:
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)


def _header(content: bytes | Path) -> tuple[tuple[int, int], str]:
    with _opened(content) as image:
        return image.size, image.format or "unknown"


def _unless_corrupt(read: Callable[[bytes | Path], T], content: bytes | Path | None) -> T | None:
    if content is None:
        return None
    try:
        return read(content)
    except MemoryError:
        raise
    except Exception:  # decoders meet broken bytes with nearly every kind of exception; all are counted
        return None


def _threads(sizes: np.ndarray) -> int:
    return min(os.cpu_count() or 1, 8) if np.median(sizes) >= THREADS_FROM else 1


def _decoded(
    batches: Iterable[list[Encoded]], side: int, threads: int
) -> Iterator[tuple[Encoded, np.ndarray | None]]:
    def decode(item: Encoded) -> np.ndarray | None:
        return _unless_corrupt(lambda content: decode_image(content, side), item.content)

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
            f"decoding takes {2 * size / 1e9:.1f} GB of {scratch.parent}, where {free / 1e9:.1f} are free: "
            "set SCALESEARCH_CACHE to a roomier folder"
        )
