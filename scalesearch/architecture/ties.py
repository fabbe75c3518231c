"""Ties between the leaves of a space document: which leaf a tie names in the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalesearch.architecture.domains import Same, TieError


def leaf_at(document: Mapping[str, Any], name: str) -> Any:
    """Return the leaf called `name`, e.g. stages.0.kernel; TieError where there is none."""
    node: Any = document
    for part in name.split("."):
        try:
            node = node[int(part)] if isinstance(node, list) else node[part]
        except (KeyError, IndexError, ValueError, TypeError):
            node = {}
    if isinstance(node, Mapping | list):
        raise TieError(f"a tie names an earlier leaf, but there is none called {name!r}")
    return node


def root(document: Mapping[str, Any], name: str, node: Any) -> tuple[str, Any]:
    """Follow ties from a leaf to the leaf that holds the value; return its name and its node."""
    while isinstance(node, Same):
        name, node = node.leaf, leaf_at(document, node.leaf)
    return name, node


def tied_to(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the leaves that hold the value of others."""
    sections = (document, *(document.get(part, {}) for part in ("stem", "head", "norm")), *document["stages"])
    return frozenset(
        root(document, name, node)[0]
        for section in sections
        for name, node in section.items()
        if isinstance(node, Same)
    )
