"""Files of a training: the checkpoint of one under way, the weights of a finished one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from scalesearch.errors import DamagedCheckpointError
from scalesearch.files import replace_file

STATISTICS = "statistics"  # of the inputs, in a file of weights
EVERY = 60.0  # seconds between the checkpoints of a training that nobody stops
_PARTS = {"key", "model", "optimizers", "average", "state"}


def write_checkpoint(path: Path, **parts: Any) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        parts: `key`, which names the training; `model`, `optimizers`, `average` and `state`.
    """
    # In memory first: torch reports a full disk as an error that nobody can tell from others.
    buffer = io.BytesIO()
    torch.save(parts, buffer)
    replace_file(path, buffer.getbuffer())


def read_checkpoint(path: Path, key: str, device: torch.device) -> dict[str, Any]:
    """Return a checkpoint's parts.

    Raises DamagedCheckpointError where it is damaged, or another training's than `key`.
    """
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for damaged files
        rule = "a checkpoint must be a whole file written by a training"
        raise DamagedCheckpointError(f"{rule}, but {path}: {error}") from error
    if not isinstance(stored, dict) or stored.keys() != _PARTS:
        raise DamagedCheckpointError(
            f"a checkpoint must be written by a training, but {path} is something else"
        )
    if stored["key"] != key:
        raise DamagedCheckpointError(
            f"a checkpoint continues only the training that wrote it, but {path} is of another network, "
            f"recipe, data set, seed or number of images"
        )
    return stored


def write_weights(path: Path, model: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Write a model's parameters and buffers as safetensors, named as in `build`, whole or not at all.

    `mean` and `std` (channels, 1, 1), in units of uint8 values, normalised its inputs; they are kept with the
    weights, in units of pixels scaled to [0, 1], since weights mean nothing without them.
    """
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    said = {name: (values.flatten() / 255).tolist() for name, values in (("mean", mean), ("std", std))}
    # One entry: safetensors writes several in no order, and equal trainings give equal files.
    replace_file(path, save_tensors(tensors, {STATISTICS: json.dumps(said)}))


def read_statistics(path: Path) -> dict[str, list[float]]:
    """Return `mean` and `std` as `write_weights` kept them; empty where the file says nothing of them.

    Raises safetensors' own error, OSError or ValueError where it cannot be read.
    """
    with safe_open(path, framework="pt") as file:
        said = (file.metadata() or {}).get(STATISTICS)
    return {} if said is None else dict(json.loads(said))
