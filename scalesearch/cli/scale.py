"""`scalesearch scale`: a network scaled by a rule, all rules side by side, or the grid of coefficients.

Torch is loaded only where speed is measured.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer

from scalesearch import documents
from scalesearch.architecture.budget import BAND, Budget, Fit, OverBudgetError, realised_multipliers
from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.architecture.rules import GROWTH, RULES, Rule, grid, largest, member
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli import scale_tables as tables
from scalesearch.cli.options import LARGEST, budget
from scalesearch.cli.scale_grid import grid as grid_table
from scalesearch.cli.scale_tables import Attempt, Made
from scalesearch.cli.show import describe, with_options
from scalesearch.errors import InputError

EFFICIENTNET, ALL = "efficientnet", "all"
FURTHEST_PHI = 60.0

_RULE = ("--rule", "--alpha", "--beta", "--gamma")
_BASE = ("--resolution", "--classes")
# What each way to use the command takes besides --json.
_TAKES = {
    "one rule": (*_RULE, *_BASE, "--budget-flops", "--phi", "--fill"),
    "--rule all": (*_RULE, *_BASE, "--budget-flops", "--fill", "--no-speed", "--device"),
    "--grid": (*_BASE, "--grid", "--step", "--growth", "--tolerance"),
    "--published": (*_RULE, "--published", "--fill"),
}


def scale(
    network: Annotated[str, typer.Argument(help="A network's name or a document's path.")],
    budget_flops: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Multiply-accumulates of one forward pass, e.g. 2e9."),
    ] = None,
    phi: Annotated[float | None, typer.Option(help="The member at this phi in place of a budget.")] = None,
    rule: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"{', '.join(RULES)}, or all of them side by side."),
    ] = None,
    fill: Annotated[bool, typer.Option("--fill", help="Close the rounding gap below the budget.")] = False,
    alpha: Annotated[float | None, typer.Option(help="Depth grows as alpha^phi. Default 1.2.")] = None,
    beta: Annotated[float | None, typer.Option(help="Width grows as beta^phi. Default 1.1.")] = None,
    gamma: Annotated[float | None, typer.Option(help="Resolution grows as gamma^phi. Default 1.15.")] = None,
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Measure no speed.")] = False,
    device: Annotated[
        str | None, typer.Option(help="Where speed is measured: auto, cpu, cuda or cuda:N. Default auto.")
    ] = None,
    show_grid: Annotated[
        bool, typer.Option("--grid", help="All coefficients whose growth is about 2, at phi = 1.")
    ] = False,
    step: Annotated[float | None, typer.Option(help="Of the grid. Default 0.05.")] = None,
    growth: Annotated[
        float | None, typer.Option(help="Of the grid: alpha * beta^2 * gamma^2. Default 2.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="How far the grid may be off its growth. Default 0.05.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The rule beside the family's published variants.")
    ] = False,
    resolution: Annotated[int | None, typer.Option(help="The base's side in pixels.")] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Scale a network to a budget: its document on stdout, its cost on stderr; or compare rules."""
    given = {
        "--budget-flops": budget_flops,
        "--phi": phi,
        "--rule": rule,
        "--fill": fill or None,
        "--alpha": alpha,
        "--beta": beta,
        "--gamma": gamma,
        "--no-speed": no_speed or None,
        "--device": device,
        "--grid": show_grid or None,
        "--step": step,
        "--growth": growth,
        "--tolerance": tolerance,
        "--published": published or None,
        "--resolution": resolution,
        "--classes": classes,
    }
    given = {name: value for name, value in given.items() if value is not None}
    mode = _mode(given)
    if mode == "--published":
        shown, show = _published(network, given)
    else:
        base = with_options(documents.load(network), resolution, classes)
        shown, show = {"one rule": _one, "--rule all": _all, "--grid": _grid}[mode](base, given)
    if as_json:
        print(json.dumps({"schema": 1, **shown}))
    else:
        show()


def _mode(given: dict[str, Any]) -> str:
    """Return how the command is used; InputError for options that do not go together."""
    chosen = [name for name in ("--grid", "--published") if name in given]
    mode = chosen[0] if chosen else "--rule all" if given.get("--rule") == ALL else "one rule"
    for name in given:
        if name not in _TAKES[mode]:
            raise InputError(f"{name} does not go with {mode}{_where(name)}")
    if mode == "--published" and given.get("--rule") == ALL:
        raise InputError("--published takes one rule, not all")
    if mode == "one rule" and ("--budget-flops" in given) == ("--phi" in given):
        raise InputError("give one of --budget-flops and --phi (or --grid, or --published)")
    if mode == "--rule all" and "--budget-flops" not in given:
        raise InputError("--rule all compares rules at a budget: give --budget-flops")
    if "--phi" in given and "--fill" in given:
        raise InputError("--fill closes the gap below a budget, so it does not go with --phi")
    return mode


def _where(name: str) -> str:
    modes = [mode for mode, takes in _TAKES.items() if name in takes]
    return f"; it goes with {' and '.join(modes)}"


def _rule(given: dict[str, Any], name: str) -> Rule:
    """Return a rule by name, with the coefficients of the command line; these are efficientnet's alone."""
    if name not in RULES:
        raise InputError(f"--rule is one of {', '.join(RULES)} or all, but got {name!r}")
    coefficients = {key: given[f"--{key}"] for key in ("alpha", "beta", "gamma") if f"--{key}" in given}
    if not coefficients:
        return RULES[name]
    if name != EFFICIENTNET:
        raise InputError(f"--{next(iter(coefficients))} goes with the rule {EFFICIENTNET}, not with {name}")
    try:
        chosen = Coefficients(**coefficients)
    except ValueError as error:
        raise InputError(str(error)) from error
    source = "Tan and Le 2019, equation 3, with coefficients of the command line"
    return Rule(name, chosen, source)


