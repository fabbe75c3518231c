"""`scalesearch scale`: the largest member of a network's family within a budget, without torch."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from scalesearch import documents
from scalesearch.architecture.budget import Budget, OverBudgetError, fit
from scalesearch.architecture.document import to_document
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli.options import BudgetFlops, budget
from scalesearch.cli.show import describe, with_options
from scalesearch.errors import InputError


def scale(
    network: Annotated[str, typer.Argument(help="A network's name or a document's path.")],
    budget_flops: BudgetFlops,
    alpha: Annotated[float, typer.Option(help="Depth grows as alpha^phi.")] = 1.2,
    beta: Annotated[float, typer.Option(help="Width grows as beta^phi.")] = 1.1,
    gamma: Annotated[float, typer.Option(help="Resolution grows as gamma^phi.")] = 1.15,
    resolution: Annotated[int | None, typer.Option(help="The base's side in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.")] = None,
) -> None:
    """Scale a network to a budget: its document on stdout, its cost on stderr."""
    flops = budget(budget_flops)
    base = with_options(documents.load(network), resolution, classes)
    try:
        fitted = fit(base, Coefficients(alpha, beta, gamma), Budget(flops))
    except OverBudgetError as error:
        raise InputError(f"--budget-flops: {error}") from error
    except ValueError as error:
        raise InputError(str(error)) from error
    scaled = replace(fitted.network, name=f"{base.name}_{flops:g}".replace("+", ""))
    print(documents.write_text(to_document(scaled)), end="")
    depth, width, side = fitted.realised
    closed = f"; the rounding gap was closed by {', '.join(fitted.repair)}" if fitted.repair else ""
    print(
        f"{describe(scaled.cost())}\n"
        f"{fitted.share:.2%} of the budget at phi = {fitted.phi:.4f}: depth x{depth:.3f}, "
        f"width x{width:.3f}, resolution x{side:.3f}{closed}",
        file=sys.stderr,
    )
