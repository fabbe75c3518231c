"""scalesearch: find the convolutional network that makes the most of a compute budget.

    network = scalesearch.load("efficientnet_b0")     # a published network, or a document's path
    network.cost()                                    # FLOPs (multiply-accumulates), params, activations
    module = scalesearch.build(network)               # a torch.nn.Module
    scalesearch.scale(network, depth=1.2, width=1.1)  # another network
    trials = scalesearch.load_trials("runs/NAME")     # what a run has found

Importing the package loads neither torch nor Optuna: each name is fetched when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalesearch.architecture.network import Network as Network
    from scalesearch.architecture.scaling import Coefficients as Coefficients
    from scalesearch.architecture.scaling import compound as compound
    from scalesearch.architecture.scaling import scale as scale
    from scalesearch.documents import load as load
    from scalesearch.search.store import load_trials as load_trials
    from scalesearch.training.build import build as build

_HOMES = {
    "Coefficients": "scalesearch.architecture.scaling",
    "Network": "scalesearch.architecture.network",
    "build": "scalesearch.training.build",
    "compound": "scalesearch.architecture.scaling",
    "load": "scalesearch.documents",
    "load_trials": "scalesearch.search.store",
    "scale": "scalesearch.architecture.scaling",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'scalesearch' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