def _rules(given: dict[str, Any]) -> list[Rule]:
    return [_rule(given, EFFICIENTNET), *(rule for name, rule in RULES.items() if name != EFFICIENTNET)]


def _one(base: Network, given: dict[str, Any]) -> tables.Shown:
    rule = _rule(given, given.get("--rule", EFFICIENTNET))
    made, at, words = (_at_phi if "--phi" in given else _at_budget)(base, rule, given)
    suffix = "" if rule.name == EFFICIENTNET else f"_{rule.name}"
    document = to_document(replace(made.network, name=f"{base.name}{suffix}_{at}".replace("+", "")))

    def show() -> None:
        print(documents.write_text(document), end="")
        print(f"{describe(made.network.cost())}\n{words}", file=sys.stderr)

    return {"base": base.name, **tables.attempt_json(Attempt(rule, made)), "network": document}, show


def _at_phi(base: Network, rule: Rule, given: dict[str, Any]) -> tuple[Made, str, str]:
    """Return the member at --phi, what its name says of it, and the line under its cost."""
    phi = given["--phi"]
    network = _member(base, rule, phi)
    realised = realised_multipliers(base, network)
    return Made(network, phi, realised), f"phi{phi:g}", f"phi = {phi:g}: {tables.multipliers(realised)}"


def _at_budget(base: Network, rule: Rule, given: dict[str, Any]) -> tuple[Made, str, str]:
    """Return the largest member within --budget-flops, the same way."""
    flops, fill = budget(given["--budget-flops"]), "--fill" in given
    fitted = _fitted(base, rule, flops, fill)
    return Made.of(fitted), f"{flops:g}", f"{_share(fitted)}{_gap(base, rule, flops, fitted, fill)}"


def _member(base: Network, rule: Rule, phi: float) -> Network:
    if not -FURTHEST_PHI <= phi <= FURTHEST_PHI:
        raise InputError(f"--phi must be from {-FURTHEST_PHI:g} to {FURTHEST_PHI:g}, but got {phi}")
    try:
        made = member(base, rule.coefficients, phi)
    except ValueError as error:
        raise InputError(f"--phi: {error}") from error
    if made.cost().flops > LARGEST:
        raise InputError(f"--phi {phi:g} gives more than {LARGEST:g} FLOPs")
    return made


def _fitted(base: Network, rule: Rule, flops: float, fill: bool) -> Fit:
    try:
        return largest(base, rule.coefficients, Budget(flops), fill)
    except OverBudgetError as error:
        raise InputError(
            f"--budget-flops {flops:g} is below the smallest member of the family: by the rule {rule.name} "
            f"{base.name} takes at least {round(error.share * flops):,} FLOPs"
        ) from error
    except ValueError as error:
        raise InputError(f"--budget-flops {flops:g}: by the rule {rule.name} {error}") from error


def _share(fitted: Fit) -> str:
    return (
        f"{fitted.share:.2%} of the budget at phi = {fitted.phi:.4f}: {tables.multipliers(fitted.realised)}"
    )


def _gap(base: Network, rule: Rule, flops: float, fitted: Fit, fill: bool) -> str:
    """Say how the rounding gap was closed, or what --fill would make of it."""
    if fill:
        used = fitted.repair
        return f"; the rounding gap was closed by {', '.join(used)}" if used else ""
    if fitted.share >= BAND:
        return ""
    closed = _fitted(base, rule, flops, fill=True)
    return (
        f"; --fill closes the gap by {', '.join(closed.repair)}: {closed.share:.2%}" if closed.repair else ""
    )


def _attempt(base: Network, rule: Rule, flops: float, fill: bool) -> Attempt:
    """Return what a rule makes of a budget, or why it makes nothing."""
    try:
        return Attempt(rule, Made.of(largest(base, rule.coefficients, Budget(flops), fill)))
    except ValueError as error:
        return Attempt(rule, None, str(error))


def _all(base: Network, given: dict[str, Any]) -> tables.Shown:
    flops = budget(given["--budget-flops"])
    rows = [_attempt(base, rule, flops, "--fill" in given) for rule in _rules(given)]
    setting = None
    if "--no-speed" not in given:
        from scalesearch.cli.scale_speed import with_speed

        rows, setting = with_speed(rows, given.get("--device", "auto"))
    return tables.rules(base, flops, rows, setting, "--fill" in given)


def _grid(base: Network, given: dict[str, Any]) -> tables.Shown:
    step, tolerance = given.get("--step", 0.05), given.get("--tolerance", 0.05)
    growth = given.get("--growth", GROWTH)
    try:
        points = grid(base, step, growth, tolerance)
    except ValueError as error:
        raise InputError(str(error)) from error
    return grid_table(base, points, step=step, growth=growth, tolerance=tolerance)


def _published(name: str, given: dict[str, Any]) -> tables.Shown:
    entry = documents.find_network(name)
    if entry.variant is not None:
        raise InputError(
            f"--published takes a family's base, but {name} is a variant of {entry.base.name}: give that"
        )
    variants = [other.network for other in documents.entries(entry.file) if other.variant is not None]
    if not variants:
        raise InputError(f"--published takes a family's base, but {entry.file.name} has no variants")
    rule = _rule(given, given.get("--rule", EFFICIENTNET))
    pairs = [(v, _attempt(entry.network, rule, v.cost().flops, "--fill" in given)) for v in variants]
    return tables.published(entry.network, rule, pairs, "--fill" in given)
