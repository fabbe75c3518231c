"""Plain data by column, as Parquet stores it: alike records then compress to half of what they do as rows.

A list is folded into itself, or into an object:

- of objects: {"k": their keys in order, "c": a folded list of values for each key, "m": for each key null,
  or "1" and "0" for the objects that have it and those that lack it};
- of short lists, all equally long: {"t": a folded list for each place};
- of other lists: {"n": their lengths, "l": all their items in one folded list}.

The page's script unfolds it (assets/folding.js).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise
from typing import Any

SHORT = 4


def fold(items: list[Any]) -> Any:
    """Return a list of plain JSON data by column; what is of several kinds stays as it is."""
    kinds = set(map(type, items))
    if kinds == {dict} and any(items):
        return _records(items)
    if kinds == {list}:
        return _lists(items)
    return items


def _lists(items: list[list[Any]]) -> dict[str, Any]:
    lengths = [len(item) for item in items]
    if 0 < lengths[0] <= SHORT and lengths.count(lengths[0]) == len(lengths):
        return {"t": [fold(list(column)) for column in zip(*items, strict=True)]}
    return {"n": lengths, "l": fold(list(chain.from_iterable(items)))}


def _records(items: list[dict[str, Any]]) -> Any:
    shapes = list(dict.fromkeys(map(tuple, items)))
    try:
        keys = _common_order(shapes)
    except CycleError:  # keys in contrary orders, which a column for each cannot keep
        return items
    everywhere = set(shapes[0]).intersection(*shapes[1:])
    masks = [None if key in everywhere else _mask(items, key) for key in keys]
    columns = [fold([item[key] for item in items if key in item]) for key in keys]
    return {"k": keys, "c": columns, "m": masks}


def _mask(items: Iterable[dict[str, Any]], key: str) -> str:
    return "".join(["1" if key in item else "0" for item in items])


def _common_order(shapes: Collection[tuple[str, ...]]) -> list[str]:
    """Return all keys in an order that each shape's own is a part of; CycleError where there is none."""
    sorter = TopologicalSorter({key: () for shape in shapes for key in shape})
    for before, after in dict.fromkeys(chain.from_iterable(map(pairwise, shapes))):
        sorter.add(after, before)
    return list(sorter.static_order())
