"""A dashboard as data: which panels, in which order, with which options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError

from scalesearch.dashboard.panels import PANELS
from scalesearch.errors import InputError


@dataclass(frozen=True)
class PanelChoice:
    """A panel by its name in PANELS, with its options; `width` is its share of a wide page."""

    panel: str
    options: dict[str, Any] = field(default_factory=dict)
    width: Literal["full", "half"] = "full"


@dataclass(frozen=True)
class Layout:
    """A dashboard document. Raises InputError for a panel, an option or its value that does not exist."""

    panels: tuple[PanelChoice, ...]
    title: str = "scalesearch"

    def __post_init__(self) -> None:
        for choice in self.panels:
            _known("panel", choice.panel, PANELS)
            for option in choice.options:
                _known(f"option of the panel {choice.panel}", option, _options(choice.panel))
                _checked(choice.panel, option, choice.options[option])


def _options(panel: str) -> dict[str, Any]:
    """Return the types of a panel's options by name."""
    hints = get_type_hints(PANELS[panel], include_extras=True)
    return {name: hints[name] for name in hints if name not in ("trials", "context", "return")}


def _checked(panel: str, option: str, value: Any) -> None:
    try:
        TypeAdapter(_options(panel)[option]).validate_python(value, strict=True)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].lower()
        raise InputError(f"option {option} of the panel {panel}: {rule}, but got {value!r}") from error


def _known(what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = get_close_matches(str(name), names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names) or 'none'}"
    raise InputError(f"{what}: {name!r} does not exist; {hint}")
