"""ONNX: the network for the runtimes of other languages and devices.

Input `images` (batch, in_channels, *size) in float32, normalised by the caller; output `logits`
(batch, classes). The batch is a free axis.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

OPSET = 20
NEEDS = ("onnx", "onnxruntime", "onnxscript")
INPUT, OUTPUT = "images", "logits"


def write(path: Path, graph: ExportedProgram) -> None:
    """Write a program as one ONNX file with its weights inside, checked by ONNX's own checker."""
    import onnx

    made = torch.onnx.export(
        graph, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT], verbose=False
    )
    assert made is not None, "the exporter gives a program unless it is told a file"
    model = made.model_proto
    _forget_places(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def logits(path: Path, images: Tensor) -> Tensor:
    """Return what ONNX Runtime gives on the CPU for images (n, channels, *size)."""
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run([OUTPUT], {INPUT: images.numpy()})
    return torch.from_numpy(found)


def _forget_places(model: object) -> None:
    # The exporter notes module and class of each operation; readers of a handed-over file need none of it.
    graph = model.graph  # type: ignore[attr-defined]
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
