"""A dashboard as data: which panels, in which order, with which options."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import signature
from typing import Any, Literal

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
    """A dashboard document. Raises InputError for a panel or an option that does not exist."""

    panels: tuple[PanelChoice, ...]
    title: str = "scalesearch"

    def __post_init__(self) -> None:
        for choice in self.panels:
            _known("panel", choice.panel, PANELS)
            for option in choice.options:
                _known(f"option of the panel {choice.panel}", option, _options(choice.panel))


def _options(panel: str) -> list[str]:
    return [name for name in signature(PANELS[panel]).parameters if name not in ("trials", "context")]


def _known(what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name in names:
        return
    near = get_close_matches(str(name), names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names) or 'none'}"
    raise InputError(f"{what}: {name!r} does not exist; {hint}")
