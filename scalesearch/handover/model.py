"""A model's folder: the network, its weights, and what whoever uses them must know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.files import replace_file
from scalesearch.handover.source import class_name
from scalesearch.training import checkpoint
from scalesearch.training.build import build

NETWORK, WEIGHTS, ABOUT = "network.yaml", "weights.safetensors", "model.json"
_LARGEST_ABOUT = 5_000_000  # characters

Statistics = tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """A network that is trained or not, and how to use it.

    Attributes:
        network: what is computed, at the resolution and with the number of classes that it is used with.
        weights: parameters and buffers, named as in `training.build.build`; None where there are none.
        classes: the classes' names in the order of the logits; None where they have none.
        mean, std: of each channel, in units of pixels scaled to [0, 1]: inputs are (pixels - mean) / std.
            None where the weights are (a network that was never trained takes whatever it is given).
        facts: what is known of the training: data, recipe, seed, accuracies ...; plain JSON.
    """

    network: Network
    weights: Mapping[str, Tensor] | None = None
    classes: tuple[str, ...] | None = None
    mean: Statistics | None = None
    std: Statistics | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.classes is not None and len(self.classes) != self.network.classes:
            raise ValueError(
                f"a model needs a name for each of its {self.network.classes} classes, "
                f"but has {len(self.classes)}"
            )
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.network.in_channels:
                raise ValueError(
                    f"{name} needs a number for each of the {self.network.in_channels} channels, "
                    f"but has {len(values)}"
                )


def is_model(folder: Path) -> bool:
    """Return whether a folder says that it is a model's."""
    return (folder / ABOUT).is_file() and (folder / NETWORK).is_file()


def write_model(folder: Path, model: Model) -> None:
    """Write network.yaml, weights.safetensors (unless there are none) and, last, model.json.

    Each file is replaced in one step. OSError where the file system refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / NETWORK, documents.write_text(to_document(model.network)).encode())
    if model.weights is not None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.weights.items()}
        replace_file(folder / WEIGHTS, save_tensors(tensors))
    else:
        (folder / WEIGHTS).unlink(missing_ok=True)
    about = {
        "schema": 1,
        "network": model.network.name,
        "class": class_name(model.network),
        "trained": model.weights is not None,
        "resolution": list(model.network.input.size),
        "classes": None if model.classes is None else list(model.classes),
        "mean": None if model.mean is None else list(model.mean),
        "std": None if model.std is None else list(model.std),
        "facts": dict(model.facts),
    }
    replace_file(folder / ABOUT, (json.dumps(about, indent=1) + "\n").encode())


def read_model(folder: Path) -> Model:
    """Read what `write_model` wrote; InputError where a file is missing, damaged or fits another network."""
    about = _about(folder / ABOUT)
    network = documents.network_from(documents.read(folder / NETWORK), str(folder / NETWORK))
    weights = read_weights(folder / WEIGHTS, network) if about["trained"] else None
    classes, mean, std = (None if about[n] is None else tuple(about[n]) for n in ("classes", "mean", "std"))
    try:
        return Model(network, weights, classes, mean, std, about["facts"])
    except ValueError as error:
        raise InputError(f"{folder / ABOUT}: {error}") from error


def read_weights(path: Path, network: Network) -> dict[str, Tensor]:
    """Read the weights of a network from safetensors; InputError names the first tensor that does not fit."""
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise InputError(f"{path}: no readable safetensors file: {error}") from error
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build(network).state_dict().items()}
    for name in [*expected, *tensors]:
        if name not in tensors or name not in expected:
            which = "lacks" if name in expected else "has besides"
            raise InputError(f"{path}: weights are those of {network.name}, but the file {which} {name}")
        if tensors[name].shape != expected[name]:
            raise InputError(
                f"{path}: {name} of {network.name} has the shape {tuple(expected[name])}, "
                f"but the file's has {tuple(tensors[name].shape)}"
            )
    return tensors


def read_statistics(path: Path) -> tuple[Statistics, Statistics]:
    """Return mean and deviation that a training wrote beside its weights, in units of pixels in [0, 1].

    Raises InputError where the file says nothing of them, as those of early versions.
    """
    try:
        said = checkpoint.read_statistics(path)
        mean, std = (tuple(float(value) for value in said[name]) for name in ("mean", "std"))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no readable safetensors file: {error}") from error
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: weights to use need the mean and std that their inputs were normalised by, "
            f"but the file says nothing of them"
        ) from error
    return mean, std


def _about(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST_ABOUT + 1)
        about = json.loads(text) if len(text) <= _LARGEST_ABOUT else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: a model's description is one JSON object, but: {error}") from error
    if not isinstance(about, dict) or about.get("schema") != 1 or not _well_typed(about):
        raise InputError(f"{path}: a model's description is a JSON object of schema 1, but this is not")
    return about


def _well_typed(about: Mapping[str, Any]) -> bool:
    def listed(name: str, kind: type | tuple[type, ...]) -> bool:
        values = about.get(name, 0)
        return values is None or (isinstance(values, list) and all(isinstance(v, kind) for v in values))

    numbers = listed("mean", (int, float)) and listed("std", (int, float))
    own = isinstance(about.get("trained"), bool) and isinstance(about.get("facts"), dict)
    return own and numbers and listed("classes", str)
