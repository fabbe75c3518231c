"""The trust report in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from scalesearch.cli.words import count_text, duration_text

WIDTH = 110  # characters that the table needs


def print_report(report: Mapping[str, Any]) -> None:
    """Print what `make_report` returned: a table, then one sentence for each signal."""
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are the point: cut none
    console.print(_head(report), highlight=False, markup=False)
    console.print(_table(report))
    for signal in report["signals"]:
        console.print(signal["verdict"], highlight=False, markup=False, soft_wrap=True)


def _head(report: Mapping[str, Any]) -> str:
    truth, low_high = report["truth"], sorted(set(report["truth"]["seeds"]))
    seeds = " to ".join(map(str, low_high))
    lines = [
        f"truth: validation loss after {truth['images']:,} images of "
        f"{count_text(truth['networks'], 'network')}, {seeds} seed{'s' if low_high != [1] else ''} each, "
        f"{duration_text(truth['seconds'])} a training"
    ]
    if truth["seed_deviation"] is not None:
        lines.append(
            f"two seeds of one network differ: standard deviation {truth['seed_deviation']:.4f} "
            f"({truth['seed_freedom']} degrees of freedom)"
        )
    if truth["ceiling"] is not None:
        lines.append(f"against one such training a perfect signal would reach {truth['ceiling']:.2f}")
    if report["left"]:
        lines.append(f"{count_text(report['left'], 'training')} of {report['planned']:,} are not done yet")
    return "\n".join(lines)


def _table(report: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("signal", "n", "Spearman", "Kendall", "orders 90 % from", "seconds"):
        table.add_column(name, justify="left" if name == "signal" else "right", no_wrap=True)
    for signal in report["signals"]:
        power = signal["resolves"]
        table.add_row(
            signal["name"],
            str(signal["n"]),
            _interval(signal["spearman"]),
            _interval(signal["kendall"]),
            "-" if power is None else f"{power:.4f}",
            f"{signal['seconds']:.3g}" if signal["seconds"] else "0",
        )
    return table


def _interval(figures: Sequence[float]) -> str:
    value, low, high = figures
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"
