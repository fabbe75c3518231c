"""`scalesearch space`: what a search space holds, without torch. Each question is a subcommand.

Without a subcommand's name the question is `map`: what random candidates cost.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from scalesearch import documents
from scalesearch.architecture.membership import Membership, grows_into
from scalesearch.architecture.space import SearchSpace
from scalesearch.cli.options import budget
from scalesearch.documents import Entry
from scalesearch.documents.families import Multipliers
from scalesearch.errors import InputError

if TYPE_CHECKING:  # NumPy is loaded by the command that needs it
    from scalesearch.architecture.sampling import Sampler
    from scalesearch.cli.space_tables import Answer as Drawn
    from scalesearch.cli.space_tables import Exact

MOST_SAMPLES = 20_000_000  # their costs take half a gigabyte
MOST_FLOPS = 1e12  # twice the largest published network: beyond it a fit takes minutes


class MapFirst(TyperGroup):
    """A group whose command is `map` where the first word names none."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `map` before anything but a command or a question for help."""
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["map", *args]
        return super().parse_args(ctx, args)


space = typer.Typer(
    help="Draw the map of a search space, or ask what it holds: space SPACE is short for space map SPACE.",
    cls=MapFirst,
    no_args_is_help=True,
)


@space.command("map")
def draw_map(
    space: Annotated[str, typer.Argument(help="A space's name or a document's path.")],
    samples: Annotated[int, typer.Option(help="How many candidates are drawn.")] = 1_000_000,
    budget_flops: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Multiply-accumulates of one forward pass.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the map as a page as well.")
    ] = None,
) -> None:
    """Say what random candidates of a space cost, how few keep a budget, and what decides the cost."""
    flops = None if budget_flops is None else budget(budget_flops)
    _check(samples, flops, seed, page)
    drawn = _drawn(documents.load_space(space), samples, flops, seed)
    if page is not None:
        _write_page(page, drawn)
    from scalesearch.cli import space_tables as tables

    if as_json:
        print(json.dumps(tables.to_json(drawn)))
    else:
        tables.print_map(drawn)
    if page is not None:
        print(f"page: {page}", file=sys.stderr)


def _check(samples: int, flops: float | None, seed: int, page: Path | None) -> None:
    if not 1 <= samples <= MOST_SAMPLES:
        raise InputError(f"--samples must be from 1 to {MOST_SAMPLES:,}, but got {samples:,}")
    if seed < 0:
        raise InputError(f"--seed must be 0 or more, but got {seed}")
    if flops is not None and flops > MOST_FLOPS:
        raise InputError(f"--budget-flops of a map must be at most {MOST_FLOPS:g}, but got {flops:g}")
    if page is not None and (page.is_dir() or not page.parent.is_dir()):
        raise InputError(f"--page must name a file in a folder that exists, but got {str(page)!r}")


