"""The rules by which scaled channels, repeats and resolutions become whole numbers.

Those of channels and resolutions take arrays too: one rule serves a single network and a million of them.
"""

from __future__ import annotations

from math import ceil
from typing import Any

RESOLUTION_STEP = 4
SMALLEST_RESOLUTION = 8


def round_channels(channels: float, divisor: int) -> int:
    """Round to the nearest multiple of `divisor`, ties up, never by more than 10 % down.

    The rule of EfficientNet's reference code (and of torchvision's `_make_divisible`).
    """
    rounded: int = at_least(divisor, truncated(channels + divisor / 2) // divisor * divisor)
    short = rounded < 0.9 * channels
    if isinstance(rounded, int):
        return rounded + divisor if short else rounded
    return rounded + divisor * short


def truncated(number: Any) -> Any:
    """Return the whole part of a number, or of each number of an array."""
    return int(number) if isinstance(number, float | int) else number.astype("int64")


def at_least(least: int, number: Any) -> Any:
    """Return a number, or each number of an array, raised to `least` where it is below."""
    return max(least, number) if isinstance(number, int) else number.clip(least)


def anywhere(condition: Any) -> bool:
    """Return a condition, or whether it holds anywhere in an array of them."""
    return condition if isinstance(condition, bool) else bool(condition.any())


class MixedError(ValueError):
    """Two arrays of widths are equal in some rows only, where a rule asks whether they are equal."""


def same(one: Any, other: Any) -> bool:
    """Return whether two widths are equal; arrays must be so in all rows or in none, else MixedError."""
    if one is other:
        return True
    equal = one == other
    if isinstance(equal, bool) or equal.all() == equal.any():
        return anywhere(equal)
    raise MixedError


def round_repeats(repeats: float) -> int:
    """Round up, and at least to 1; a product such as 55.000000000000007 counts as 55."""
    return max(1, ceil(round(repeats, 9)))


def round_resolution(resolution: float, step: int = RESOLUTION_STEP) -> int:
    """Round to the nearest multiple of `step` pixels, and at least to 8 pixels.

    The published EfficientNet resolutions follow no rule; the nearest multiple of 4 is the one of
    Dollar et al. 2021.
    """
    rounded: int = at_least(SMALLEST_RESOLUTION, truncated(resolution / step + 0.5) * step)
    return rounded
