"""Reference points: published cost and accuracy of networks that are no documents here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scalesearch.documents.check import Place, checked
from scalesearch.documents.files import find, read


@dataclass(frozen=True)
class ReferencePoint:
    """A published network: side in pixels, parameters, multiply-accumulates, ImageNet top-1 in percent."""

    name: str
    resolution: int
    params: int
    flops: int
    top1: float


def load_references(name: str | Path) -> tuple[ReferencePoint, ...]:
    """Return the points of a references document by name or path."""
    path = find("references", name)
    place = Place(str(path))
    rows = read(path).get("networks")
    if not isinstance(rows, list):
        place.at("networks").fail(f"must be a list of rows, but is {rows!r}")
    return tuple(checked(ReferencePoint, row, place.at("networks", index)) for index, row in enumerate(rows))
