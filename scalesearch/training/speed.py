"""How many images a second networks take, measured side by side."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scalesearch.architecture.network import Network
from scalesearch.training.build import build

LARGEST_BATCH = 64
FEWEST_ROUNDS, MOST_ROUNDS = 5, 25


class Speed(NamedTuple):
    """Images a second over the rounds: median, lower and upper quartile."""

    median: float
    low: float
    high: float


class _Bench:
    """A network's module in evaluation mode beside a batch of its input."""

    def __init__(self, network: Network, device: str, batch: int) -> None:
        self._module: nn.Module = build(network).eval().to(device)
        shape = (batch, network.in_channels, *network.input.size)
        self._images: Tensor = torch.randn(shape, device=device)
        self._batch, self._cuda = batch, device.startswith("cuda")

    def seconds(self) -> float:
        """Return the seconds of one forward pass."""
        self._wait()
        start = time.perf_counter()
        self._module(self._images)
        self._wait()
        return time.perf_counter() - start

    def rate(self) -> float:
        """Return the images a second of one forward pass."""
        return self._batch / self.seconds()

    def _wait(self) -> None:
        if self._cuda:
            torch.cuda.synchronize(self._images.device)


def choose_effort(networks: Sequence[Network], *, device: str, seconds: float) -> tuple[int, int]:
    """Return the batch (a power of two, at most 64) and the rounds (5 to 25) that take about `seconds`.

    One image through each network is timed for it. Large networks take longer: 5 rounds of one image.
    """
    with torch.inference_mode():
        once = 0.0
        for network in networks:
            bench = _Bench(network, device, 1)
            bench.seconds()  # the first pass also sets up kernels and memory
            once += bench.seconds()
    batch = 1
    while batch < LARGEST_BATCH and (FEWEST_ROUNDS + 1) * 2 * batch * once <= seconds:
        batch *= 2
    rounds = int(seconds / (batch * once)) - 1
    return batch, min(MOST_ROUNDS, max(FEWEST_ROUNDS, rounds))


def images_per_second(
    networks: Sequence[Network], *, batch: int, rounds: int, device: str = "cpu"
) -> list[Speed]:
    """Measure forward passes in evaluation mode, float32, without gradients, each network once a round.

    The rounds go over all networks in turn, so that a busy machine slows all alike; one round before them
    does not count. Call `process.prepare_process` first, as before a training: it also flushes denormal
    numbers, which the activations of deep networks with fresh weights reach (MobileNetV1 at depth x4 does).
    """
    with torch.inference_mode():
        benches = [_Bench(network, device, batch) for network in networks]
        for bench in benches:
            bench.seconds()
        rates = torch.tensor([[bench.rate() for bench in benches] for _ in range(rounds)])
    quartiles = torch.quantile(rates, torch.tensor([0.5, 0.25, 0.75]), dim=0)
    return [Speed(*column) for column in quartiles.T.tolist()]
