"""The module that an exported `network.py` gives, as its user gets it: from the file's text alone."""

from __future__ import annotations

import ast
import sys
from types import ModuleType

from torch import nn

from scalesearch.architecture.network import Network
from scalesearch.handover.source import class_name
from scalesearch.handover.verify import CheckFailedError

_ALLOWED = {"torch", "safetensors", *sys.stdlib_module_names}  # safetensors when run as a program


def imported(text: str) -> set[str]:
    """Return the top-level packages that a Python file imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def plain_module(text: str, network: Network) -> nn.Module:
    """Return the module of a `network.py` that was just written, in evaluation mode.

    CheckFailedError where the file imports anything but torch, safetensors and what Python brings.
    """
    if foreign := imported(text) - _ALLOWED:
        raise CheckFailedError(f"network.py must need nothing but torch, but imports {sorted(foreign)}")
    file = ModuleType("network")
    exec(compile(text, "network.py", "exec"), file.__dict__)
    module: nn.Module = getattr(file, class_name(network))()
    return module.eval()
