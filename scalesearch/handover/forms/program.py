"""The `torch.export` program: the network as a graph, for C++ runtimes and compilers, without its Python."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from scalesearch.architecture.network import Network


def program(module: nn.Module, network: Network) -> ExportedProgram:
    """Return a module in evaluation mode as a graph of (n, in_channels, *size) with any n of at least 1.

    The graph says nothing of the files and folders of the machine that it was made on.
    """
    shape = network.input
    # Two images: torch takes a batch of one in the example for a size that never changes.
    images = torch.zeros(2, shape.channels, *shape.size)
    graph = torch.export.export(module.eval(), (images,), dynamic_shapes=({0: Dim("batch")},))
    for part in graph.graph_module.modules():
        if isinstance(part, torch.fx.GraphModule):
            _forget_places(part)
    return graph


def _forget_places(graph: torch.fx.GraphModule) -> None:
    # Of each operation torch notes which line of which file asked for it.
    for node in graph.graph.nodes:
        node.meta.pop("stack_trace", None)


def write(path: Path, graph: ExportedProgram) -> None:
    """Write a program as a .pt2 archive."""
    torch.export.save(graph, path)


def logits(path: Path, images: Tensor) -> Tensor:
    """Return what the program in a file of our own gives for images (n, channels, *size)."""
    with torch.no_grad():
        found: Tensor = torch.export.load(path).module()(images)
    return found
