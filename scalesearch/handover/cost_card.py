"""The cost card: what a forward pass takes, counted and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from scalesearch.architecture.network import Network
from scalesearch.handover.peak_memory import peak_memory
from scalesearch.training.calibration import machine
from scalesearch.training.latency import Conditions, measure

BATCHES = (1, 8)
SECONDS = 1.5  # of measuring, for each batch size


def devices() -> Iterator[str]:
    """Yield the devices of this machine that are measured."""
    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"


def cost_card(network: Network, make: Callable[[], nn.Module]) -> dict[str, Any]:
    """Return the cost of a network as plain JSON.

    Args:
        network: what is counted.
        make: gives a fresh module of it: measuring changes the layout of its weights.
    """
    cost, shape = network.cost(), (network.in_channels, *network.input.size)
    return {
        "schema": 1,
        "network": network.name,
        "input": list(shape),
        "macs": cost.flops,
        "flops": 2 * cost.flops,
        "params": cost.params,
        "activations": cost.activations,
        "counting": "macs are multiply-accumulates of convolutions and linear layers for one input; flops "
        "count two for each; activations are output elements of convolutions",
        "peak_memory": {str(batch): peak_memory(make(), torch.zeros(batch, *shape)) for batch in BATCHES},
        "peak_memory_counts": "bytes of weights, input and tensors alive at once in float32, by batch size; "
        "no workspace of libraries",
        "measured": [_measured(make(), shape, batch, device) for device in devices() for batch in BATCHES],
        "torch": torch.__version__,
    }


def _measured(module: nn.Module, shape: tuple[int, ...], batch: int, device: str) -> dict[str, Any]:
    conditions = Conditions(batch=batch, device=device, threads=torch.get_num_threads())
    found = measure(module, conditions, seconds=SECONDS, shape=shape)
    return {
        "machine": machine(device),
        **asdict(conditions),
        "clock": conditions.clock,
        "latency_seconds": asdict(found.timing),
        "images_per_second": found.images_per_second,
    }
