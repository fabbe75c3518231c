"""What `scalesearch scale --grid` prints: the networks of the grid of coefficients."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from scalesearch.architecture.explain import side
from scalesearch.architecture.network import Network
from scalesearch.architecture.rules import GridPoint
from scalesearch.cli.scale_tables import Shown, plain_table, print_table, shape, short, size

OWN = (1.2, 1.1, 1.15)
WIDE = 116


def grid(base: Network, points: list[GridPoint], **settings: float) -> Shown:
    """Show the networks of the grid of coefficients at phi = 1."""
    flops = base.cost().flops
    shown = {
        "base": base.name,
        "base_flops": flops,
        **settings,
        "coefficients": sum(len(point.coefficients) for point in points),
        "points": [_point_json(point, flops) for point in points],
    }
    return shown, lambda: _print_grid(base, points, settings)


def _point_json(point: GridPoint, flops: int) -> dict[str, Any]:
    low, high = point.growths
    return {
        "coefficients": [list(each) for each in point.coefficients],
        "promised_flops": {"low": low * flops, "high": high * flops},
        "growth": point.cost.flops / flops,
        "efficientnet": OWN in point.coefficients,
        **size(point.network),
    }


def _print_grid(base: Network, points: list[GridPoint], settings: dict[str, float]) -> None:
    console, flops = Console(highlight=False), base.cost().flops
    count = sum(len(point.coefficients) for point in points)
    console.print(
        f"[bold]{base.name}[/bold], phi = 1, step {settings['step']:g}, growth {settings['growth']:g} within "
        f"{settings['tolerance']:.1%}: {count:,} coefficients give {len(points):,} networks"
    )
    numbers = ("n", "alpha", "beta", "gamma", "promised", "FLOPs", "true", "side", "params", "act.")
    widths = ("stem, widths, head",) if console.width >= WIDE else ()
    table = plain_table(*numbers, "repeats", *widths, left=("repeats", *widths))
    for point in points:
        style = "bold" if OWN in point.coefficients else None
        table.add_row(*_point_cells(point, flops)[: len(table.columns)], style=style)
    print_table(console, table)
    console.print(
        "n: coefficients that give this network, with one of them; promised: alpha*beta^2*gamma^2 of all, "
        f"a factor of the base's {short(flops)} FLOPs; true: what rounding makes of it"
    )
    if not widths:
        console.print(f"a terminal of {WIDE} columns shows widths too, and --json all there is")
    if any(OWN in point.coefficients for point in points):
        console.print("*: with EfficientNet's own 1.2, 1.1, 1.15 among its coefficients")


def _point_cells(point: GridPoint, flops: int) -> list[str]:
    network, cost = point.network, point.cost
    shown = OWN if OWN in point.coefficients else point.coefficients[0]
    return [
        f"{'*' * (OWN in point.coefficients)}{len(point.coefficients)}",
        *(f"{coefficient:g}" for coefficient in shown),
        _span(*point.growths),
        short(cost.flops),
        f"{cost.flops / flops:.2f}",
        str(side(network)),
        short(cost.params),
        short(cost.activations),
        *shape(network),
    ]


def _span(low: float, high: float) -> str:
    first, last = f"{low:.2f}", f"{high:.2f}"
    return first if first == last else f"{first}-{last}"
