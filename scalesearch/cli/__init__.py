"""The command line: one command a file, heavy imports inside the command.

Exit codes: 0 a result, 1 no usable result or a failed check, 2 bad input, 3 run held by another,
130 interrupted.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from scalesearch.cli.bench import bench
from scalesearch.cli.coefficients import coefficients
from scalesearch.cli.compare import compare
from scalesearch.cli.dashboard import dashboard
from scalesearch.cli.explain import explain
from scalesearch.cli.export import export
from scalesearch.cli.latency import latency
from scalesearch.cli.law import law
from scalesearch.cli.predict import predict
from scalesearch.cli.run import run
from scalesearch.cli.scale import scale
from scalesearch.cli.show import show
from scalesearch.cli.space import space
from scalesearch.cli.status import status
from scalesearch.cli.train import train
from scalesearch.cli.trust import trust
from scalesearch.cli.verify import verify
from scalesearch.errors import InputError, RunHeldError

# typer exports only this subclass of the class of all its usage errors.
UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="scalesearch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"scalesearch {version('scalesearch')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the convolutional network that makes the most of a compute budget."""


app.command()(run)
app.command()(status)
app.command()(dashboard)
app.command()(train)
app.command()(export)
app.command()(predict)
app.command()(show)
app.command()(scale)
app.command()(verify)
app.command()(explain)
app.command()(bench)
app.command()(latency)
app.command()(trust)
app.command()(compare)
app.command()(coefficients)
app.command()(law)
app.add_typer(space, name="space")


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        code = _complain(2, error.format_message())
    except InputError as error:
        code = _complain(2, str(error))
    except RunHeldError as error:
        code = _complain(3, str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = _complain(130, "interrupted before it began")
    sys.exit(code)


def _complain(code: int, message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
