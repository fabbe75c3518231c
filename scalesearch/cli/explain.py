"""`scalesearch explain`: a published variant beside the compound-scaling formula, without torch."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from scalesearch import documents
from scalesearch.architecture.explain import DIMENSIONS, Explanation, side
from scalesearch.architecture.explain import explain as explained
from scalesearch.architecture.scaling import LARGEST_COEFFICIENT, Coefficients
from scalesearch.documents import Entry
from scalesearch.documents.families import Multipliers, Variant
from scalesearch.errors import InputError


def explain(
    network: Annotated[str, typer.Argument(help="The name of a family's variant, e.g. efficientnet_b4.")],
    alpha: Annotated[float, typer.Option(help="Depth grows as alpha^phi.")] = 1.2,
    beta: Annotated[float, typer.Option(help="Width grows as beta^phi.")] = 1.1,
    gamma: Annotated[float, typer.Option(help="Resolution grows as gamma^phi.")] = 1.15,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Explain a published network: which phi of compound scaling is nearest, and whether any is exact."""
    entry = documents.find_network(network)
    variant = with_multipliers(entry)
    multipliers, coefficients = variant.multipliers, checked(alpha=alpha, beta=beta, gamma=gamma)
    explanation = explained(entry.network, entry.base, multipliers.depth, multipliers.width, coefficients)
    if as_json:
        print(json.dumps(to_json(explanation)))
    else:
        print_explanation(explanation)


def checked(**coefficients: float) -> Coefficients:
    """Return the coefficients; InputError where one is out of bounds or no number, or all are 1."""
    for name, value in coefficients.items():
        if not 1 <= value <= LARGEST_COEFFICIENT:
            raise InputError(f"{name} must be from 1 to {LARGEST_COEFFICIENT}, but got {value}")
    try:
        return Coefficients(**coefficients)
    except ValueError as error:
        raise InputError(str(error)) from error


def with_multipliers(entry: Entry) -> Variant:
    """Return what makes the network of its family's base; InputError where that is not multipliers."""
    if entry.variant is not None and entry.variant.multipliers != Multipliers():
        return entry.variant
    family = list(documents.entries(entry.file))
    others = [e.network.name for e in family if e.variant and e.variant.multipliers != Multipliers()]
    near = f"; in its document are {', '.join(others)}" if others else ""
    raise InputError(
        f"explain needs a variant with published width and depth multipliers, "
        f"but {entry.network.name} states none{near}"
    )


def to_json(explanation: Explanation) -> dict[str, Any]:
    """Return what `explain --json` prints; its keys are stable."""
    coefficients, network, formula = explanation.coefficients, explanation.network, explanation.formula
    return {
        "schema": 1,
        "name": network.name,
        "base": explanation.base.name,
        "coefficients": {name: getattr(coefficients, name) for name in ("alpha", "beta", "gamma", "growth")},
        "published": _point(explanation.multipliers, network),
        "formula": _point(explanation.formula_multipliers, formula),
        "deviations": dict(zip(DIMENSIONS, explanation.deviations, strict=True)),
        "phi": {"least_squares": explanation.phi, **explanation.implied},
        "exact_phi": explanation.exact,
    }


def _point(multipliers: tuple[float, ...], network: Any) -> dict[str, Any]:
    cost = network.cost()
    named = dict(zip(DIMENSIONS, multipliers, strict=True))
    return {**named, "side": side(network), "params": cost.params, "flops": cost.flops}


_FORMULAS = {"depth": "alpha^phi", "width": "beta^phi", "resolution": "gamma^phi"}


def print_explanation(explanation: Explanation) -> None:
    """Print the comparison, one line a dimension, and the verdict."""
    coefficients, console = explanation.coefficients, Console()
    console.print(
        f"[bold]{explanation.network.name}[/bold] is {explanation.base.name} under published multipliers; "
        f"beside it alpha={coefficients.alpha:g}, beta={coefficients.beta:g}, gamma={coefficients.gamma:g} "
        f"at phi = {explanation.phi:.3f} (least squares of the logarithms)",
        highlight=False,
    )
    console.print(_comparison(explanation), highlight=False)
    console.print(verdict(explanation), highlight=False)


def _comparison(explanation: Explanation) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "published", "formula", "", "deviation", "phi implied"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    lines = zip(
        DIMENSIONS,
        explanation.multipliers,
        explanation.formula_multipliers,
        explanation.deviations,
        strict=True,
    )
    for name, published, formula, deviation in lines:
        phi = _phi(explanation.implied[name])
        table.add_row(name, f"{published:.4g}", f"{formula:.4f}", _FORMULAS[name], f"{deviation:+.1%}", phi)
    _add_built(table, explanation)
    return table


def _add_built(table: Table, explanation: Explanation) -> None:
    network, formula = explanation.network, explanation.formula
    is_, made = network.cost(), formula.cost()
    rows = (
        ("input side", side(network), side(formula), ""),
        ("parameters", is_.params, made.params, ""),
        ("FLOPs", is_.flops, made.flops, _phi(explanation.implied["flops"])),
    )
    for name, published, rounded, phi in rows:
        deviation = f"{rounded / published - 1:+.1%}"
        table.add_row(name, f"{published:,}", f"{rounded:,}", "rounded", deviation, phi)


def _phi(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def verdict(explanation: Explanation) -> str:
    """Say whether any phi gives the network's channels and repeats."""
    if explanation.exact is None:
        return "No phi gives the exact channels and repeats: the published table is not the formula's."
    low, high = explanation.exact
    return f"phi from {low:.3f} to {high:.3f} gives the exact channels and repeats (resolution aside)."
