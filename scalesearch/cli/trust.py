"""`scalesearch trust`: how far cheap signals order the networks of a space as long trainings do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from scalesearch import documents
from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import AsJson, CallTime, Data, Device, Workers, budget, seconds, workers_asked
from scalesearch.errors import InputError

if TYPE_CHECKING:
    from scalesearch.search.survey_document import Survey

NETWORKS, LENGTHS = 24, "20000,60000"


def trust(
    space: Annotated[str | None, typer.Argument(help="A search space's name or path; default mixed.")] = None,
    survey: Annotated[str | None, typer.Option(help="A survey's name or a document's path.")] = None,
    data: Data = None,
    budget_flops: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Multiply-accumulates of the deployed networks, e.g. 2e9."),
    ] = None,
    networks: Annotated[int | None, typer.Option(min=3, help=f"Networks; default {NETWORKS}.")] = None,
    lengths: Annotated[
        str | None, typer.Option(help=f"Training images, the longest is the truth; default {LENGTHS}.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each; default 1.")] = None,
    time: CallTime = None,
    device: Device = "auto",
    workers: Workers = "auto",
    out: Annotated[str | None, typer.Option(help="The folder; default runs/trust-NAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how far short trainings and zero-cost scores order networks as long trainings do.

    The trainings go to a table in the folder; the same command continues where it was stopped.
    """
    duration = seconds(time) if time is not None else None
    at_once = workers_asked(workers)
    own = {
        "SPACE": space,
        "--budget-flops": budget_flops,
        "--networks": networks,
        "--lengths": lengths,
        "--seeds": seeds,
    }
    if survey is None:
        chosen = _small(space or "mixed", budget_flops, networks or NETWORKS, lengths or LENGTHS, seeds or 1)
    else:
        _alone(own)
        chosen = documents.load_survey(survey)

    from scalesearch.cli.survey_session import Call
    from scalesearch.cli.trust_session import TrustSession

    call = Call(data, duration, device, at_once, out)
    with Interruption() as interruption:
        report, code = TrustSession(chosen, call).run(interruption.requested)
    if as_json:
        print(json.dumps(report))
    elif code == 0:
        from scalesearch.cli.trust_tables import print_report

        print_report(report)
    raise typer.Exit(code)


def _alone(options: dict[str, str | int | None]) -> None:
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} is for a survey made from options, but --survey names a document")


def _small(space: str, budget_flops: str | None, networks: int, lengths: str, seeds: int) -> Survey:
    """Return a survey in which every network has every length, short trainings first."""
    from scalesearch.search.survey_document import Block, Survey

    if budget_flops is None:
        raise InputError("--budget-flops says which networks are compared; give it, or --survey")
    chosen = documents.load_space(space)
    wanted = _lengths(lengths)
    blocks = tuple(Block(images, networks, (seed,)) for seed in range(seeds) for images in wanted)
    return Survey(chosen.name, budget(budget_flops), networks, blocks, space)


def _lengths(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    wrong = [part for part in parts if not part.isdecimal() or int(part) < 1]
    if wrong:
        raise InputError(f"--lengths are numbers of training images such as {LENGTHS}, but got {wrong[0]!r}")
    return sorted({int(part) for part in parts})
