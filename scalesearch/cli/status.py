"""`scalesearch status`: a run's first screen in the terminal, also while it goes on; loads no torch."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.live import Live

from scalesearch.errors import InputError

if TYPE_CHECKING:  # SciPy: loaded by the command
    from scalesearch.cli.folder import RunFolder

EVERY = 1.0  # seconds between two looks at the record
WIDEST = 100  # columns: longer lines are hard to read


def status(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a run has found so far: also while it goes on, from its files alone."""
    from scalesearch.cli.folder import RunFolder
    from scalesearch.cli.status_screen import screen, to_json

    if watch and as_json:
        raise InputError("--watch draws in a terminal, and --json prints one object: give one of them")
    folder = RunFolder(run)
    console = Console()
    console.width = min(console.width, WIDEST)
    if as_json:
        print(json.dumps(to_json(folder)))
    elif watch:
        _watch(folder, console)
    else:
        console.print(screen(folder))


def _watch(folder: RunFolder, console: Console) -> None:
    from scalesearch.cli.status_screen import screen

    try:
        with Live(screen(folder), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(EVERY)
                folder.refresh()
                live.update(screen(folder), refresh=True)
    except KeyboardInterrupt:
        return
