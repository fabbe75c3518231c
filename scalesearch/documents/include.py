"""`include` in a space document: starting from a network, or from another space, and freeing some fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.architecture.operators import OPERATORS
from scalesearch.documents.check import Place
from scalesearch.documents.families import find_network, known_networks
from scalesearch.documents.files import find, is_path, names, read
from scalesearch.documents.network import ABOUT
from scalesearch.errors import InputError

LONGEST_PATH = 1_000
SECTIONS = ("norm", "stem", "head", "coefficients")
FREE_SHARES = {"depth": {"range": [0.0, 1.0]}, "width": {"range": [0.0, 1.0]}, "growth": 2}


def included(document: Mapping[str, Any], place: Place, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a space document with what it includes merged in, its own fields over the included ones."""
    own = {name: value for name, value in document.items() if name not in ABOUT}
    if "include" not in own:
        return own
    there = place.at("include")
    name = own.pop("include")
    if not isinstance(name, str) or len(name) > LONGEST_PATH:
        there.fail(f"names a network or a space, or is a document's path, but is {name!r}")
    try:
        base = _base(name, there, (*seen, Path(place.file).resolve()))
    except InputError as error:
        if str(error).startswith(f"{place.file}: "):
            raise
        there.fail(str(error))
    return _merged(base, own, place)


def _base(name: str, place: Place, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Return the document of a network as a space, or of a space; a network goes before a space."""
    by_path = is_path(name)
    if not by_path and name in known_networks():
        return _network(find_network(name).network)
    if not by_path and name not in names("space"):
        known = ", ".join(sorted(names("space")))
        place.fail(f"no network or space is called {name!r}; spaces are {known}, and `verify` lists networks")
    path = find("network" if by_path else "space", name)
    document = read(path)
    if by_path and not {"include", "coefficients"} & document.keys():
        return _network(find_network(path).network)
    if path.resolve() in seen:
        chain = " includes ".join(one.name for one in (*seen, path))
        place.fail(f"a document cannot include itself, but {chain}")
    return included(document, Place(str(path)), seen)


def _network(network: Network) -> dict[str, Any]:
    """Return a network's document with every option of every stage, and free shares of growth."""
    document = to_document(network)
    for row, stage in zip(document["stages"], network.stages, strict=True):
        row |= dict(stage.options)
    return document | {"coefficients": FREE_SHARES}


def _merged(base: Mapping[str, Any], own: Mapping[str, Any], place: Place) -> dict[str, Any]:
    document = dict(base) | dict(own)
    for part in SECTIONS:
        if part in own:
            document[part] = _mapping(base.get(part, {}), place) | _mapping(own[part], place.at(part))
    if "stages" in own:
        document["stages"] = _rows(base["stages"], own["stages"], place.at("stages"))
    return document


def _mapping(value: Any, place: Place) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        place.fail(f"must be a mapping, but is {value!r}")
    return dict(value)


def _rows(base: list[Mapping[str, Any]], own: Any, place: Place) -> list[dict[str, Any]]:
    """Merge changes into the included rows: a list, row by row, or a mapping by number or `all`."""
    if isinstance(own, list):
        if len(own) != len(base):
            place.fail(f"changes each of the {len(base)} included stages, but has {len(own)} rows")
        changes = [_mapping(row, place.at(index)) for index, row in enumerate(own)]
    elif isinstance(own, Mapping):
        changes = _by_number(len(base), own, place)
    else:
        place.fail(f"must be a list of rows or a mapping by stage number, but is {own!r}")
    return [_row(row, change) for row, change in zip(base, changes, strict=True)]


def _by_number(stages: int, own: Mapping[Any, Any], place: Place) -> list[dict[str, Any]]:
    for number, row in own.items():
        whole = isinstance(number, int) and not isinstance(number, bool)
        if number != "all" and not (whole and 1 <= number <= stages):
            place.at(str(number)).fail(
                f"a stage is named by its number from 1 to {stages}, or all, but got {number!r}"
            )
        _mapping(row, place.at(str(number)))
    return [{**own.get("all", {}), **own.get(number, {})} for number in range(1, stages + 1)]


def _row(row: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Change a row; an included option that none of the new operators takes is left out."""
    if "operator" not in change:
        return {**row, **change}
    taken = _options_of(change["operator"])
    kept = {name: value for name, value in row.items() if taken is None or name in taken or name in _OWN}
    return {**kept, **change}


_OWN = ("operator", "channels", "repeats", "stride", "divisor")


def _options_of(operator: Any) -> set[str] | None:
    """Return the options that a row's operators take; None where that is for a later check to say."""
    offered = operator.get("choice") if isinstance(operator, Mapping) else [operator]
    if not isinstance(offered, list) or not all(isinstance(one, str) and one in OPERATORS for one in offered):
        return None
    return {option for one in offered for option in OPERATORS[one].options}
