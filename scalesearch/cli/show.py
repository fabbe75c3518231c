"""`scalesearch show`: a network's stage table and its cost, without torch."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console, JustifyMethod
from rich.table import Table

from scalesearch import documents
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.network import Network, Row
from scalesearch.cli.figures import NOTE, figure_table, with_figures
from scalesearch.cli.weights import Weights, confirmed
from scalesearch.errors import InputError


def show(
    network: Annotated[str, typer.Argument(help="A network's name or a document's path.")],
    resolution: Annotated[int | None, typer.Option(help="Input side in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    weights: Weights = None,
) -> None:
    """Show a network's stages, parameters, FLOPs and activations."""
    shown = with_options(documents.load(network), resolution, classes)
    if weights is not None:
        print(confirmed(shown, weights), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(json.dumps(to_json(shown)))
    else:
        print_network(shown)


def with_options(network: Network, resolution: int | None, classes: int | None) -> Network:
    """Return the network at another resolution or with other classes."""
    if resolution is not None:
        if isinstance(network.resolution, tuple):
            wanted: int | tuple[int, ...] = (network.resolution[0], *(resolution,) * (network.dims - 1))
        else:
            wanted = resolution
        network = _replaced(network, resolution=wanted)
    return network if classes is None else _replaced(network, classes=classes)


def _replaced(network: Network, **changes: Any) -> Network:
    try:
        return replace(network, **changes)
    except ValueError as error:
        raise InputError(str(error)) from error


def to_json(network: Network) -> dict[str, Any]:
    """Return what `show --json` prints; its keys are stable."""
    stem, *stages, head = (row._asdict() for row in network.rows())
    cost = network.cost()
    shown = {
        "schema": 1,
        "name": network.name,
        "params": cost.params,
        "flops": cost.flops,
        "activations": cost.activations,
        "resolution": network.resolution,
        "classes": network.classes,
        "stem": stem,
        "stages": stages,
        "head": head,
    }
    return with_figures(shown, network)


def describe(cost: Cost) -> str:
    """Return cost in words, with both ways of counting FLOPs."""
    return (
        f"{cost.params:,} parameters, {cost.flops:,} FLOPs (multiply-accumulates; "
        f"{2 * cost.flops:,} counted as two operations each), {cost.activations:,} activations"
    )


def stage_table(rows: list[Row]) -> Table:
    """Return the stage table for a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in Row._fields:
        justify: JustifyMethod = "left" if name in ("stage", "operator") else "right"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return "x".join(str(part) for part in value) or "1"
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_network(network: Network) -> None:
    """Print the stage table and the cost."""
    console = Console()
    console.width = max(console.width, 132)  # exact numbers are the point: cut none
    console.print(
        f"[bold]{network.name}[/bold]  resolution {_cell(network.resolution)}, {network.classes} classes"
    )
    console.print(stage_table(network.rows()))
    console.print(describe(network.cost()), highlight=False)
    console.print()
    console.print(figure_table(network))
    console.print(NOTE, highlight=False)
