"""`scalesearch run`: search for the network that makes the most of a budget."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from scalesearch import documents
from scalesearch.cli.options import BudgetsFlops, MaxActivations, MaxParams, budgets, limit, seconds
from scalesearch.errors import InputError

if TYPE_CHECKING:  # it loads Optuna
    from scalesearch.search.study import SamplerChoice, Study


def run(
    budget_flops: BudgetsFlops,
    max_params: MaxParams = None,
    max_activations: MaxActivations = None,
    study: Annotated[str, typer.Option(help="A study's name or a document's path.")] = "default",
    space: Annotated[str | None, typer.Option(help="A search space's name or path.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            envvar="SCALESEARCH_DATA",
            help="cifar10, digits, a folder of class folders, or a folder of Parquet files.",
        ),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Search trials of the whole run.")] = None,
    time: Annotated[str | None, typer.Option(help="Time of this call, such as 10m or 1h30m.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        str, typer.Option(metavar="auto|NUMBER", help="Trainings at once; auto chooses by measuring, once.")
    ] = "auto",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Search for the network that makes the most of a budget, by short trainings on real images."""
    if base is not None:
        raise typer.Exit(coefficients_alone(base, budget_flops, data, time, device, workers, out, as_json))
    levels = budgets(budget_flops)
    limits = (("params", "--max-params", max_params), ("activations", "--max-activations", max_activations))
    bounds = {name: limit(option, text) for name, option, text in limits if text is not None}
    duration = seconds(time) if time is not None else None
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
    from scalesearch.cli.session import Session

    request = Request(
        chosen, levels, bounds, data, trials, duration, device, at_once, out, compile_networks, foreign
    )
    with Interruption() as interruption:
        report, code = Session(request).run(interruption.requested)
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


def names(option: str, text: str | None) -> tuple[str, ...] | None:
    """Read names with commas between them."""
    found = None if text is None else tuple(part.strip() for part in text.split(","))
    if found is not None and "" in found:
        raise InputError(f"{option} has a name between any two commas, but got {text!r}")
    return found


def images(text: str | None) -> tuple[int, ...] | None:
    """Read numbers of images with commas between them."""
    found = names("--rungs", text)
    if found is not None and not all(part.isdecimal() for part in found):
        raise InputError(f"--rungs are whole numbers of images such as 20000,60000, but got {text!r}")
    return None if found is None else tuple(int(part) for part in found)


def workers_asked(text: str) -> int:
    """Read --workers: a number, or 0 for auto."""
    if text == "auto":
        return 0
    if not text.isdecimal():
        raise InputError(f"--workers is auto or a whole number of at least 1, but got {text!r}")
    return int(text)


class Interruption:
    """Turns Ctrl-C and SIGTERM into a question that the driver asks; a second one ends at once.

    Before the driver asks for the first time nothing is lost, and a signal ends the command there and then.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._listened = False

    def requested(self) -> bool:
        """Return whether an end was asked for."""
        self._listened = True
        return self._event.is_set()

    def _hear(self, _signal: int, _frame: Any) -> None:
        if not self._listened:
            raise KeyboardInterrupt
        if self._event.is_set():
            os._exit(130)
        self._event.set()
        print("stopping: trainings write their checkpoints ...", file=sys.stderr)

    def __enter__(self) -> Interruption:
        self._before = {
            number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
