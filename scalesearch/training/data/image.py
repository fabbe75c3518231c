"""One image file to RGB pixels, or the reason why it has none."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

T = TypeVar("T")

# Pillow knows these by name but has no decoder of its own for them: EPS would start Ghostscript, which
# runs what stands in the file; the others are containers or vector graphics.
NOT_READ = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})


@cache
def image_formats() -> tuple[str, ...]:
    """Name the formats that are read: all that Pillow decodes by itself."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - NOT_READ))


@cache
def image_suffixes() -> frozenset[str]:
    """Collect the file name endings (".jpg") of all formats that are read."""
    formats = image_formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def read_header(content: bytes | Path) -> tuple[tuple[int, int], str]:
    """Return size in pixels and format; nothing is decoded. Raises what the decoder raises."""
    with _opened(content) as image:
        return image.size, image.format or "unknown"


def decode_image(content: bytes | Path, side: int) -> np.ndarray:
    """Decode one image to RGB [3, side, side]: shorter side resized with antialias, centre cropped.

    The orientation that EXIF gives is applied; of an animation the first frame is taken. JPEGs may be
    decoded at a fraction of their size, never below twice `side`. Raises what the decoder raises.
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


def attempt(read: Callable[[bytes | Path], T], content: bytes | Path | None) -> T | str:
    """Return what `read` makes of an image, or in a few words why it cannot be read."""
    if content is None:
        return "no content"
    try:
        return read(content)
    except MemoryError:
        raise
    except Exception as error:  # decoders meet broken bytes with nearly every kind; all are counted
        return _reason(error, content)


def _reason(error: Exception, content: bytes | Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, UnidentifiedImageError):
        empty = not (content if isinstance(content, bytes) else content.stat().st_size)
        return "empty file" if empty else "not an image that can be read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels"
    text = (str(error) or type(error).__name__).splitlines()[0]
    return "truncated" if "truncated" in text.lower() else text


def _upper_byte(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("integer images must lie in the 16-bit range")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _opened(content: bytes | Path) -> Image.Image:
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    return Image.open(source, formats=image_formats())
