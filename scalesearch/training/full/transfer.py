"""Where a full training starts: fresh or trained weights, what stays as it is, how fast each part learns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.training.augment import stream_seed
from scalesearch.training.build import build
from scalesearch.training.checkpoint import read_statistics
from scalesearch.training.full.images import IMAGENET
from scalesearch.training.full.recipe import FullRecipe
from scalesearch.training.weights import pretrained

TORCHVISION = "torchvision"
CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")
_BEFORE_CLASSIFIER = ("head.conv", "head.norm", "head.hidden")  # where the head has them
_INITIAL = 2  # the stream that the initial weights of short trainings come from, too
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_WEIGHTS, _ABOUT = "weights.safetensors", "model.json"  # in a model's folder
_SAID = ("mean", "std")


class Freeze(NamedTuple):
    """What a training leaves as it is.

    Attributes:
        text: as it was asked for.
        parts: names of modules, wholly frozen.
    """

    text: str
    parts: tuple[str, ...]

    def holds(self, name: str) -> bool:
        """Return whether the parameter of that name is frozen."""
        return any(name.startswith(f"{part}.") for part in self.parts)


class Start(NamedTuple):
    """A network with the weights that its training starts from.

    Attributes:
        module: in training mode, as `build` gives it, on the CPU.
        source: where the weights come from.
        loaded, left_out: names of tensors; those left out keep their fresh initialisation.
        mean, std: (3,), in units of pixels scaled to [0, 1], of the inputs that the weights were trained
            with; None where nothing is known: then the data's own are right (`images.statistics`).
    """

    module: nn.Module
    source: str
    loaded: tuple[str, ...]
    left_out: tuple[str, ...]
    mean: Tensor | None
    std: Tensor | None


def parse_freeze(text: str, network: Network) -> Freeze:
    """Read "none", "trunk" (all before the classifier) or a number of stages from the input on.

    The stem counts as the first stage, and blocks are never divided. InputError for anything else.
    """
    stages = ("stem", *(f"s{number}" for number in range(1, len(network.stages) + 1)))
    if text == "none":
        return Freeze(text, ())
    if text == "trunk":
        return Freeze(text, (*stages, *_BEFORE_CLASSIFIER))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= len(stages)):
        raise InputError(
            f"what is frozen must be none, trunk, or a number of stages from 1 (the stem) "
            f"to {len(stages)}, but got {text!r}"
        )
    return Freeze(text, stages[: int(text)])


def starting(network: Network, weights: str | Path | None, *, seed: int) -> Start:
    """Return the network as its training starts.

    Args:
        network: with the data's classes; named as in torchvision where its weights are asked for.
        weights: "torchvision", a safetensors file with the names of `build`, or a model's folder; None
            starts afresh. The classifier is left out where the weights are for another number of classes.
        seed: of what is initialised; the caller's generator is left alone.

    InputError names the first tensor that does not fit, and what cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream_seed(seed, _INITIAL, 0))
        if weights is None:
            module = build(network)
            return Start(module, "fresh", (), tuple(module.state_dict()), None, None)
        if weights == TORCHVISION:
            return Start(*pretrained(network, name=network.name), *(one.clone() for one in IMAGENET))
        return _stored(network, Path(weights))


def _stored(network: Network, path: Path) -> Start:
    file = path / _WEIGHTS if path.is_dir() else path
    try:
        tensors = load_file(file)
        statistics = _statistics(file)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise InputError(f"{file}: no readable safetensors file: {error}") from error
    module = build(network)
    left_out = _left_out(file, tensors, module.state_dict())
    kept = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    module.load_state_dict(module.state_dict() | kept)
    return Start(module, str(file), tuple(kept), left_out, *statistics)


def _left_out(file: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the classifier's names where its classes are others; InputError where another tensor misfits."""
    for name in [*expected, *tensors]:
        if name not in tensors or name not in expected:
            which = "lacks" if name in expected else "has besides"
            raise InputError(f"{file}: weights must be those of the network, but the file {which} {name}")
    for name, tensor in expected.items():
        # Of a classifier only the inputs must fit.
        axes = slice(1, None) if name in CLASSIFIER else slice(None)
        if tensors[name].shape[axes] != tensor.shape[axes] or tensors[name].dim() != tensor.dim():
            raise InputError(
                f"{file}: {name} must have the shape {tuple(tensor.shape)}, "
                f"but has {tuple(tensors[name].shape)}"
            )
    return CLASSIFIER if any(tensors[name].shape != expected[name].shape for name in CLASSIFIER) else ()


def _statistics(file: Path) -> tuple[Tensor | None, Tensor | None]:
    """Return what the file itself says of its inputs, else the model's description beside it."""
    said: dict[str, Any] = read_statistics(file)
    about = file.with_name(_ABOUT)
    if not said and about.is_file():
        said = dict(json.loads(about.read_text(encoding="utf-8")))
    mean, std = (said.get(name) for name in _SAID)
    if mean is None or std is None:
        return None, None
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)


def apply_freeze(module: nn.Module, freeze: Freeze, *, norms: bool = False) -> None:
    """Let the frozen parameters need no gradient; with `norms` every batch norm's too.

    `norms` is `FullRecipe.norm_eval`. To be done before the module is wrapped or compiled, and before
    `keep_frozen`.
    """
    for name, parameter in module.named_parameters():
        if freeze.holds(name):
            parameter.requires_grad_(False)
    for part in module.modules():
        if norms and isinstance(part, _NORMS):
            part.requires_grad_(False)


def least_images(module: nn.Module) -> int:
    """Return how many images each part of a batch must have: 2 for batch norms that are trained, else 1.

    To be asked after `apply_freeze`.
    """
    norms = (part for part in module.modules() if isinstance(part, _NORMS))
    trained = any(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    return 2 if trained else 1


def keep_frozen(module: nn.Module) -> None:
    """Put what is wholly frozen into eval mode; to be called after every `module.train()`.

    Else a frozen batch norm would go on measuring its inputs, and frozen blocks would drop their paths.
    """
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            part.eval()


def parameter_groups(
    module: nn.Module, network: Network, recipe: FullRecipe, freeze: Freeze
) -> list[dict[str, Any]]:
    """Return what is trained, for an optimizer, in groups of equal treatment, the stem's first.

    Each has `params` and their `names`, `rate` (a factor of the recipe's learning rate: `head_rate` for the
    classifier, `stage_decay` to the power of the stages above for the rest) and `weight_decay` (0 for norms
    and biases). Parameters that `freeze` holds, or that need no gradient, are in none of them.
    """
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if freeze.holds(name) or not parameter.requires_grad:
            continue
        rate = _rate(name, len(network.stages), recipe)
        decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
        empty = {"params": [], "names": [], "rate": rate, "weight_decay": decay}
        group = groups.setdefault((rate, decay), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def _rate(name: str, stages: int, recipe: FullRecipe) -> float:
    if name in CLASSIFIER:
        return recipe.head_rate
    part = name.split(".")[0]
    above = {"head": 0, "stem": stages + 1}.get(part)
    return recipe.stage_decay ** (stages + 1 - int(part[1:]) if above is None else above)