def _drawn(space: SearchSpace, samples: int, flops: float | None, seed: int) -> Drawn:
    """Draw, cost and fit, with a bar on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from scalesearch.architecture import space_map
    from scalesearch.cli.space_tables import Answer as Drawn

    sampler, console = _sampler(space), Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        bar.add_task("least and greatest", total=None)
        if flops is not None:
            _check_reachable(sampler, flops)
        exact = _exact(sampler)
        drawing = bar.add_task("drawing and costing", total=samples)
        drawn = space_map.draw_map(sampler, samples, seed, lambda done: bar.update(drawing, completed=done))
        if flops is None:
            return Drawn(space, seed, drawn, exact, None)
        bar.add_task(f"fitting {space_map.FITTED:,} to the budget", total=None)
        return Drawn(space, seed, drawn, exact, space_map.at_budget(sampler, drawn, flops, seed))


def _check_reachable(sampler: Sampler, flops: float) -> None:
    least = sampler.space.least(sampler.kinds.classes).flops
    if flops < least:
        raise InputError(
            f"--budget-flops {flops:g} is below the smallest network of the space {sampler.space.name}, "
            f"which takes {least:,} FLOPs"
        )


def _exact(sampler: Sampler) -> Exact:
    """Return the least and the greatest cost of the bases, or why they are not known."""
    from scalesearch.architecture.extremes import extremes

    try:
        return extremes(sampler.space, sampler.kinds.classes)
    except InputError as error:
        return str(error)


def _sampler(space: SearchSpace) -> Sampler:
    from scalesearch.architecture.sampling import NotArraysError, Sampler

    try:
        return Sampler(space)
    except NotArraysError as error:
        raise InputError(f"{space.name} has no map: {error}") from error


def _write_page(page: Path, drawn: Drawn) -> None:
    from scalesearch.dashboard.space_page import write_space_page

    try:
        write_space_page(page, drawn.space.name, drawn.space.bases(), drawn.drawn, drawn.limited)
    except OSError as error:
        raise InputError(f"--page {page} cannot be written: {error.strerror}") from error


@dataclass(frozen=True)
class Answer:
    """Whether a space holds a network, and as what: `base` is the network itself or its family's base."""

    space: str
    network: str
    base: str
    membership: Membership


@space.command()
def contains(
    space: Annotated[str, typer.Argument(help="A space's name or a document's path.")],
    network: Annotated[str, typer.Argument(help="A network's name or a document's path.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say whether a space holds a network, by which values of its leaves, or why not (exit code 1)."""
    answer = ask(documents.load_space(space), documents.find_network(network))
    if as_json:
        print(json.dumps(to_json(answer)))
    else:
        print_answer(answer)
    if not answer.membership.inside:
        raise typer.Exit(1)


def ask(space: SearchSpace, entry: Entry) -> Answer:
    """Ask for the network as a base, and for its family's base if a published table leads to the network."""
    network, base, variant = entry.network, entry.base, entry.variant
    itself = Answer(space.name, network.name, network.name, space.contains(network))
    if itself.membership.inside or variant is None or variant.multipliers == Multipliers():
        return itself
    depth, width = variant.multipliers.depth, variant.multipliers.width
    if not grows_into(base, network, depth, width):
        return itself
    return Answer(space.name, network.name, base.name, space.contains(network, base, depth, width))


def to_json(answer: Answer) -> dict[str, Any]:
    """Return what `space contains --json` prints; its keys are stable."""
    found = answer.membership
    depth, width, resolution = found.multipliers
    table = {"depth": depth, "width": width, "resolution": resolution}
    return {
        "schema": 1,
        "space": answer.space,
        "network": answer.network,
        "inside": found.inside,
        "how": found.how,
        "base": answer.base,
        "multipliers": table if found.inside else None,
        "values": found.values,
    }


def print_answer(answer: Answer) -> None:
    """Print the answer, and the values of the leaves by section."""
    found = answer.membership
    if found.inside:
        base = "" if answer.base == answer.network else f" as {answer.base},"
        print(f"{answer.network} is inside {answer.space}:{base} {found.how}")
    else:
        base = "" if answer.base == answer.network else f"its base {answer.base}: "
        print(f"{answer.network} is outside {answer.space}: {base}{found.how}")
    for section, values in by_section(found.values or {}).items():
        print(f"  {section:<10} {_line(values)}")


def _line(values: dict[str, Any]) -> str:
    if values.get("repeats") == 0:
        return "absent"
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def by_section(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return values by leaf as {section: {field: value}}, sections in a document's order."""
    sections: dict[str, dict[str, Any]] = {}
    for leaf in sorted(values, key=_rank):
        section, _, field = leaf.rpartition(".")
        sections.setdefault(section or "network", {})[field] = values[leaf]
    return sections


def _rank(leaf: str) -> tuple[int, int]:
    part, *rest = leaf.split(".")
    order = {"stem": 1, "stages": 2, "head": 3}
    return order.get(part, 0), int(rest[0]) if part == "stages" else 0


def _shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value).strip('"')
