"""How large the maps of a network are, fast enough for thousands of networks on one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalesearch.architecture.document import stage_from_document
from scalesearch.architecture.layers import Shape
from scalesearch.architecture.network import Stem

GEOMETRY = ("operator", "stride", "kernel")  # of a stage's fields, those that its output's size depends on

Size = tuple[int, ...]


class Sizes:
    """Sizes by the layers' own shape rule, asked once for each operator, kernel, stride and input."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Size] = {}

    def of(self, document: Mapping[str, Any]) -> list[Size | None]:
        """Return the size in pixels behind the stem and behind each stage of a network's document.

        From the first part that this version of the package cannot build, it is None.
        """
        resolution, stem = document["resolution"], document["stem"]
        many = isinstance(resolution, list | tuple)
        size = self._behind_stem(stem, tuple(resolution) if many else (resolution,) * document.get("dims", 2))
        sizes, channels = [size], stem["channels"]
        for row in document["stages"]:
            size = None if size is None else self._behind_stage(row, channels, size)
            sizes.append(size)
            channels = row["channels"]
        return sizes

    def _behind_stem(self, stem: Mapping[str, Any], size: Size) -> Size | None:
        key = (size, str(stem.get("stride")), stem.get("kernel"), stem.get("pool"))
        if key not in self._known:
            own: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in stem.items()
            }
            try:
                self._known[key] = Stem(**own).layer().out(Shape(3, size)).size
            except (TypeError, ValueError):
                return None
        return self._known[key]

    def _behind_stage(self, row: Mapping[str, Any], channels: int, size: Size) -> Size | None:
        key = (size, *(row.get(name) for name in GEOMETRY))
        if key not in self._known:
            try:
                first = next(stage_from_document(row).blocks(channels))
                # The other blocks keep the size.
                self._known[key] = first.layer().out(Shape(channels, size)).size
            except (TypeError, ValueError):
                return None
        return self._known[key]
