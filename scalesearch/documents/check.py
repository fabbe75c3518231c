"""Checks of a document's values, and errors that name file, place, rule and value."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from scalesearch.architecture.domains import label
from scalesearch.errors import InputError


class Place:
    """Where in which file a value stands, for errors."""

    def __init__(self, file: str, path: tuple[str | int, ...] = ()) -> None:
        self.file, self.path = file, path

    def at(self, *parts: str | int) -> Place:
        """Return the place of a part of the value."""
        return Place(self.file, (*self.path, *parts))

    def fail(self, message: str) -> NoReturn:
        """Raise InputError with file, place and message."""
        where = f"{self.file}: {label(self.path)}" if self.path else self.file
        raise InputError(f"{where}: {message}")


def known_keys(document: Any, known: Iterable[str], place: Place) -> None:
    """Raise InputError where `document` is no mapping or has a key that is not known."""
    if not isinstance(document, Mapping):
        place.fail(f"must be a mapping, but is {document!r}")
    names_known = tuple(known)
    for key in document:
        if key not in names_known:
            near = difflib.get_close_matches(str(key), names_known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names_known)}"
            place.at(key).fail(f"there is no such field; {hint}")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: Any, value: Any, place: Place) -> Any:
    """Return `value` as the type `kind`; InputError names place, rule and value."""
    if hasattr(kind, "__dataclass_fields__"):
        known_keys(value, tuple(f.name for f in fields(kind)), place)
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        rule = first["msg"].removeprefix("Value error, ")
        parts = [part for part in first["loc"] if not str(part).startswith(("function-", "constrained-"))]
        got = "" if ", but " in rule else f", but got {first['input']!r}"
        place.at(*parts).fail(f"{rule[0].lower()}{rule[1:]}{got}")
