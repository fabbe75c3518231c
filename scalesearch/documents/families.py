"""Families: one document holds a base network and the variants that published tables make of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.architecture.scaling import LARGEST_COEFFICIENT, scale
from scalesearch.documents.check import Place, check_name, checked
from scalesearch.documents.files import find, is_path, names, read
from scalesearch.documents.network import check_blocks, check_sizes, network_from
from scalesearch.errors import InputError

_NAMES = re.compile(r"^(?:[ ]*-[ ]+)?[{]?name:[ ]*[\"']?([\w.+-]+)", re.MULTILINE)


@dataclass(frozen=True)
class Published:
    """What a source states of a network.

    Attributes:
        params: trainable parameters. flops: multiply-accumulates by input side in pixels.
        paper: the source's own rounded figures, in words. top1: accuracies on ImageNet with their recipe.
    """

    params: int
    flops: dict[int, int]
    paper: str = ""
    top1: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Multipliers:
    """The published width and depth of a variant over the base, as in EfficientNet's table of B0 to B7."""

    width: float = 1.0
    depth: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A published member of a family: multipliers, then what its table states literally.

    Attributes:
        resolution: input side. dropout: of the head. norm: batch norm's eps and momentum.
        channels, repeats: one a stage. head_channels: of the head's convolution.
    """

    name: str
    multipliers: Multipliers = field(default_factory=Multipliers)
    resolution: int | None = None
    dropout: float | None = None
    norm: dict[str, float] | None = None
    channels: tuple[int, ...] | None = None
    repeats: tuple[int, ...] | None = None
    head_channels: int | None = None
    published: Published | None = None
    description: str = ""

    def of(self, base: Network) -> Network:
        """Return the variant of a base network."""
        network = scale(base, self.multipliers.depth, self.multipliers.width)
        changes: dict[str, Any] = {"name": self.name}
        for what in ("channels", "repeats"):
            values = getattr(self, what)
            if values is not None:
                stages = changes.get("stages", network.stages)
                if len(values) != len(stages):
                    raise ValueError(f"{what} has one value a stage, {len(stages)}, but got {len(values)}")
                pairs = zip(stages, values, strict=True)
                changes["stages"] = tuple(replace(stage, **{what: value}) for stage, value in pairs)
        if self.resolution is not None:
            changes["resolution"] = self.resolution
        changes["head"] = replace(
            network.head,
            dropout=network.head.dropout if self.dropout is None else self.dropout,
            channels=self.head_channels or network.head.channels,
        )
        changes |= {f"norm_{name}": value for name, value in (self.norm or {}).items()}
        return replace(network, **changes)


@dataclass(frozen=True)
class Entry:
    """A network by name, with what is published of it and the file that says so.

    Attributes:
        base: the document's own network. variant: what makes `network` of it; None for the base itself.
    """

    network: Network
    published: Published | None
    file: Path
    base: Network
    variant: Variant | None = None


def entries(path: Path) -> Iterator[Entry]:
    """Yield the network of a document and its variants; InputError names file, place, rule and value."""
    document, place = read(path), Place(str(path))
    base = network_from(document, str(path))
    yield Entry(base, _published(document, place), path, base)
    variants = document.get("variants", [])
    if not isinstance(variants, list):
        place.at("variants").fail(f"must be a list of rows, but is {variants!r}")
    for index, row in enumerate(variants):
        there = place.at("variants", index)
        if isinstance(row, Mapping):
            _published(row, there)
            checked(Multipliers, row.get("multipliers", {}), there.at("multipliers"))
        variant: Variant = checked(Variant, row, there)
        try:
            check_name(variant.name, there.at("name"))
            _check_multipliers(variant.multipliers)
            network = variant.of(base)
            check_blocks(network.blocks, there)
            check_sizes(to_document(network), there)
            network.cost()
        except InputError:
            raise
        except (ValueError, TypeError) as error:
            there.fail(str(error))
        yield Entry(network, variant.published, path, base, variant)


def _check_multipliers(multipliers: Multipliers) -> None:
    for name, value in vars(multipliers).items():
        if not 0 < value <= LARGEST_COEFFICIENT:
            raise ValueError(f"{name} must be above 0 and at most {LARGEST_COEFFICIENT}, but got {value}")


def _published(document: Mapping[str, Any], place: Place) -> Published | None:
    if "published" not in document:
        return None
    published: Published = checked(Published, document["published"], place.at("published"))
    return published


def known_networks() -> dict[str, Path]:
    """Return the document of every network and variant by name, without reading more than names."""
    found: dict[str, Path] = {}
    for stem, path in names("network").items():
        found[stem] = path
        found |= dict.fromkeys(_NAMES.findall(path.read_text(encoding="utf-8", errors="replace")), path)
    return found


def find_network(name: str | Path) -> Entry:
    """Return a network by its own name or a variant's, or the one of a document at a path."""
    if is_path(name):
        return next(entries(find("network", name)))
    known = known_networks()
    if str(name) not in known:
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or sorted(known)[:10]
        raise InputError(f"no network is called {str(name)!r}; near are {', '.join(near)}")
    found = list(entries(known[str(name)]))
    return next((entry for entry in found if entry.network.name == str(name)), found[0])
