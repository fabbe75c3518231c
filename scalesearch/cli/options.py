"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import re
from typing import Annotated

import typer

from scalesearch.errors import InputError

LARGEST = 1e15  # multiply-accumulates: a thousand times the largest published network
MOST_BUDGETS = 16  # a search gives each its turn, and the run folder's name holds them all


def budget(text: str) -> float:
    """Read a budget in multiply-accumulates, such as 2e9."""
    return limit("--budget-flops", text, example="2e9")


def budgets(text: str) -> tuple[float, ...]:
    """Read one budget or several with commas between them, such as 1e8,2e8,4e8; the largest comes first."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and "" in parts:
        raise InputError(f"--budget-flops has a budget between any two commas, but got {text!r}")
    found: list[float] = []
    for part in parts:
        number = budget(part)
        if number in found:
            raise InputError(f"--budget-flops names a budget once, but {part} stands twice in {text!r}")
        found.append(number)
    if len(found) > MOST_BUDGETS:
        raise InputError(f"--budget-flops takes at most {MOST_BUDGETS} budgets, but got {len(found)}")
    return tuple(sorted(found, reverse=True))


def limit(option: str, text: str, example: str = "5e6") -> float:
    """Read the number of an option that limits a cost; errors name the option."""
    try:
        number = float(text)
    except ValueError as error:
        raise InputError(f"{option} must be a number such as {example}, but got {text!r}") from error
    if not math.isfinite(number) or number <= 0:
        raise InputError(f"{option} must be positive and finite, but got {text!r}")
    if number > LARGEST:
        raise InputError(f"{option} must be at most {LARGEST:g}, but got {text!r}")
    return number


def max_latency(text: str) -> float:
    """Read --max-latency, such as 5ms or 0.5s, as seconds."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(us|ms|s)", text)
    if found is None or float(found[1]) <= 0:
        raise InputError(f"--max-latency is a time above 0 with us, ms or s such as 5ms, but got {text!r}")
    return float(found[1]) / {"us": 1e6, "ms": 1e3, "s": 1.0}[found[2]]


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

BudgetsFlops = Annotated[
    str,
    typer.Option(
        "--budget-flops",
        metavar="NUMBER[,NUMBER...]",
        help="Multiply-accumulates of one forward pass, e.g. 2e9; several, such as 1e8,2e8,4e8, "
        "are searched at once, each as often as the others.",
    ),
]
MaxParams = Annotated[
    str | None,
    typer.Option("--max-params", metavar="NUMBER", help="Parameters of a deployed network at most."),
]
MaxActivations = Annotated[
    str | None,
    typer.Option(
        "--max-activations",
        metavar="NUMBER",
        help="Activations (outputs of convolutions) of a deployed network at most.",
    ),
]

MaxLatency = Annotated[
    str | None,
    typer.Option(
        "--max-latency", metavar="TIME", help="Predicted latency of a deployed network at most, e.g. 5ms."
    ),
]


def names(option: str, text: str | None) -> tuple[str, ...] | None:
    """Read names with commas between them."""
    found = None if text is None else tuple(part.strip() for part in text.split(","))
    if found is not None and "" in found:
        raise InputError(f"{option} has a name between any two commas, but got {text!r}")
    return found


def workers_asked(text: str) -> int:
    """Read --workers: a number, or 0 for auto."""
    if text == "auto":
        return 0
    if not text.isdecimal():
        raise InputError(f"--workers is auto or a whole number of at least 1, but got {text!r}")
    return int(text)


Data = Annotated[
    str | None,
    typer.Option(
        envvar="SCALESEARCH_DATA",
        help="cifar10, digits, a folder of class folders, or a folder of Parquet files.",
    ),
]
CallTime = Annotated[str | None, typer.Option(help="Time of this call's trainings, such as 10m.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[
    str, typer.Option(metavar="auto|NUMBER", help="Trainings at once; auto chooses by measuring, once.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")]
