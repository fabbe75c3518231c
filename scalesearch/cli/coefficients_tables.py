"""The coefficients that were found, in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from scalesearch.cli.coefficients_report import rule_text
from scalesearch.cli.words import count_text

WIDTH = 110  # characters that the table needs


def print_report(report: Mapping[str, Any]) -> None:
    """Print the trained points, best first, the rules, the verdict and what may be claimed."""
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are the point: cut none
    console.print(_points(report))
    for name, judged in report["rules"].items():
        _line(console, f"{name} {'/'.join(f'{value:.3g}' for value in judged['triple'])} {rule_text(judged)}")
    trained = count_text(report["trainings"], "training")
    _line(console, f"{report['verdict']}; {trained} at equal {report['equal']}")
    _line(console, report["claim"])
    _line(console, _deployed(report))


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _points(report: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("point", "depth", "width", "resolution", "FLOPs", "activations", "n", "loss", "accuracy"):
        table.add_column(name, justify="left" if name == "point" else "right", no_wrap=True)
    trained = [point for point in report["points"] if point["losses"]]
    for point in sorted(trained, key=lambda point: float(point["loss"])):
        table.add_row(
            point["name"],
            *(f"{value:.2f}" for value in point["realised"].values()),
            f"{point['flops']:,}",
            f"{point['activations']:,}",
            str(len(point["losses"])),
            f"{point['loss']:.4f}",
            f"{point['accuracy']:.1%}",
        )
    return table


def _deployed(report: Mapping[str, Any]) -> str:
    one = report["deployed"]
    return (
        f"{report['network']} with these coefficients: {one['flops']:,} multiply-accumulates "
        f"({one['share']:.1%} of the budget), {one['params']:,} parameters at {one['resolution']} px; "
        f"{one['file']}"
    )
