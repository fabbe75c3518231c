"""`scalesearch compare`: networks of equal cost, trained alike, judged once on the test images."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import AsJson, CallTime, Data, Device, Workers, names, seconds, workers_asked


def compare(
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|NETWORK...",
            help="A run folder (its best), RUN:TRIAL, a network's name or path, or NETWORK@RULE of scale's.",
        ),
    ],
    rivals: Annotated[
        str | None, typer.Option("--with", metavar="NETWORK,NETWORK", help="Further networks.")
    ] = None,
    data: Data = None,
    images: Annotated[int, typer.Option(min=1, help="Training images of each training.")] = 60_000,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each network.")] = 3,
    recipe: Annotated[
        str, typer.Option(help="A recipe's name or path; its proxy says the cost that all are scaled to.")
    ] = "small",
    time: CallTime = None,
    device: Device = "auto",
    workers: Workers = "auto",
    out: Annotated[str | None, typer.Option(help="The folder; default runs/compare-HASH.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train networks of equal cost alike, with fresh seeds, and compare the first with each other one.

    The test images are read once, when the last training has ended. The trainings go to a table in the
    folder; the same command continues where it was stopped, and prints what is stored when it is finished.
    """
    duration = seconds(time) if time is not None else None
    at_once = workers_asked(workers)
    named = (*networks, *(names("--with", rivals) or ()))

    from scalesearch.cli.compare_session import CompareSession, Request
    from scalesearch.cli.survey_session import Call

    request = Request(named, images, seeds, recipe)
    call = Call(data, duration, device, at_once, out)
    with Interruption() as interruption:
        report, code = CompareSession(request, call).run(interruption.requested)
    if as_json:
        print(json.dumps(report))
    elif report["networks"]:
        from scalesearch.cli.compare_tables import print_report

        print_report(report)
    raise typer.Exit(code)
