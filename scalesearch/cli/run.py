"""`scalesearch run`: search for the network that makes the most of a budget."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from scalesearch import documents
from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import (
    AsJson,
    BudgetsFlops,
    Data,
    Device,
    MaxActivations,
    MaxLatency,
    MaxParams,
    Workers,
    budgets,
    limit,
    max_latency,
    names,
    seconds,
    workers_asked,
)
from scalesearch.errors import InputError

if TYPE_CHECKING:  # it loads Optuna
    from scalesearch.search.study import SamplerChoice, Study


def run(
    budget_flops: BudgetsFlops,
    max_params: MaxParams = None,
    max_activations: MaxActivations = None,
    latency_limit: MaxLatency = None,
    latency_model: Annotated[
        str | None,
        typer.Option(
            metavar="cpu|cuda|FILE",
            help="Whose latency is predicted: a device of this machine, or a file of `latency --write`.",
        ),
    ] = None,
    study: Annotated[str, typer.Option(help="A study's name or a document's path.")] = "default",
    space: Annotated[str | None, typer.Option(help="A search space's name or path.")] = None,
    data: Data = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Search trials of the whole run.")] = None,
    time: Annotated[str | None, typer.Option(help="Time of this call, such as 10m or 1h30m.")] = None,
    device: Device = "auto",
    workers: Workers = "auto",
    base: Annotated[
        str | None,
        typer.Option(
            metavar="NETWORK", help="Search coefficients alone, on this base: `scalesearch coefficients`."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of proposals and trainings.")] = None,
    objectives: Annotated[
        str | None, typer.Option(metavar="A,B", help="What is optimised: accuracy, flops, params ...")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, nsga2, gp, random ...")] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(metavar="A,B|none", help="Networks or run folders whose candidates come first."),
    ] = None,
    rungs: Annotated[
        str | None, typer.Option(metavar="A,B", help="Training images of each rung; the best go on.")
    ] = None,
    control: Annotated[
        bool | None, typer.Option("--control/--no-control", help="Every second candidate at random.")
    ] = None,
    asynchronous: Annotated[
        bool, typer.Option("--async", help="Decide by whatever has ended; a run does not repeat exactly.")
    ] = False,
    compile_networks: Annotated[
        bool,
        typer.Option("--compile", help="Train with torch.compile: another study; on a CPU it never pays."),
    ] = False,
    out: Annotated[str | None, typer.Option(help="The run folder; default runs/NAME.")] = None,
    fork: Annotated[
        bool,
        typer.Option("--fork", help="A changed study goes on beside --out, with what is valid of it."),
    ] = False,
    trial_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="Without a step for so long, a training hangs and is failed.")
    ] = "10m",
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Where trainings run: here, or on a Ray cluster.")
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a standing Ray cluster, such as auto or host:6379.")
    ] = None,
    cpus_per_trial: Annotated[int, typer.Option(min=1, help="Cores of a training on Ray.")] = 1,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="Of a training on Ray; 0.5 packs two on one.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL", envvar="SCALESEARCH_STORAGE", help="An Optuna storage that trials are copied to."
        ),
    ] = None,
    forms: Annotated[
        str,
        typer.Option(
            "--export", metavar="all|FORM[,FORM...]", help="Forms of best/; see `scalesearch export`."
        ),
    ] = "all",
    final_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Train the deployed network at the end: `scalesearch train RUN:best`."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search for the network that makes the most of a budget, by short trainings on real images."""
    if base is not None:
        raise typer.Exit(coefficients_alone(base, budget_flops, data, time, device, workers, out, as_json))
    levels = budgets(budget_flops)
    limits = (("params", "--max-params", max_params), ("activations", "--max-activations", max_activations))
    bounds = {name: limit(option, text) for name, option, text in limits if text is not None}
    if latency_limit is not None:
        bounds["latency"] = max_latency(latency_limit)
    duration = seconds(time) if time is not None else None
    patience = seconds(trial_timeout)
    if fork and out is None:
        raise InputError("--fork needs --out, the run folder that the changed study takes over from")
    at_once = workers_asked(workers)
    own = documents.load_study(study)
    chosen = replace(own, space=space or own.space, seed=own.seed if seed is None else seed)
    chosen = changed(chosen, "--objectives", objectives=names("--objectives", objectives))
    starts = () if warm_start == "none" else names("--warm-start", warm_start)
    chosen = changed(chosen, "--warm-start", warm_start=starts)
    chosen = changed(chosen, "--rungs", rungs=images(rungs))
    chosen = changed(chosen, "--control", control=control)
    if sampler is not None:
        chosen = changed(chosen, "--sampler", sampler=changed(chosen.sampler, "--sampler", name=sampler))
    if asynchronous:  # promotions too: they wait for nobody (D9)
        chosen = replace(chosen, asynchronous=True, halving=replace(chosen.halving, rule="asynchronous"))
    foreign = warm_start is None and chosen.space != own.space

    from scalesearch.cli.definition import Request
    from scalesearch.cli.engines import Place
    from scalesearch.cli.session import Session

    place = Place(engine, address, cpus_per_trial, gpus_per_trial)
    request = Request(
        chosen,
        levels,
        bounds,
        data,
        trials,
        duration,
        device,
        at_once,
        out,
        compile=compile_networks,
        foreign=foreign,
        place=place,
        storage=storage,
        forms=exported(forms),
        final_epochs=final_epochs,
        latency_model=latency_model,
    )
    with Interruption() as interruption:
        session = Session(request, fork, patience, interruption.unheard)
        report, code = session.run(interruption.requested)
    if as_json:
        print(json.dumps(report))
    raise typer.Exit(code)


def coefficients_alone(
    base: str,
    budget_flops: str,
    data: str | None,
    time: str | None,
    device: str,
    workers: str,
    out: str | None,
    as_json: bool,
) -> int:
    """Do what `scalesearch coefficients` does with its own defaults; return the exit code."""
    from scalesearch.cli.coefficients import search_coefficients

    return search_coefficients(
        base, budget_flops, data=data, time=time, device=device, workers=workers, out=out, as_json=as_json
    )


Changed = TypeVar("Changed", bound="Study | SamplerChoice")


def changed(chosen: Changed, option: str, **field: Any) -> Changed:
    """Return a part of a study with what an option says instead; None says nothing."""
    given = {name: value for name, value in field.items() if value is not None}
    try:
        return replace(chosen, **given)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from error


def exported(text: str) -> tuple[str, ...]:
    """Read --export: forms with commas between them, or all."""
    from scalesearch.handover.export import FORMS, check_forms

    found = FORMS if text == "all" else names("--export", text) or ()
    check_forms(found)
    return tuple(found)


def images(text: str | None) -> tuple[int, ...] | None:
    """Read numbers of images with commas between them."""
    found = names("--rungs", text)
    if found is not None and not all(part.isdecimal() for part in found):
        raise InputError(f"--rungs are whole numbers of images such as 20000,60000, but got {text!r}")
    return None if found is None else tuple(int(part) for part in found)
