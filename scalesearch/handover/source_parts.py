"""The parts of an exported file that are code here too: read from their own source, never written twice."""

from __future__ import annotations

import ast
import inspect
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from torch import nn

from scalesearch.training import build as torch_parts


def named(**modules: nn.Module) -> nn.Sequential:
    """Return modules one after the other under their names."""
    return nn.Sequential(OrderedDict(modules))


def numbered(*blocks: nn.Module) -> nn.Sequential:
    """Return the blocks of a stage one after the other, called b0, b1, ..."""
    return nn.Sequential(OrderedDict((f"b{index}", block) for index, block in enumerate(blocks)))


def _home() -> dict[str, Any]:
    return vars(torch_parts) | {"named": named, "numbered": numbered}


def _own() -> dict[str, Any]:
    return {name: part for name, part in _home().items() if _is_ours(part)}


def _is_ours(part: Any) -> bool:
    return (inspect.isclass(part) or inspect.isfunction(part)) and part.__module__.startswith("scalesearch.")


def reserved_names() -> frozenset[str]:
    """Return the names that nothing else in a file may have."""
    return frozenset(_home()) | {"Path", "main", "load_file", "index", "x"}


def used_names(text: str) -> set[str]:
    """Return the names that a piece of source reads."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def needed(text: str) -> str:
    """Return the source of all parts that a file of this text needs, each after those that it needs."""
    return "\n\n\n".join(_sources(text, set()))


def _sources(text: str, seen: set[str]) -> Iterator[str]:
    own, used = _own(), used_names(text)
    for name in (name for name in own if name in used and name not in seen):
        seen.add(name)
        source = inspect.getsource(own[name]).rstrip()
        yield from _sources(source, seen)
        yield source
