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

LONGEST_NAME = 300  # characters: a folder's longest name, and what a run adds to it
LONGEST_FOLDER = 100
LONGEST_MESSAGE = 600  # characters: what it quotes of a document may be of any length


class Place:
    """Where in which file a value stands, for errors."""

    def __init__(self, file: str, path: tuple[str | int, ...] = ()) -> None:
        self.file, self.path = file, path

    def at(self, *parts: str | int) -> Place:
        """Return the place of a part of the value."""
        return Place(self.file, (*self.path, *parts))

    def fail(self, message: str) -> NoReturn:
        """Raise InputError with file, place and message."""
        what = f"{label(self.path)}: {message}" if self.path else message
        raise InputError(f"{self.file}: {_printable(what)}")


def _printable(message: str) -> str:
    """Return a message on one line of bounded length; what a terminal would act on is spelt out."""
    if len(message) > LONGEST_MESSAGE:
        message = f"{message[: LONGEST_MESSAGE // 2]} ... {message[-LONGEST_MESSAGE // 4 :]}"
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in message)


def check_name(name: Any, place: Place) -> None:
    """Raise InputError where a name is not one printable line, or could be taken for a path or for markup."""
    if isinstance(name, str) and not (
        name.isprintable() and "/" not in name and 0 < len(name) <= LONGEST_NAME
    ):
        place.fail(
            f"a name is one printable line of at most {LONGEST_NAME} characters, no slash, but got {name!r}"
        )


def check_folder_name(name: Any, place: Place) -> None:
    """Raise InputError where a name, which will name a folder, would name another place."""
    check_name(name, place)
    if isinstance(name, str) and (name.startswith(".") or len(name) > LONGEST_FOLDER):
        place.fail(f"names a folder: at most {LONGEST_FOLDER} characters, no dot in front, but got {name!r}")


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
