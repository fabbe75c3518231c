"""The scaling laws of families in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 110  # characters that the table needs


def print_report(report: Mapping[str, Any]) -> None:
    """Print each family's sizes, its law, the hold-out and what the law says at the budget."""
    console = Console()
    console.width = max(console.width, WIDTH)  # figures are the point: cut none
    for family in report["families"]:
        console.print(_sizes(family))
        for line in _lines(family, report["budget_flops"]):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(report["claim"], highlight=False, markup=False, soft_wrap=True)


def _sizes(family: Mapping[str, Any]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (family["name"], "FLOPs", "activations", "params", "resolution", "n", "error"):
        table.add_column(name, justify="left" if name == family["name"] else "right", no_wrap=True)
    for point in family["points"]:
        table.add_row(
            point["name"],
            *(f"{point[name]:,}" for name in ("flops", "activations", "params", "resolution")),
            str(len(point["errors"])),
            "-" if point["error"] is None else f"{point['error']:.2%}",
        )
    return table


def _lines(family: Mapping[str, Any], budget: float | None) -> list[str]:
    law = family["law"]
    if law is None:
        return [f"{family['name']}: no law yet: {family['missing']}"]
    lines = [f"{family['name']} ({family['source']}): {law['statement']}", hold_out_text(law["hold_out"])]
    if budget is not None:
        lines.append(budget_text(law, budget))
    clamped = [point["flops"] for point in family["points"] if point["clamped"]]
    if clamped:
        lines.append(
            f"the resolution is at its bound in {len(clamped)} of {len(family['points'])} sizes: "
            "gamma is not identified there"
        )
    return lines


def hold_out_text(held: Mapping[str, Any]) -> str:
    """Say what the law without the largest size foretold of it."""
    beyond = "" if held["supported"] else ", beyond what the smaller sizes support"
    return (
        f"without the largest size, {held['size']:,.0f} multiply-accumulates, the law predicts an error of "
        f"{held['predicted']:.2%} ({held['low']:.2%} to {held['high']:.2%}) there{beyond}; trained: "
        f"{held['actual']:.2%}, off by {held['error']:+.2%}"
    )


def budget_text(law: Mapping[str, Any], budget: float) -> str:
    """Say the error at the budget, or that the evidence does not reach it."""
    at = law["at_budget"]
    if not at["supported"]:
        return (
            f"{budget:,.0f} multiply-accumulates: not supported by evidence, which reaches from "
            f"{law['sizes'][0]:,.0f} to {law['supported_to']:,.0f}"
        )
    value, low, high = at["error"]
    return f"{budget:,.0f} multiply-accumulates: an error of {value:.2%} ({low:.2%} to {high:.2%})"
