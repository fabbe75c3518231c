"""One image, and the side that all are brought to."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from images import noise
from PIL import Image

from scalesearch.training.data.decode import common_side
from scalesearch.training.data.image import decode_image


def decoded(image, side, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return decode_image(stream.getvalue(), side)


def test_an_image_of_the_right_size_is_kept_exactly():
    image = noise(0)
    assert np.array_equal(decoded(image, 32), np.asarray(image).transpose(2, 0, 1))


def test_transparent_pixels_are_laid_on_white():
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert decoded(image, 32).min() == 255
    assert decoded(image.convert("RGB"), 32).max() == 0


def test_sixteen_bit_grey_keeps_its_upper_byte():
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    assert np.array_equal(decoded(Image.fromarray(ramp), 64)[1], ramp >> 8)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    image = noise(1)
    turned = decoded(image, 32, exif=exif)
    assert np.array_equal(turned, np.asarray(image.rotate(-90)).transpose(2, 0, 1))


def test_a_larger_image_is_cropped_in_its_centre():
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    assert (decoded(wide, 50)[2] > 250).mean() > 0.95


def test_a_large_jpeg_matches_decoding_it_in_full():
    image = noise(2, (80, 60)).resize((800, 600), Image.Resampling.BICUBIC)
    ours = decoded(image, 96, "JPEG", quality=95).astype(int)
    full = image.resize((128, 96), Image.Resampling.BICUBIC).crop((16, 0, 112, 96))
    assert np.abs(ours - np.asarray(full).transpose(2, 0, 1)).mean() < 1


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=20))
def test_the_common_side_is_a_multiple_of_eight_unless_one_small_square(sizes):
    side = common_side(np.array(sizes))
    one_small_square = len({length for size in sizes for length in size}) == 1 and sizes[0][0] <= 64
    assert side == sizes[0][0] if one_small_square else (side % 8 == 0 and 8 <= side <= 64)
