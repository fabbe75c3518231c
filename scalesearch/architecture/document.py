"""A network as plain data, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


MOST_BLOCKS = 1_000  # of a document: far beyond any network that is built
MOST_READ = 100_000  # blocks that a record may hold
STAGE_FIELDS = ("operator", "channels", "repeats", "stride", "divisor")
_SHOWN_OPTIONS = ("kernel", "expand", "se", "groups")


def stage_from_document(row: Mapping[str, Any]) -> Stage:
    """Read a row of the stage table: the stage's own fields, and the operator's options beside them."""
    own = {name: row[name] for name in STAGE_FIELDS if name in row}
    options = tuple((name, value) for name, value in row.items() if name not in STAGE_FIELDS)
    return Stage(**own, options=options)


def from_document(document: Mapping[str, Any]) -> Network:
    """Read a network from plain data whose types are known to be right; ValueError names a broken rule.

    Records and tables may come from strangers, so a network that takes minutes to count is refused here too.
    """
    blocks = sum(row["repeats"] for row in document["stages"])
    if blocks > MOST_READ:
        raise ValueError(f"a network has at most {MOST_READ:,} blocks, but this has {blocks:,}")
    own = {name: _tupled(value) for name, value in document.items()}
    norm = own.pop("norm", {})
    stem = {name: _tupled(value) for name, value in own.pop("stem").items()}
    return Network(
        **own
        | {
            "stem": Stem(**stem),
            "stages": tuple(stage_from_document(row) for row in document["stages"]),
            "head": Head(**own.pop("head", {})),
        },
        **{f"norm_{name}": value for name, value in norm.items()},
    )


def _changed(part: Stem | Head, *always: str) -> dict[str, Any]:
    values = {f.name: (getattr(part, f.name), f.default) for f in fields(part)}
    return {
        name: _listed(value)
        for name, (value, default) in values.items()
        if name in always or value != default
    }


def _stage_document(stage: Stage) -> dict[str, Any]:
    defaults = OPERATORS[stage.operator].options
    row: dict[str, Any] = {name: getattr(stage, name) for name in STAGE_FIELDS[:4]}
    given = dict(stage.options)
    row |= {name: given[name] for name in _SHOWN_OPTIONS if name in given}
    row |= {name: value for name, value in given.items() if name not in row and value != defaults[name]}
    return row | ({"divisor": stage.divisor} if stage.divisor != 8 else {})


def to_document(network: Network) -> dict[str, Any]:
    """Write a network as plain data; what equals its default is left out, the stage table is complete."""
    document: dict[str, Any] = {"name": network.name, "resolution": _listed(network.resolution)}
    for name, default in (("dims", 2), ("in_channels", 3), ("classes", 1000), ("drop_path", 0.0)):
        if getattr(network, name) != default:
            document[name] = getattr(network, name)
    norm = {"eps": network.norm_eps, "momentum": network.norm_momentum}
    if norm != {"eps": 1e-5, "momentum": 0.1}:
        document["norm"] = norm
    document["stem"] = _changed(network.stem, "channels", "kernel", "stride", "act")
    document["stages"] = [_stage_document(stage) for stage in network.stages]
    document["head"] = _changed(network.head, "channels", "act")
    return document


def differences(stored: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """Yield the fields in which two documents differ, each with both values; lists and tuples are alike."""
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*stored, *wanted}):
            yield from differences(stored.get(name), wanted.get(name), f"{place}.{name}".lstrip("."))
    elif _plain(stored) != _plain(wanted):
        yield f"{place}: {stored!r} there, {wanted!r} here"


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)
