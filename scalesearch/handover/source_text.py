"""Calls as text: numbers, names and lines as a formatter leaves them."""

from __future__ import annotations

import builtins
import json
import keyword
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from operator import index
from typing import Any

from scalesearch.errors import InputError
from scalesearch.handover.source_calls import NAMED, Argument, Call, Drop, Name, Padding

WIDTH = 110
LONGEST_NAME = 60
_INDENT = 4


@dataclass(frozen=True)
class Group:
    """Items between brackets.

    Attributes:
        explode: each item has its own line, whether or not they would fit one.
        joined: where the items do not fit the bracket's line, they may still share one of their own.
    """

    opening: str
    items: tuple[tuple[str, Group | str], ...]
    closing: str
    separator: str = ", "
    explode: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Repeat:
    """The argument of a call that stands for `stop - start` blocks, `variable` from start to stop - 1."""

    element: Call
    variable: str
    start: int
    stop: int


def literal(value: Any) -> str:
    """Write a number, a truth value or a tuple of them; anything else is refused.

    The text comes from int's and float's own methods, so that no subclass can write its own.
    """
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, tuple):
        return f"({', '.join(literal(one) for one in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, float):
        if not isfinite(value):
            raise InputError(f"a number of an exported network must be finite, but got {float(value)!r}")
        return float.__repr__(value)
    if hasattr(type(value), "__index__"):
        return int.__repr__(index(value))
    raise TypeError(f"only numbers are written into source, but got a {type(value).__name__}")


def annotation(value: Any) -> str:
    """Return the annotation of a parameter that takes a leaf's value."""
    match value:
        case Name():
            return "type[nn.Module]"
        case tuple():
            return "tuple[int, ...]"
        case Drop() | float():
            return "float"
        case bool():
            return "bool"
    return "int"


def ascii_text(text: str, longest: int) -> str:
    """Return text that cannot end a docstring: ASCII letters, digits and harmless signs, on one line."""
    plain = unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^A-Za-z0-9 .,:;()+*/=<>_`-]", " ", plain)[:longest].split())


def identifier(text: str, reserved: Iterable[str]) -> str:
    """Return a name for a function or parameter: lower case kept, never a keyword or a reserved name."""
    words = re.findall(r"[A-Za-z0-9]+", ascii_text(text, LONGEST_NAME))
    name = "_".join(words) or "block"
    name = f"block_{name}" if name[0].isdigit() else name
    while keyword.iskeyword(name) or hasattr(builtins, name) or name in reserved:
        name += "_"
    return name


def _drop(drop: Drop) -> str:
    return f"{literal(drop.rate)} * {literal(drop.index)} / {literal(drop.count)}" if drop.index else "0.0"


def group(node: Any) -> Group | str:
    """Return what `lines` lays out for a call, a repeat, a tuple of calls or a leaf."""
    match node:
        case Call():
            return _call(node)
        case Repeat():
            numbers = (node.start, node.stop) if node.start else (node.stop,)
            each = f"for {node.variable} in range({', '.join(literal(number) for number in numbers)})"
            return Group("*(", (("", group(node.element)), ("", each)), ")", separator=" ")
        case Name(text=text):
            return text
        case Drop():
            return _drop(node)
        case Padding():
            return literal(node.value)
        case (Call(), *_):
            return Group("[", tuple(("", group(part)) for part in node), "]", joined=False)
    return literal(node)


def _call(call: Call) -> Group:
    opening = f"{call.function.text if isinstance(call.function, Name) else call.function}("
    if call.function == NAMED and not all(_is_plain(a.name) for a in call.arguments):
        parts = tuple((f"{json.dumps(a.name, ensure_ascii=False)}: ", group(a.value)) for a in call.arguments)
        return Group(opening, (("**", Group("{", parts, "}", explode=True)),), ")")
    written = tuple(_argument(a) for a in call.arguments if not a.left_out)
    return Group(opening, written, ")", explode=call.function in (NAMED, "numbered") and bool(written))


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _argument(argument: Argument) -> tuple[str, Group | str]:
    return (f"{argument.name}=" if argument.keyword else "", group(argument.value))


def _flat(node: Group | str) -> str | None:
    if isinstance(node, str):
        return node
    joined = _flat_items(node)
    return None if node.explode or joined is None else f"{node.opening}{joined}{node.closing}"


def _flat_items(node: Group) -> str | None:
    flat = [(before, _flat(item)) for before, item in node.items]
    if any(text is None for _, text in flat):
        return None
    return node.separator.join(f"{before}{text}" for before, text in flat)


def lines(node: Group | str, indent: int, before: str = "", after: str = "") -> str:
    """Lay a group out in lines of at most WIDTH columns; `before` and `after` stand on its own lines."""
    margin, inner = " " * indent, indent + _INDENT
    flat = _flat(node)
    if isinstance(node, str) or (flat is not None and indent + len(before + flat + after) <= WIDTH):
        return f"{margin}{before}{flat}{after}"
    joined = None if node.explode or not node.joined else _flat_items(node)
    if joined is not None and inner + len(joined) <= WIDTH:
        body = [" " * inner + joined]
    else:
        comma = "" if node.separator == " " else ","
        body = [lines(item, inner, name, comma) for name, item in node.items]
    return "\n".join((f"{margin}{before}{node.opening}", *body, f"{margin}{node.closing}{after}"))
