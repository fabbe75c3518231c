"""The rules by which scaled channels, repeats and resolutions become whole numbers."""

from __future__ import annotations

from math import ceil

RESOLUTION_STEP = 4
SMALLEST_RESOLUTION = 8


def round_channels(channels: float, divisor: int) -> int:
    """Round to the nearest multiple of `divisor`, ties up, never by more than 10 % down.

    The rule of EfficientNet's reference code (and of torchvision's `_make_divisible`).
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: float) -> int:
    """Round up, and at least to 1; a product such as 55.000000000000007 counts as 55."""
    return max(1, ceil(round(repeats, 9)))


def round_resolution(resolution: float, step: int = RESOLUTION_STEP) -> int:
    """Round to the nearest multiple of `step` pixels, and at least to 8 pixels.

    The published EfficientNet resolutions follow no rule; the nearest multiple of 4 is the one of
    Dollar et al. 2021.
    """
    return max(SMALLEST_RESOLUTION, int(resolution / step + 0.5) * step)
