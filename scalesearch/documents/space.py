"""Reading a space document, and writing one."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from scalesearch.architecture.document import STAGE_FIELDS
from scalesearch.architecture.domains import Choice, Path, Range, Same, label
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import LARGEST_COEFFICIENT, with_valid_widths
from scalesearch.architecture.space import SearchSpace, leaves
from scalesearch.architecture.ties import root
from scalesearch.documents.check import Place, check_name, checked, known_keys
from scalesearch.documents.include import included
from scalesearch.documents.leaf import MOST_STEPS, read_leaf
from scalesearch.documents.network import check_rows, network_from
from scalesearch.errors import InputError

# The order in which leaves are drawn, and so what "earlier" means for a tie.
ORDER = (
    "name",
    "resolution",
    "dims",
    "in_channels",
    "classes",
    "drop_path",
    "norm",
    "stem",
    "stages",
    "head",
)
FIXED = ("name", "dims", "in_channels")
SHARES = {"depth": 1 / 3, "width": 0.5, "growth": 2}
MOST_TRIED = 10_000  # values, each in a network of all stages
LEAST_GROWTH = 1.001  # below it a family's members hardly differ, and no fit ends


def space_from(document: Mapping[str, Any], file: str) -> SearchSpace:
    """Check a space document and return the space; InputError names file, place, rule and value."""
    place = Place(file)
    known_keys(document, document if isinstance(document, Mapping) else (), place)
    whole = included(document, place)
    for part in ("name", "resolution", "stem", "stages", "coefficients"):
        if part not in whole:
            place.fail(f"a space needs the field {part!r}")
    coefficients = _section(whole.pop("coefficients"), place.at("coefficients"))
    known_keys(coefficients, tuple(SHARES), place.at("coefficients"))
    known_keys(whole, ORDER, place)
    tree = {name: _read(name, whole[name], place.at(name)) for name in ORDER if name in whole}
    space = SearchSpace(checked(str, tree.pop("name"), place.at("name")), tree, SHARES | coefficients)
    check_name(space.name, place.at("name"))
    _check_ties(space, place)
    _check_rows(space, place)
    _check_extent(space, place)
    _check_every_value(space, place)
    return space


def _read(name: str, value: Any, place: Place) -> Any:
    """Turn {choice: [...]}, {range: [...]} and {same: leaf} into domains and ties, where leaves stand."""
    if name in FIXED and isinstance(value, Mapping):
        place.fail(f"is one value in every network of a space, but is {value!r}")
    if name in ("stem", "head", "norm"):
        return _section(value, place)
    if name != "stages":
        return read_leaf(value, place)
    check_rows(value, place)
    if not value:
        place.fail(f"must be a list of rows, but is {value!r}")
    return [_section(row, place.at(index)) for index, row in enumerate(value)]


def _section(value: Any, place: Place) -> dict[str, Any]:
    known_keys(value, value if isinstance(value, Mapping) else (), place)
    return {name: read_leaf(leaf, place.at(name)) for name, leaf in value.items()}


def _in_order(space: SearchSpace) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves as they are drawn: a row's operator and repeats come before its other fields."""
    tree = {**space.document, "coefficients": space.coefficients}
    found = list(leaves(tree))
    first = [
        (path[:2], position)
        for position, (path, _) in reversed(list(enumerate(found)))
        if path[0] == "stages"
    ]
    starts = dict(first)

    def rank(item: tuple[int, tuple[Path, Any]]) -> tuple[int, int, int]:
        position, (path, _) = item
        if path[0] != "stages":
            return position, 0, 0
        early = {"operator": 0, "repeats": 1}.get(str(path[2]), 2)
        return starts[path[:2]], early, position

    return (leaf for _, leaf in sorted(enumerate(found), key=rank))


