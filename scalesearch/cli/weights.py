"""What `--weights` does: torch and torchvision are loaded only here."""

from __future__ import annotations

from typing import Annotated

import typer

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError

SOURCES = ("torchvision",)

Weights = Annotated[
    str | None,
    typer.Option(metavar="SOURCE", help="Confirm that pretrained weights load; SOURCE is torchvision."),
]


def confirmed(network: Network, source: str) -> str:
    """Load pretrained weights into `network` and return one line that says which; InputError if they fail."""
    if source not in SOURCES:
        raise InputError(f"--weights must be {' or '.join(SOURCES)}, but got {source!r}")
    from scalesearch.training.weights import pretrained

    found = pretrained(network, name=network.name)
    line = f"weights: {len(found.loaded)} tensors of {found.source} loaded"
    if found.left_out:
        line += f"; left out, for {network.classes} classes: {', '.join(found.left_out)}"
    return line
