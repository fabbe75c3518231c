"""A comparison in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from scalesearch.cli.words import count_text, duration_text

WIDTH = 120  # characters that the table needs


def print_report(report: Mapping[str, Any]) -> None:
    """Print the networks, best first, how each came to its cost, and the first against each other."""
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are the point: cut none
    lines = [judged_text(report), *map(_rule, report["networks"])]
    lines += [one["text"] for one in report["differences"]]
    if report["data"]["notice"]:
        lines.insert(0, report["data"]["notice"])
    console.print(_table(report["networks"], report["judged"]["part"]))
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def judged_text(report: Mapping[str, Any]) -> str:
    """Say on which images the networks were judged, and how often these were read."""
    judged, looks = report["judged"], report["judged"]["looks"]
    each = f"{report['images']:,} training images each, seeds {', '.join(map(str, report['seeds']))}"
    if judged["part"] == "report":
        return f"{each}; judged on {judged['images']:,} validation images, as the data have no test part"
    read = f"read once, after the last of {count_text(sum(looks), 'training')}"
    if len(looks) > 1:
        read = (
            f"read {len(looks)} times, for {', '.join(map(str, looks))} trainings: those after the first "
            "were added when its figures were known"
        )
    return f"{each}; judged on {judged['images']:,} test images, {read}"


def _table(networks: Sequence[Mapping[str, Any]], part: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    accuracy = "test accuracy" if part == "test" else "report accuracy"
    names = ("network", "FLOPs", "params", "activations", "px", "n", "loss", accuracy, "95 %", "training")
    for name in names:
        table.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
    for one in sorted(networks, key=lambda one: -(one["accuracy"] or 0.0)):
        table.add_row(
            one["name"],
            *(f"{one[cost]:,}" for cost in ("flops", "params", "activations")),
            str(one["resolution"]),
            str(one["seeds"]),
            *(_figures(one) if one["accuracy"] is not None else ("failed", "-", "-", "-")),
        )
    return table


def _figures(one: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = one["interval"]
    interval = f"[{low:.2%}, {high:.2%}]"
    return f"{one['val_loss']:.4f}", f"{one['accuracy']:.2%}", interval, duration_text(one["seconds"])


def _rule(one: Mapping[str, Any]) -> str:
    depth, width, resolution = one["multipliers"].values()
    repair = f", rounding gap closed by {', '.join(one['repair'])}" if one["repair"] else ""
    band = "" if one["in_band"] else f", costs {one['share']:.1%} of what it may"
    return (
        f"{one['name']}: rule {one['rule']} ({one['rule_source']}), "
        f"depth × {depth:.2f}, width × {width:.2f}, resolution × {resolution:.2f}{repair}{band}"
    )
