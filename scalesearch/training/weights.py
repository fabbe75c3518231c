"""Pretrained weights: torchvision's checkpoints in this project's networks, and the way back."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from http.client import HTTPException
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.training.build import build
from scalesearch.training.torchvision_names import COUNTER, to_torchvision

__all__ = ["Pretrained", "export_torchvision", "load_torchvision", "pretrained", "to_torchvision"]

CONNECT_SECONDS = 10.0
_CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")


def _shapes(network: Network) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build(network).state_dict().items()}


def _same(what: str, given: Mapping[str, Any], expected: Mapping[str, torch.Size]) -> None:
    lacking, unknown = [n for n in expected if n not in given], [n for n in given if n not in expected]
    for which, found in (("lack", lacking), ("have besides", unknown)):
        if found:
            raise InputError(
                f"{what} must be those of the network, but they {which} {len(found)} tensors, "
                f"the first {found[0]}"
            )
    for name, shape in expected.items():
        if not isinstance(given[name], Tensor) or given[name].shape != shape:
            has = tuple(given[name].shape) if isinstance(given[name], Tensor) else type(given[name]).__name__
            raise InputError(f"{what} must fit the network: {name} needs the shape {tuple(shape)}, not {has}")


def load_torchvision(module_state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Return a torchvision state dict under the names of `build(network)`; the tensors are not copied.

    The counters of batch norm may be missing, as in checkpoints older than they are; torch itself then
    starts them at 0, and they are not used. InputError names the first tensor that is missing, unknown or
    of another shape.
    """
    names, shapes = to_torchvision(network), _shapes(network)
    counters = {theirs: torch.tensor(0) for theirs in names.values() if theirs.endswith(COUNTER)}
    given = counters | dict(module_state)
    _same("torchvision's weights", given, {names[ours]: shape for ours, shape in shapes.items()})
    return {ours: given[theirs] for ours, theirs in names.items()}


def export_torchvision(state: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """Return the state dict of `build(network)` under torchvision's names; the tensors are not copied.

    InputError names the first tensor that is missing, unknown or of another shape.
    """
    names = to_torchvision(network)
    _same("the weights", state, _shapes(network))
    return {theirs: state[ours] for ours, theirs in names.items()}


class Pretrained(NamedTuple):
    """A network with pretrained weights.

    Attributes:
        module: the network, in training mode as `build` gives it.
        source: which of torchvision's weights, and their address.
        loaded, left_out: names of tensors; those left out keep their fresh initialisation.
    """

    module: nn.Module
    source: str
    loaded: tuple[str, ...]
    left_out: tuple[str, ...]


def pretrained(network: Network, *, name: str) -> Pretrained:
    """Return `network` with the weights that torchvision publishes for its network called `name`.

    Where several are published, they are the first, IMAGENET1K_V1. With other classes than those of the
    weights, all but the classifier is loaded. The checkpoint comes from torch.hub's cache or is downloaded
    to it, its hash checked; it is never unpickled beyond tensors. InputError where torchvision has no such
    network or no weights that fit, and where download or file fail.
    """
    to_torchvision(network)  # a network without a counterpart is refused before anything is downloaded
    weights = _published(name)
    checkpoint = _fetch(weights)
    state = load_torchvision(checkpoint, replace(network, classes=len(weights.meta["categories"])))
    module = build(network)
    left_out = () if network.classes == len(weights.meta["categories"]) else _CLASSIFIER
    module.load_state_dict(module.state_dict() | {n: t for n, t in state.items() if n not in left_out})
    loaded = tuple(n for n in state if n not in left_out)
    return Pretrained(module, f"{weights} ({weights.url})", loaded, left_out)


def _published(name: str) -> Any:
    from torchvision import models  # here, since it takes longer to load than all else of a command

    own = name.removesuffix("_1.0")  # torchvision does not name MobileNetV2's width multiplier
    if own not in models.list_models(module=models):
        raise InputError(f"torchvision has no classification network called {own!r}")
    return next(iter(models.get_model_weights(own)))


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    # torch.hub opens its connection without a limit of its own, so that the process's default holds.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _fetch(weights: Any) -> dict[str, Tensor]:
    try:
        with _patience(CONNECT_SECONDS), redirect_stdout(sys.stderr):  # torch.hub announces on stdout
            state = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, HTTPException) as error:
        raise InputError(f"the download of {weights.url} failed: {error}") from error
    except Exception as error:  # a damaged file can end torch's restricted unpickler in any error
        reason = f"{type(error).__name__}: {error}".splitlines()[0].split(". ")[0]
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise InputError(f"{weights.url}, or its copy in {folder}, holds no weights: {reason}") from error
    if not isinstance(state, dict):
        raise InputError(f"{weights.url} must hold a state dict, but holds a {type(state).__name__}")
    return state
