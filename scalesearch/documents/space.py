"""Reading a space document, and writing one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalesearch.architecture.domains import Choice, Domain, Range, Same
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import with_valid_widths
from scalesearch.architecture.space import SearchSpace, leaves
from scalesearch.documents.check import Place, checked, known_keys
from scalesearch.documents.network import ABOUT, network_from


def domains_in(node: Any, place: Place) -> Any:
    """Turn {choice: [...]} and {range: [low, high], ...} into domains, everywhere in a tree."""
    if isinstance(node, list):
        return [domains_in(child, place.at(index)) for index, child in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    if "choice" in node:
        known_keys(node, ("choice",), place)
        return checked(Choice, {"values": node["choice"]}, place)
    if "same" in node:
        known_keys(node, ("same",), place)
        return Same(checked(str, node["same"], place.at("same")))
    if "range" in node:
        known_keys(node, ("range", "step", "log"), place)
        if not isinstance(node["range"], list) or len(node["range"]) != 2:
            place.at("range").fail(f"a range is [low, high], but got {node['range']!r}")
        low, high = node["range"]
        return _range(node, low, high, place)
    return {name: domains_in(child, place.at(name)) for name, child in node.items()}


def _range(node: Mapping[str, Any], low: Any, high: Any, place: Place) -> Domain:
    for value in (low, high, node.get("step", 1)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            place.fail(f"a range is made of numbers, but got {value!r}")
    try:
        return Range(low, high, node.get("step"), bool(node.get("log", False)))
    except ValueError as error:
        place.fail(str(error))


def space_from(document: Mapping[str, Any], file: str) -> SearchSpace:
    """Check a space document and return the space; InputError names file, place, rule and value."""
    place = Place(file)
    for part in ("name", "resolution", "stem", "stages", "coefficients"):
        if part not in document:
            place.fail(f"a space needs the field {part!r}")
    tree = domains_in({key: value for key, value in document.items() if key not in ABOUT}, place)
    coefficients = tree.pop("coefficients")
    known_keys(coefficients, ("depth", "width", "growth"), place.at("coefficients"))
    space = SearchSpace(tree.pop("name"), tree, {"depth": 1 / 3, "width": 0.5, "growth": 2} | coefficients)
    _check_rows(space, place)
    _check_every_value(space, place)
    return space


def _check_rows(space: SearchSpace, place: Place) -> None:
    """Check what every draw relies on: rows are mappings with operators, and one stage is always there."""
    rows = space.document["stages"]
    if not isinstance(rows, list) or not rows:
        place.at("stages").fail(f"must be a list of rows, but is {rows!r}")
    for index, row in enumerate(rows):
        there = place.at("stages", index)
        known_keys(row, row if isinstance(row, Mapping) else (), there)
        for field in ("operator", "repeats", "channels"):
            if field not in row:
                there.fail(f"a stage needs the field {field!r}")
        operators = row["operator"].values if isinstance(row["operator"], Choice) else (row["operator"],)
        for operator in operators:
            if not isinstance(operator, str) or operator not in OPERATORS:
                there.at("operator").fail(
                    f"an operator is one of {', '.join(OPERATORS)}, but got {operator!r}"
                )
    if all(isinstance(row["repeats"], Choice | Range) and row["repeats"].contains(0) for row in rows):
        place.at("stages").fail("one stage must have at least 1 repeat, but every one may have 0")


def _check_every_value(space: SearchSpace, place: Place) -> None:
    for path, leaf in leaves(space.document):
        try:
            # A plain value stands in every example, so one example is enough for all of them.
            values = leaf.samples() if isinstance(leaf, Choice | Range) else ()
            examples = [space.example(path, value) for value in values or (leaf,)]
        except ValueError as error:
            place.at(*path).fail(str(error))
        for document in examples if values or path == ("resolution",) else ():
            network_from({"name": space.name} | document, place.file, with_valid_widths)
    for name, leaf in space.coefficients.items():
        for value in leaf.samples() if isinstance(leaf, Choice | Range) else (leaf,):
            _check_coefficient(name, value, place.at("coefficients", name))


def _check_coefficient(name: str, value: Any, place: Place) -> None:
    number = checked(float, value, place)
    if name == "growth" and number <= 1:
        place.fail(f"growth must exceed 1, but got {value!r}")
    if name != "growth" and not 0 <= number <= 1:
        place.fail(f"a share must be in [0, 1], but got {value!r}")


def plain(node: Any) -> Any:
    """Return a tree with domains as plain data: the inverse of reading a space document."""
    if isinstance(node, SearchSpace):
        return {"name": node.name} | plain(node.document) | {"coefficients": plain(node.coefficients)}
    if isinstance(node, Choice):
        return {"choice": list(node.values)}
    if isinstance(node, Range):
        extras = {"step": node.step} if node.step is not None else {}
        return {"range": [node.low, node.high]} | extras | ({"log": True} if node.log else {})
    if isinstance(node, Same):
        return {"same": node.leaf}
    if isinstance(node, Mapping):
        return {name: plain(child) for name, child in node.items()}
    return [plain(child) for child in node] if isinstance(node, list | tuple) else node
