"""Files of a training: the checkpoint of one under way, the weights of a finished one."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn

EVERY = 60.0  # seconds between the checkpoints of a training that nobody stops
_PARTS = {"key", "model", "optimizers", "average", "state"}


def _replace(path: Path, content: bytes | memoryview) -> None:
    """Replace a file in one step; OSError leaves the old one, and nothing beside it."""
    # Beside the target, so that replacing it is one atomic step of the file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave the name of a file without content
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def write_checkpoint(path: Path, **parts: Any) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        parts: `key`, which names the training; `model`, `optimizers`, `average` and `state`.
    """
    # In memory first: torch reports a full disk as an error that nobody can tell from others.
    buffer = io.BytesIO()
    torch.save(parts, buffer)
    _replace(path, buffer.getbuffer())


def read_checkpoint(path: Path, key: str, device: torch.device) -> dict[str, Any]:
    """Return a checkpoint's parts; ValueError where it is damaged or another training's than `key`."""
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for damaged files
        rule = "a checkpoint must be a whole file written by a training"
        raise ValueError(f"{rule}, but {path}: {error}") from error
    if not isinstance(stored, dict) or stored.keys() != _PARTS:
        raise ValueError(f"a checkpoint must be written by a training, but {path} is something else")
    if stored["key"] != key:
        raise ValueError(
            f"a checkpoint continues only the training that wrote it, but {path} is of another network, "
            f"recipe, data set, seed or number of images"
        )
    return stored


def write_weights(path: Path, model: nn.Module) -> None:
    """Write a model's parameters and buffers as safetensors, named as in `build`, whole or not at all."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    _replace(path, save_tensors(tensors))
