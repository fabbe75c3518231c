"""`scalesearch space`: what a search space holds, without torch. Each question is a subcommand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from scalesearch import documents
from scalesearch.architecture.membership import Membership, grows_into
from scalesearch.architecture.space import SearchSpace
from scalesearch.documents import Entry
from scalesearch.documents.families import Multipliers

space = typer.Typer(help="Ask what a search space holds.", no_args_is_help=True)


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
