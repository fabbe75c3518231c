"""`scalesearch law`: how the error of families falls with their cost, and how far that may be believed."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import (
    AsJson,
    CallTime,
    Data,
    Device,
    Workers,
    budget,
    limit,
    seconds,
    workers_asked,
)
from scalesearch.errors import InputError

SIZES, SEEDS, IMAGES = 6, 3, 20_000


def law(
    networks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NETWORK]...", help="Names or paths; they grow by EfficientNet's coefficients."
        ),
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="RUN[:TRIAL]",
            help="A run's best or named trial, or a folder of `coefficients`; may be given several times.",
        ),
    ] = None,
    budget_flops: Annotated[
        str | None,
        typer.Option(metavar="NUMBER", help="Multiply-accumulates at which the laws are read, e.g. 1e8."),
    ] = None,
    sizes: Annotated[int, typer.Option(min=1, help="Members of each family.")] = SIZES,
    low: Annotated[
        str | None,
        typer.Option("--from", metavar="NUMBER", help="Cost of the smallest; default about a proxy's / 8."),
    ] = None,
    high: Annotated[
        str | None, typer.Option("--to", metavar="NUMBER", help="Cost of the largest; default a proxy's x 4.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each member.")] = SEEDS,
    images: Annotated[int, typer.Option(min=1, help="Training images of each, repeats counted.")] = IMAGES,
    data: Data = None,
    time: CallTime = None,
    device: Device = "auto",
    workers: Workers = "auto",
    out: Annotated[str | None, typer.Option(help="The folder; default runs/law-NAMES.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train families at several sizes and fit error = a C^-b + c to each, with intervals and a hold-out.

    The trainings go to a table in the folder; the same command continues where it was stopped, and more seeds
    extend it.
    """
    if not networks and not runs:
        raise InputError("a law is of a family: give a network, or --run and a run folder")
    duration = seconds(time) if time is not None else None
    at = None if budget_flops is None else budget(budget_flops)
    least = None if low is None else limit("--from", low)
    most = None if high is None else limit("--to", high)
    at_once = workers_asked(workers)

    from scalesearch.cli.law_families import distinct, of_network, of_run
    from scalesearch.cli.law_session import LawSession, Request
    from scalesearch.cli.survey_session import Call

    families = distinct([*map(of_network, networks or ()), *map(of_run, runs or ())])
    request = Request(families, at, sizes, least, most, seeds, images)
    with Interruption() as interruption:
        report, code = LawSession(request, Call(data, duration, device, at_once, out)).run(
            interruption.requested
        )
    if as_json:
        print(json.dumps(report))
    elif report["families"]:
        from scalesearch.cli.law_tables import print_report

        print_report(report)
    raise typer.Exit(code)
