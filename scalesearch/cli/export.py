"""`scalesearch export`: a network in forms that need nothing of this package."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalesearch.cli.interruption import Interruption
from scalesearch.cli.options import names
from scalesearch.cli.show import with_options
from scalesearch.errors import InputError

if TYPE_CHECKING:  # torch is loaded by the command
    from scalesearch.architecture.network import Network
    from scalesearch.handover.export import ExportReport
    from scalesearch.handover.model import Model

SCORES = ("select", "report", "test", "interval", "loss")  # facts that are of one resolution


def export(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK|RUN[:TRIAL|:best|:proxy]",
            help="A network's name or document, a model's folder, or a run's folder.",
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", help="The folder to make; an earlier export there is replaced.")
    ],
    forms: Annotated[
        str,
        typer.Option(metavar="all|FORM[,FORM...]", help="Of network, program, onnx, timm, cost, card."),
    ] = "all",
    classes: Annotated[int | None, typer.Option(help="Number of classes of an untrained network.")] = None,
    resolution: Annotated[int | None, typer.Option(help="Input side in pixels.")] = None,
    seed: Annotated[int, typer.Option(help="Of the weights of an untrained network.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export a network as plain PyTorch, torch.export program, ONNX and timm strings, each form checked."""
    from scalesearch.cli.target import resolve
    from scalesearch.handover.export import FORMS
    from scalesearch.handover.export import export as exported
    from scalesearch.handover.model_card import trained_elsewhere
    from scalesearch.handover.verify import CheckFailedError

    asked = FORMS if forms == "all" else names("--forms", forms) or ()
    model = changed(resolve(network).model, classes, resolution)
    try:
        with Interruption():  # so that SIGTERM, too, removes what is half written
            report = exported(
                model, to, forms=asked, seed=seed, say=lambda text: print(text, file=sys.stderr)
            )
    except CheckFailedError as error:
        print(f"error: {error}; nothing was written", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        print("error: interrupted; nothing was written", file=sys.stderr)
        raise typer.Exit(130) from error
    if said := trained_elsewhere(model):
        print(said, file=sys.stderr)
    for file, reason in report.left_out.items():
        print(f"left out: {file}: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps(report.to_json() | {"folder": str(report.folder)}))
    else:
        print_report(report)


def changed(model: Model, classes: int | None, resolution: int | None) -> Model:
    """Return the model at another resolution or, where it has no weights, with other classes."""
    network = with_options(model.network, resolution, classes)
    if classes in (None, model.network.classes):
        return replace(model, network=network, facts=_facts_at(model, network))
    if model.weights is not None:
        raise InputError(
            f"--classes changes an untrained network alone, but {network.name} is trained for "
            f"{model.network.classes} classes"
        )
    return replace(model, network=network, classes=None)


def _facts_at(model: Model, network: Network) -> Mapping[str, Any]:
    """Return what is known of a model at another resolution: none of the accuracies that it had."""
    from scalesearch.handover.model_card import TRAINED_AT

    before, after = list(model.network.input.size), list(network.input.size)
    if model.weights is None or before == after:
        return model.facts
    known = {name: value for name, value in model.facts.items() if not _is_accuracy(name)}
    return {TRAINED_AT: before, **known}


def _is_accuracy(name: str) -> bool:
    return name in SCORES or "accuracy" in name


def print_report(report: ExportReport) -> None:
    """Print what was made, and how closely the forms agree."""
    state = "trained" if report.trained else f"untrained: random initial weights with seed {report.seed}"
    print(f"{report.folder}: {report.network}, {state}")
    forms = dict.fromkeys(one.form for one in report.agreements)
    for form in forms:
        own = [one for one in report.agreements if one.form == form]
        worst = max(one.difference for one in own)
        batches = " and ".join(str(one.batch) for one in own)
        print(
            f"  {form}: differs by {worst:.2g} of the largest logit at most on {batches} inputs "
            f"(allowed: {own[0].tolerance:g})"
        )
    print(f"  {', '.join(file for file in report.files if file not in forms)}")
