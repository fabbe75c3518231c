"""Reading a network document."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from scalesearch.architecture.document import MOST_BLOCKS, from_document
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.documents.check import Place, check_name, checked, known_keys
from scalesearch.errors import InputError

# What a network document says about the network without being part of it.
ABOUT = ("source", "published", "description", "variants")
# A document is read in a moment, or it is a mistake: far beyond any network that is built.
MOST_STAGES = 100
LARGEST = (
    (1_000_000, ("channels", "hidden", "classes", "in_channels", "divisor", "groups")),
    (65_536, ("resolution",)),
    (1_000, ("repeats", "expand")),
    (63, ("kernel", "stride")),
)
_TEXTS = ("name", "operator", "act")
_NUMBER = re.compile(r"\s*[-+]?([0-9._]|inf|nan)", re.IGNORECASE)  # what could be taken for one
_MOST = {name: most for most, names in LARGEST for name in names}


@cache
def _option_types(operator: str) -> dict[str, TypeAdapter[Any]]:
    block = OPERATORS[operator].block
    hints = get_type_hints(block)
    return {name: TypeAdapter(hints[name]) for name in inspect.signature(block).parameters if name in hints}


def _check_stage(row: Any, place: Place) -> None:
    own = tuple(f.name for f in fields(Stage) if f.name != "options")
    known_keys(row, (*own, *(row if isinstance(row, Mapping) else ())), place)
    options = {name: value for name, value in row.items() if name not in own}
    stage = checked(Stage, {name: row[name] for name in own if name in row}, place)
    taken = OPERATORS[stage.operator].options
    known_keys(options, tuple(taken), place)
    for name, value in options.items():
        try:
            _option_types(stage.operator)[name].validate_python(value)
        except ValidationError as error:
            place.at(name).fail(f"{error.errors()[0]['msg'].lower()}, but got {value!r}")
    checked(
        Stage, {name: row[name] for name in own if name in row} | {"options": tuple(options.items())}, place
    )


def check_sizes(document: Mapping[str, Any], place: Place) -> None:
    """Raise InputError where a number of a network document is above what LARGEST allows, or is text."""
    _check_section(document, place)
    for part in ("stem", "head", "norm"):
        _check_section(document.get(part), place.at(part))
    for index, row in enumerate(document["stages"]):
        _check_section(row, place.at("stages", index))


def _check_section(section: Any, place: Place) -> None:
    for name, value in section.items() if isinstance(section, Mapping) else ():
        most = _MOST.get(name)
        for number in value if isinstance(value, list | tuple) else (value,):
            if most and isinstance(number, int | float) and number > most:
                place.at(name).fail(f"must be at most {most:,}, but got {number!r}")
            if isinstance(number, str) and name not in _TEXTS and _NUMBER.match(number):
                place.at(name).fail(f"must be a number, but got the text {number!r}")


def check_rows(rows: Any, place: Place) -> None:
    """Raise InputError where the stage table is no list, or a very long one."""
    if not isinstance(rows, list):
        place.fail(f"must be a list of rows, but is {rows!r}")
    if len(rows) > MOST_STAGES:
        place.fail(f"a network has at most {MOST_STAGES} stages, but this has {len(rows):,}")


def check_blocks(blocks: int, place: Place) -> None:
    """Raise InputError where a network has too many blocks to be read in a moment."""
    if blocks > MOST_BLOCKS:
        place.fail(f"a network has at most {MOST_BLOCKS:,} blocks, but this has {blocks:,}")


def network_from(
    document: Mapping[str, Any], file: str, complete: Callable[[Network], Network] = lambda network: network
) -> Network:
    """Check a network document and return the network; InputError names file, place, rule and value.

    `complete` is what is done to the network before it is checked to build.
    """
    place = Place(file)
    plain = {name: value for name, value in document.items() if name not in ABOUT}
    own = [f.name for f in fields(Network) if not f.name.startswith("norm_")]
    known_keys(plain, (*own, "norm"), place)
    for part in ("name", "resolution", "stem", "stages"):
        if part not in plain:
            place.fail(f"a network needs the field {part!r}")
    checked(Stem, plain["stem"], place.at("stem"))
    checked(Head, plain.get("head", {}), place.at("head"))
    check_name(plain["name"], place.at("name"))
    check_rows(plain["stages"], place.at("stages"))
    check_sizes(plain, place)
    for index, row in enumerate(plain["stages"]):
        _check_stage(row, place.at("stages", index))
    known_keys(plain.get("norm", {}), ("eps", "momentum"), place.at("norm"))
    hints = get_type_hints(Network)
    for name in set(plain) & set(own) - {"stem", "stages", "head"}:
        checked(hints[name], plain[name], place.at(name))
    try:
        read = from_document(plain)
        check_blocks(read.blocks, place)
        network = complete(read)
        network.cost()  # of every kind of block once, where its layers would be built for each
    except InputError:
        raise
    except (ValueError, OverflowError) as error:
        place.fail(str(error))
    return network
