"""What a full training is asked to do, and what tells it from others."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.training.data import DataSet
from scalesearch.training.full.recipe import FullRecipe
from scalesearch.training.full.transfer import TORCHVISION


@dataclass(frozen=True)
class Task:
    """What a full training is asked to do; see `loop.train_fully`."""

    network: Network
    data: DataSet
    recipe: FullRecipe
    seed: int
    device: torch.device
    weights: str | Path | None = None
    freeze: str = "none"
    loader_workers: int = 0

    def __post_init__(self) -> None:
        if self.network.dims != 2 or self.network.in_channels != 3:
            raise ValueError("a training on images needs a network with dims=2 and in_channels=3")
        if self.network.classes != len(self.data.classes):
            raise ValueError(
                f"the network must have the data's {len(self.data.classes)} classes, "
                f"but has {self.network.classes}"
            )
        if self.recipe.amp == "fp16" and self.device.type == "cpu":
            raise InputError("amp: fp16 needs a CUDA device, a CPU trains in bf16 or without (off)")

    def key(self, world: int) -> dict[str, Any]:
        """Return what a checkpoint must agree on to be continued, as plain data.

        The network's name is not part of it: it may be that of a run's folder, which can be renamed.
        """
        document = to_document(self.network)
        return {
            "network": {field: value for field, value in document.items() if field != "name"},
            "recipe": _plain(asdict(self.recipe)),
            "data": self.data.fingerprint,
            "seed": self.seed,
            "weights": _identity(self.weights),
            "freeze": self.freeze,
            "processes": world,
        }

    def regularised(self) -> Network:
        """Return the network with the recipe's dropout and drop path; its weights have the same names."""
        network, recipe = self.network, self.recipe
        if recipe.dropout is not None:
            network = replace(network, head=replace(network.head, dropout=recipe.dropout))
        return network if recipe.drop_path is None else replace(network, drop_path=recipe.drop_path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _identity(weights: str | Path | None) -> str | None:
    """Return what tells trained weights from others: a source's name, else the hash of the content."""
    if weights is None:
        return None
    # torchvision's are meant even where the current folder has something of that name.
    if weights == TORCHVISION or not Path(weights).exists():
        return str(weights)
    path = Path(weights)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    return sha256(b"".join(sha256(file.read_bytes()).digest() for file in files)).hexdigest()
