"""Reading a network document."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from scalesearch.architecture.document import from_document
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.documents.check import Place, checked, known_keys

# What a network document says about the network without being part of it.
MOST_REPEATS = 10_000  # a document is read in a moment, or it is a mistake
ABOUT = ("source", "published", "description", "variants")


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
    if stage.repeats > MOST_REPEATS:
        place.at("repeats").fail(f"repeats must be at most {MOST_REPEATS}, but got {stage.repeats}")
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
    if not isinstance(plain["stages"], list):
        place.at("stages").fail(f"must be a list of rows, but is {plain['stages']!r}")
    for index, row in enumerate(plain["stages"]):
        _check_stage(row, place.at("stages", index))
    known_keys(plain.get("norm", {}), ("eps", "momentum"), place.at("norm"))
    hints = get_type_hints(Network)
    for name in set(plain) & set(own) - {"stem", "stages", "head"}:
        checked(hints[name], plain[name], place.at(name))
    try:
        network = complete(from_document(plain))
        network.layers().out(network.input)
    except ValueError as error:
        place.fail(str(error))
    return network
