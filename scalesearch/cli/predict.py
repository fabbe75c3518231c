"""`scalesearch predict`: image files classified by a trained or exported model."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scalesearch.errors import InputError

if TYPE_CHECKING:  # torch is loaded by the command
    from scalesearch.handover.classify import Classified, Guess


def predict(
    model: Annotated[
        str, typer.Argument(help="The folder of a trained or exported model, or a run's folder with :proxy.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option(help="Classes shown for each image.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Classify image files; exit code 1 where a file cannot be read."""
    from scalesearch.cli.target import resolve
    from scalesearch.handover.classify import Classifier

    if top < 1:
        raise InputError(f"--top must be at least 1, but got {top}")
    target = resolve(model)
    classifier = Classifier(target.model)
    found = []
    for classified in classifier.classify(images, top):
        found.append(classified)
        if classified.error is not None:
            print(f"{printable(classified.file)}: {printable(classified.error)}", file=sys.stderr)
        elif not as_json:
            print(_line(classified), flush=True)
    if as_json:
        shown = {"schema": 1, "model": target.origin, "network": target.model.network.name}
        print(json.dumps(shown | {"images": [to_json(one) for one in found]}))
    if any(one.error is not None for one in found):
        raise typer.Exit(1)


def to_json(classified: Classified) -> dict[str, Any]:
    """Return what `predict --json` prints of a file; its keys are stable."""
    guesses = [asdict(guess) for guess in classified.guesses]
    return {"file": str(classified.file), "error": classified.error, "classes": guesses}


def _line(classified: Classified) -> str:
    guesses = ", ".join(f"{_name(guess)} {guess.probability:.1%}" for guess in classified.guesses)
    return f"{printable(classified.file)}: {guesses}"


def _name(guess: Guess) -> str:
    return f"class {guess.index}" if guess.name is None else printable(guess.name)


def printable(text: object) -> str:
    """Return names of files and classes on one line; what a terminal would act on is spelt out."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(text))
