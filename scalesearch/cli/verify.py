"""`scalesearch verify`: network documents against their published figures, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from scalesearch import documents
from scalesearch.cli.show import with_options
from scalesearch.documents import Entry


class AtSide(NamedTuple):
    """FLOPs at an input side in pixels (None: the network's own), and those stated (None: not stated)."""

    side: int | None
    flops: int
    expected: int | None


class Check(NamedTuple):
    """A network's cost beside what its document states of it.

    Attributes:
        params_expected: None where the document states no figures.
        flops: at each side that the document names, in its order.
        paper: the source's own rounded figures, in words.
    """

    name: str
    file: Path
    params: int
    params_expected: int | None
    flops: tuple[AtSide, ...]
    paper: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether parameters and FLOPs at every side equal the stated ones; None where none are stated."""
        if self.params_expected is None:
            return None
        return self.params == self.params_expected and all(
            at.expected in (None, at.flops) for at in self.flops
        )


def check(entry: Entry) -> Check:
    """Compare a network with its published figures."""
    network, published = entry.network, entry.published
    cost = network.cost()
    own = (AtSide(None, cost.flops, None),)
    if published is None:
        return Check(network.name, entry.file, cost.params, None, own)
    pinned = tuple(
        AtSide(side, with_options(network, side, None).cost().flops, expected)
        for side, expected in published.flops.items()
    )
    return Check(network.name, entry.file, cost.params, published.params, pinned or own, published.paper)


def chosen(names: list[str]) -> Iterator[Entry]:
    """Yield the networks by name, all of a document at a path, or all there are where none is named."""
    for name in names or map(str, documents.names("network").values()):
        if Path(name).suffix in (".yaml", ".yml") or Path(name).is_file():
            yield from documents.entries(documents.find("network", name))
        else:
            yield documents.find_network(name)


def verify(
    networks: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME_OR_PATH]...", help="Networks; all if none is given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """Check network documents against their published figures; exit code 1 on any difference."""
    checks = [check(entry) for entry in chosen(networks or [])]
    if as_json:
        print(json.dumps([to_json(result) for result in checks]))
    else:
        print_checks(checks)
    if any(result.ok is False for result in checks):
        raise typer.Exit(1)


def to_json(result: Check) -> dict[str, Any]:
    """Return what `verify --json` prints of a network; its keys are stable."""
    first, *_ = result.flops
    return {
        "name": result.name,
        "params": result.params,
        "params_expected": result.params_expected,
        "flops": first.flops,
        "flops_expected": first.expected,
        "ok": result.ok,
        "sides": [at._asdict() for at in result.flops],
        "paper": result.paper or None,
        "file": str(result.file),
    }


_VERDICTS = {True: "[green]exact[/green]", False: "[bold red]DIFFERS[/bold red]", None: "not stated"}


def print_checks(checks: list[Check]) -> None:
    """Print a line for each network and input side, and how many are exact."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("network", "params", "at", "FLOPs", "verdict", "paper"):
        numeric = name in ("params", "at", "FLOPs")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=name != "paper")
    for result in checks:
        _add_rows(table, result)
    console = Console()
    console.width = max(console.width, 132)
    console.print(table, highlight=False)
    stated = [result for result in checks if result.ok is not None]
    exact, left = sum(result.ok is True for result in stated), len(checks) - len(stated)
    unstated = f"; {left} without published figures" if left else ""
    console.print(
        f"{exact} of {len(stated)} networks equal their published figures{unstated}", highlight=False
    )


def _add_rows(table: Table, result: Check) -> None:
    params = _beside(result.params, result.params_expected)
    first, *further = result.flops
    at = (str(first.side or "-"), _beside(first.flops, first.expected))
    table.add_row(result.name, params, *at, _VERDICTS[result.ok], result.paper)
    for other in further:
        table.add_row("", "", str(other.side), _beside(other.flops, other.expected))


def _beside(value: int, stated: int | None) -> str:
    return f"{value:,}" if stated in (None, value) else f"[red]{value:,} (stated {stated:,})[/red]"
