"""Photos made up: smooth grounds under textures that tell classes apart, and every odd kind of file."""

import io

import numpy as np
from images import noise
from PIL import Image

SIZES = ((200, 300), (300, 200), (301, 299))
TEXTURES = ("across", "upright", "checks")


def photo(rng, kind, size=(300, 200)):
    """A smooth ground of four colours under stripes or checks about 50 px wide."""
    width, height = size
    y, x = (axis[..., None] / 300 for axis in np.mgrid[0:height, 0:width])
    left, right, low_left, low_right = rng.uniform(40, 215, (4, 3))
    ground = (1 - y) * ((1 - x) * left + x * right) + y * ((1 - x) * low_left + x * low_right)
    frequency, phase = rng.uniform(30, 45), rng.uniform(0, 6)
    across, upright = (np.sin(frequency * axis + phase) for axis in (y, x))
    texture = {"across": across, "upright": upright, "checks": across * upright}[kind]
    pixels = ground + 40 * texture + rng.integers(-8, 9, (height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def odd_photos():
    """Files that can be decoded, by name: each another mode, format, shape or orientation."""
    rng = np.random.default_rng(1)
    first, *frames = (photo(rng, "across") for _ in range(3))
    deep = np.asarray(first.convert("L")).astype(np.uint16) * 257
    turned = Image.Exif()
    turned[0x0112] = 6
    half_clear = first.convert("RGBA")
    half_clear.putalpha(128)
    return {
        "grey.jpg": encoded(photo(rng, "across").convert("L"), "JPEG"),
        "cmyk.jpg": encoded(photo(rng, "across").convert("CMYK"), "JPEG"),
        "palette.png": encoded(photo(rng, "across").convert("P"), "PNG"),
        "clear-palette.png": encoded(first.quantize(16), "PNG", transparency=bytes(range(0, 160, 10))),
        "rgba.png": encoded(half_clear, "PNG"),
        "deep.png": encoded(Image.fromarray(deep), "PNG"),
        "deep.tif": encoded(Image.fromarray(deep[::-1]), "TIFF"),
        "turned.jpg": encoded(photo(rng, "across"), "JPEG", exif=turned),
        "moving.gif": encoded(first, "GIF", save_all=True, append_images=frames),
        "moving.webp": encoded(first, "WEBP", save_all=True, append_images=frames),
        "dot.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "wide.jpg": encoded(photo(rng, "across", (4000, 30)), "JPEG"),
        "line.png": encoded(Image.new("RGB", (9000, 1), "blue"), "PNG"),
        "huge.png": encoded(Image.new("1", (10_000, 9_500), 1), "PNG"),
        "CAPITALS.JPG": encoded(photo(rng, "across"), "JPEG"),
        "grüße 照片.jpg": encoded(photo(rng, "across"), "JPEG"),
    }


def broken_photos():
    """Files called images that cannot be decoded, each with its content and the reason that is told."""
    whole = encoded(noise(0), "JPEG")
    plane = Image.fromarray(np.ones((8, 8), dtype=np.float32))
    return {
        "zero.jpg": (b"", "empty file"),
        "half.jpg": (whole[: len(whole) // 2], "truncated"),
        "letter.jpg": (b"Dear Sir", "not an image that can be read"),
        "heights.tif": (encoded(plane, "TIFF"), "floating-point images have no stated range"),
        "bomb.png": (encoded(Image.new("1", (14_000, 13_000)), "PNG"), "more than 178,956,970 pixels"),
        "drawing.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image that can be read"),
    }
