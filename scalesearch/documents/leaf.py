"""Reading a leaf of a space document: a value, {choice: [...]}, {range: [low, high]} or {same: leaf}."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scalesearch.architecture.domains import Choice, Range, Same
from scalesearch.documents.check import Place, known_keys

# What may stand beside the word that says what kind of leaf it is.
KINDS = {"choice": (), "range": ("step", "log"), "same": ()}
MOST_CHOICES = 256  # each is tried in a network
MOST_STEPS = 2_048  # of a range
LARGEST_NUMBER = 1e9


def read_leaf(node: Any, place: Place) -> Any:
    """Return the value, domain or tie that a leaf states; a list is read element by element."""
    if isinstance(node, list):
        return [read_leaf(child, place.at(index)) for index, child in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    kind = next((kind for kind in KINDS if kind in node), None)
    if kind is None:
        known_keys(node, KINDS, place)
        place.fail(f"a leaf is a value, a choice, a range or a tie, but is {node!r}")
    known_keys(node, (kind, *KINDS[kind]), place)
    if kind == "choice":
        return _choice(node["choice"], place)
    if kind == "range":
        return _range(node, place)
    if not isinstance(node["same"], str):
        place.fail(f"a tie names a leaf such as stem.act, but got {node['same']!r}")
    return Same(node["same"])


def _choice(values: Any, place: Place) -> Choice:
    if not isinstance(values, list):
        place.fail(f"a choice is a list of values, but got {values!r}")
    if len(values) > MOST_CHOICES:
        place.fail(f"a choice has at most {MOST_CHOICES} values, but this has {len(values):,}")
    for index, value in enumerate(values):
        if isinstance(value, Mapping):
            place.fail(f"a choice is made of plain values, but got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            place.fail(f"a choice is made of finite numbers, but got {value!r}")
        if value in values[:index]:
            place.fail(f"a choice states each value once, but {value!r} stands twice")
    try:
        return Choice(tuple(values))
    except ValueError as error:
        place.fail(str(error))


def _range(node: Mapping[str, Any], place: Place) -> Range:
    if not isinstance(node["range"], list) or len(node["range"]) != 2:
        place.at("range").fail(f"a range is [low, high], but got {node['range']!r}")
    low, high = node["range"]
    for value in (low, high, node.get("step", 1)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            place.fail(f"a range is made of numbers, but got {value!r}")
        if abs(value) > LARGEST_NUMBER:
            place.fail(f"a range is made of numbers up to {LARGEST_NUMBER:g}, but got {value!r}")
    log = node.get("log", False)
    if not isinstance(log, bool):
        place.at("log").fail(f"is true or false, but got {log!r}")
    try:
        domain = Range(low, high, node.get("step"), log)
    except ValueError as error:
        place.fail(str(error))
    if len(domain) > MOST_STEPS:
        place.fail(f"a range has at most {MOST_STEPS:,} values, but this has {len(domain):,}")
    return domain