def _check_ties(space: SearchSpace, place: Place) -> None:
    known = [label(path) for path, _ in leaves({**space.document, "coefficients": space.coefficients})]
    earlier: set[str] = set()
    for path, leaf in _in_order(space):
        if isinstance(leaf, Same) and leaf.leaf not in earlier:
            there = place.at(*path)
            if leaf.leaf in known:
                there.fail(f"a tie names an earlier leaf, but {leaf.leaf!r} does not come before it")
            near = difflib.get_close_matches(leaf.leaf, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            there.fail(f"a tie names an earlier leaf, but there is none called {leaf.leaf!r}{hint}")
        earlier.add(label(path))


def _check_rows(space: SearchSpace, place: Place) -> None:
    """Check what every draw relies on: rows have operators, and one stage is always there."""
    least = []
    for index, row in enumerate(space.document["stages"]):
        there = place.at("stages", index)
        for field in ("operator", "repeats", "channels"):
            if field not in row:
                there.fail(f"a stage needs the field {field!r}")
        for operator in _values(space, row["operator"]):
            if not isinstance(operator, str) or operator not in OPERATORS:
                there.at("operator").fail(
                    f"an operator is one of {', '.join(OPERATORS)}, but got {operator!r}"
                )
        repeats = _values(space, row["repeats"])
        for value in repeats:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                there.at("repeats").fail(
                    f"repeats must be whole numbers of at least 0 (absent), but got {value!r}"
                )
        if max(repeats) == 0:
            there.at("repeats").fail("a stage must be able to have at least 1 repeat, but it has 0")
        least.append(min(repeats))
    if max(least) == 0:
        place.at("stages").fail("one stage must have at least 1 repeat, but every one may have 0")


def _check_extent(space: SearchSpace, place: Place) -> None:
    """Check that a space can be read in a moment: every value of every leaf is tried in a network."""
    free = [leaf for _, leaf in leaves(space.document) if isinstance(leaf, Choice | Range | Same)]
    tried = sum(len(_values(space, leaf)) for leaf in free) * len(space.document["stages"])
    if tried > MOST_TRIED:
        place.fail(f"values to be tried times stages are at most {MOST_TRIED:,}, but here {tried:,}")
    sides = space.document["resolution"]
    domains = [leaf for leaf in sides if isinstance(leaf, Choice | Range)] if isinstance(sides, list) else []
    if (joint := prod(map(len, domains))) > MOST_STEPS:
        place.at("resolution").fail(f"joint values are at most {MOST_STEPS:,}, but these are {joint:,}")


def _values(space: SearchSpace, node: Any) -> tuple[Any, ...]:
    """Return the values that a leaf can have, of a range those that tell what is wrong with it."""
    _, domain = root({**space.document, "coefficients": space.coefficients}, "", node)
    if isinstance(domain, Choice):
        return domain.values
    if not isinstance(domain, Range):
        return (domain,)
    if not domain.whole:
        step = domain.step or (domain.high - domain.low) / 3
        return (float(domain.low), domain.high, min(domain.high, domain.low + step))
    step = int(domain.step or 1)
    values = range(int(domain.low), int(domain.high) + 1, step)
    return tuple(dict.fromkeys((*values[:2], values[len(values) // 2], *values[-2:])))


def _check_every_value(space: SearchSpace, place: Place) -> None:
    # First a network of first values, so that what is wrong in all of them is found where it stands.
    _check_example(space, space.document, ("name",), None, place)
    for path, leaf in leaves(space.document):
        if path[0] == "norm":
            for value in _values(space, leaf):
                checked(float, value, place.at(*path))
        if path[0] == "stages" and path[2] not in STAGE_FIELDS:
            _check_taken(space, path, place)
        free = isinstance(leaf, Choice | Range | Same)
        for value in _values(space, leaf) if free else ():
            changed = _with(space.document, path, Choice((value,)))
            _check_example(space, changed, path, value, place)
    for name, leaf in space.coefficients.items():
        for value in _values(space, leaf):
            _check_coefficient(name, value, place.at("coefficients", name))


def _check_taken(space: SearchSpace, path: Path, place: Place) -> None:
    try:
        space.example(path, None)
    except ValueError as error:
        place.at(*path).fail(str(error))


def _check_example(
    space: SearchSpace, document: Mapping[str, Any], path: Path, value: Any, place: Place
) -> None:
    """Check a network of the document in which the leaf at the path has the value."""
    example = SearchSpace(space.name, document, {}).example(path, value)
    try:
        network_from({"name": space.name} | example, place.file, with_valid_widths)
    except InputError:
        raise
    except (ArithmeticError, TypeError, ValueError) as error:
        place.at(*path).fail(f"gives no network with {value!r}: {error}")


def _with(node: Any, path: Path, leaf: Any) -> Any:
    """Return a copy of a tree in which the leaf at the path is another."""
    if not path:
        return leaf
    if isinstance(node, list):
        return [_with(child, path[1:], leaf) if i == path[0] else child for i, child in enumerate(node)]
    return {name: _with(child, path[1:], leaf) if name == path[0] else child for name, child in node.items()}


def _check_coefficient(name: str, value: Any, place: Place) -> None:
    number = checked(float, value, place)
    if not isinstance(value, int | float) or isinstance(value, bool):
        place.fail(f"must be a number, but got {value!r}")
    if not math.isfinite(number) or (name == "growth" and number <= 1):
        place.fail(f"growth must exceed 1, but got {value!r}")
    if name == "growth" and not LEAST_GROWTH <= number <= LARGEST_COEFFICIENT:
        place.fail(f"growth is from {LEAST_GROWTH} to {LARGEST_COEFFICIENT}, but got {value!r}")
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
