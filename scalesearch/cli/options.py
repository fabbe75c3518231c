"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from scalesearch.errors import InputError

LARGEST_BUDGET = 1e15  # a thousand times the largest published network


def budget(text: str) -> float:
    """Read a budget in multiply-accumulates, such as 2e9."""
    try:
        number = float(text)
    except ValueError as error:
        raise InputError(f"--budget-flops must be a number such as 2e9, but got {text!r}") from error
    if not math.isfinite(number) or number <= 0:
        raise InputError(f"--budget-flops must be positive and finite, but got {text!r}")
    if number > LARGEST_BUDGET:
        raise InputError(f"--budget-flops must be at most {LARGEST_BUDGET:g}, but got {text!r}")
    return number


UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str | float) -> float:
    """Read a duration such as 90, 90s, 10m, 1h30m or 2d as seconds."""
    parts = re.findall(r"([0-9]+(?:\.[0-9]*)?)([smhd]?)", str(text))
    if not parts or "".join(number + unit for number, unit in parts) != str(text):
        raise InputError(f"a time is a number with s, m, h or d such as 10m, but got {text!r}")
    total = sum(float(number) * UNITS[unit] for number, unit in parts)
    if total <= 0:
        raise InputError(f"a time must be positive, but got {text!r}")
    return total


BudgetFlops = Annotated[
    str,
    typer.Option(
        "--budget-flops",
        metavar="NUMBER",
        help="Multiply-accumulates of one forward pass, e.g. 2e9.",
    ),
]
