"""Files of a training: the checkpoint of a stopped one, the weights of a finished one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors
from torch import nn

_PARTS = {"key", "model", "optimizers", "average", "state"}


def _temporary(path: Path) -> Path:
    # Beside the target, so that replacing it is one atomic step of the file system.
    return path.with_name(f".{path.name}.{os.getpid()}")


def write_checkpoint(path: Path, **parts: Any) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: the file.
        parts: `key`, which names the training; `model`, `optimizers`, `average` and `state`.
    """
    temporary = _temporary(path)
    torch.save(parts, temporary)
    temporary.replace(path)


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
    temporary = _temporary(path)
    temporary.write_bytes(save_tensors(tensors))
    temporary.replace(path)
