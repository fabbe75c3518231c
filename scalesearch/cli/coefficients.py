"""`scalesearch coefficients`: how one network is best grown, by real trainings of equal cost."""

from __future__ import annotations

import json
from typing import Annotated, Literal, cast

import typer

from scalesearch import documents
from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import (
    AsJson,
    BudgetFlops,
    CallTime,
    Data,
    Device,
    Workers,
    budget,
    seconds,
    workers_asked,
)
from scalesearch.errors import InputError

GROWTH, POINTS, SEEDS, IMAGES = 4.0, 15, 2, 20_000
LARGEST_GROWTH = 100.0
COSTS = ("flops", "activations")


def coefficients(
    network: Annotated[str, typer.Argument(help="A network's name or a document's path.")],
    budget_flops: BudgetFlops,
    data: Data = None,
    growth: Annotated[
        float, typer.Option(help="The cost of the trained networks over that of their base.")
    ] = GROWTH,
    points: Annotated[int, typer.Option(min=1, help="Ways to grow that are trained.")] = POINTS,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = SEEDS,
    images: Annotated[int, typer.Option(min=1, help="Training images of each, repeats counted.")] = IMAGES,
    equal: Annotated[str, typer.Option(help="The cost that is equal: flops or activations.")] = "flops",
    time: CallTime = None,
    device: Device = "auto",
    workers: Workers = "auto",
    out: Annotated[str | None, typer.Option(help="The folder; default runs/coefficients-NAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Search alpha, beta and gamma of one network by training ways to grow it, and scale it by the best.

    The trainings go to a table in the folder; the same command continues where it was stopped, and more
    points or seeds extend it.
    """
    found = search_coefficients(
        network,
        budget_flops,
        data=data,
        growth=growth,
        points=points,
        seeds=seeds,
        images=images,
        equal=equal,
        time=time,
        device=device,
        workers=workers,
        out=out,
        as_json=as_json,
    )
    raise typer.Exit(found)


def search_coefficients(
    network: str,
    budget_flops: str,
    *,
    data: str | None = None,
    growth: float = GROWTH,
    points: int = POINTS,
    seeds: int = SEEDS,
    images: int = IMAGES,
    equal: str = "flops",
    time: str | None = None,
    device: str = "auto",
    workers: str = "auto",
    out: str | None = None,
    as_json: bool = False,
) -> int:
    """Search the coefficients of a network, print what was found, and return the exit code.

    The arguments are those of the command line; InputError names the one that is wrong.
    """
    if not 1 < growth <= LARGEST_GROWTH:
        raise InputError(f"--growth must be above 1 and at most {LARGEST_GROWTH:g}, but got {growth}")
    if equal not in COSTS:
        raise InputError(f"--equal is {' or '.join(COSTS)}, but got {equal!r}")
    duration = seconds(time) if time is not None else None
    wanted, base, at_once = budget(budget_flops), documents.load(network), workers_asked(workers)

    from scalesearch.cli.coefficients_session import CoefficientsSession, Request
    from scalesearch.cli.survey_session import Call

    kind = cast(Literal["flops", "activations"], equal)
    request = Request(base, wanted, growth, points, seeds, images, kind)
    call = Call(data, duration, device, at_once, out)
    with Interruption() as interruption:
        report, code = CoefficientsSession(request, call).run(interruption.requested)
    if as_json:
        print(json.dumps(report))
    elif code == 0:
        from scalesearch.cli.coefficients_tables import print_report

        print_report(report)
    return code
