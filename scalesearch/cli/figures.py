"""The second table of `show`: receptive field, what separation saves, and torchstat's figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.table import Table

from scalesearch.architecture.network import Network
from scalesearch.architecture.receptive import Field, Separation, receptive_field, separation
from scalesearch.architecture.torchstat import Torchstat, torchstat


class Figures(NamedTuple):
    """The figures of one part of a network: stem, a stage or the head."""

    field: Field
    separation: Separation
    torchstat: Torchstat


def figures(network: Network) -> Iterator[Figures]:
    """Yield the figures of stem, stages and head."""
    x, field = network.input, Field.of_input(network.dims)
    for _, part in network.layers().layers:
        field = receptive_field(part, field)
        yield Figures(field, separation(part, x), torchstat(part, x))
        x = part.out(x)


def _total(parts: list[Figures]) -> Figures:
    return Figures(
        parts[-1].field,
        sum((part.separation for part in parts), Separation()),
        sum((part.torchstat for part in parts), Torchstat()),
    )


def _document(part: Figures) -> dict[str, Any]:
    sides = part.field.size
    return {
        "receptive_field": sides[0] if len(set(sides)) == 1 else sides,
        "saving": part.separation.saving,
        "torchstat": {
            "madd": part.torchstat.madd,
            "flops": part.torchstat.flops,
            "memory_mb": part.torchstat.memory_mb,
            "memory_read_write": part.torchstat.memory_read_write,
        },
    }


def with_figures(shown: dict[str, Any], network: Network) -> dict[str, Any]:
    """Return what `show --json` prints with the figures of stem, stages, head and the whole network."""
    parts = list(figures(network))
    stem, *stages, head = ({**row, **_document(part)} for row, part in zip(_rows(shown), parts, strict=True))
    return {**shown, **_document(_total(parts)), "stem": stem, "stages": stages, "head": head}


def _rows(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [shown["stem"], *shown["stages"], shown["head"]]


COLUMNS = ("stage", "receptive field", "saving", "MAdd", '"Flops"', "memory MB", "MemR+W bytes")
NOTE = (
    "saving: cost over that of full convolutions in place of the depthwise separable pairs; the last four "
    'columns are torchstat\'s, whose "Flops" are multiply-accumulates plus batch norm and whose memory is '
    "that of the plain module tree"
)


def figure_table(network: Network) -> Table:
    """Return the table of figures for a terminal, with a line for the whole network."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "stage" else "right", no_wrap=True)
    parts = list(figures(network))
    labels = ["stem", *map(str, range(1, len(parts) - 1)), "head", "total"]
    for label, part in zip(labels, [*parts, _total(parts)], strict=True):
        table.add_row(label, *_cells(part))
    return table


def _cells(part: Figures) -> tuple[str, ...]:
    sides, saving, counted = part.field.size, part.separation.saving, part.torchstat
    return (
        str(sides[0]) if len(set(sides)) == 1 else "x".join(map(str, sides)),
        "-" if saving is None else f"{saving:.4f}",
        f"{counted.madd:,}",
        f"{counted.flops:,}",
        f"{counted.memory_mb:.2f}",
        f"{counted.memory_read_write:,}",
    )
