"""The checkpoint of a full training, and the fields by which it knows its own."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scalesearch.architecture.document import differences
from scalesearch.errors import InputError
from scalesearch.files import replace_file

CHECKPOINT = "checkpoint.pt"
SCHEMA = 1
_PARTS = {"schema", "key", "model", "optimizer", "average", "scaler", "state"}


def _nameless(stored: Any) -> Any:
    """Return a training's key without its network's name, which keys held in former versions."""
    if not isinstance(stored, Mapping) or not isinstance(stored.get("network"), Mapping):
        return stored
    network = {field: value for field, value in stored["network"].items() if field != "name"}
    return {**stored, "network": network}


def check_same(where: Path, stored: Any, wanted: Mapping[str, Any]) -> None:
    """Raise InputError that names every field in which a stored training is another than the wanted one."""
    different = list(differences(_nameless(stored), wanted))
    if different:
        raise InputError(f"{where} belongs to another training; it differs in {'; '.join(different)}")


def write(path: Path, key: Mapping[str, Any], **parts: Any) -> None:
    """Write a checkpoint, whole or not at all; OSError leaves the old one.

    Args:
        path: the file.
        key: what names the training, as plain data.
        parts: `model`, `optimizer`, `average`, `scaler` and `state`.
    """
    # In memory first: torch reports a full disk as an error that nobody can tell from others.
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, "key": dict(key), **parts}, buffer)
    replace_file(path, buffer.getbuffer())


def read(path: Path, key: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return a checkpoint's parts; InputError where it is damaged or another training's."""
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for damaged files
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: a checkpoint is a whole file written by a training: {reason}") from error
    if not isinstance(stored, dict) or stored.keys() != _PARTS or stored["schema"] != SCHEMA:
        raise InputError(f"{path}: a checkpoint is written by a training of this version, but this is not")
    check_same(path, stored["key"], key)
    return stored
