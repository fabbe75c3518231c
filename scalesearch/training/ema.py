"""The moving average of a network's weights over its training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """An exponential moving average of a model's parameters after each step (Polyak and Juditsky 1992).

    It starts from zeros and is divided by the sum of its weights where it is used, like the moments of Adam
    (Kingma and Ba 2015, section 3): so a short training's average remembers no initial weights. Running
    statistics of batch norm are not averaged; the recipe's `norm_batches` measures them anew for it.

    Attributes:
        tensors: one a parameter, on its device; all that a checkpoint needs beside the number of steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = list(model.parameters())
        self.tensors = [torch.zeros_like(parameter) for parameter in self._parameters]
        self.decay = decay
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present weights."""
        # The number of averaged models is not used by an exponential average.
        self._average(self.tensors, self._parameters, torch.zeros(()))

    @torch.no_grad()
    def apply(self, steps: int) -> None:
        """Replace the model's weights by their average over `steps` updates, at least one."""
        for parameter, tensor in zip(self._parameters, self.tensors, strict=True):
            parameter.copy_(tensor / (1 - self.decay**steps))

    def load(self, tensors: list[Tensor]) -> None:
        """Continue from stored `tensors`."""
        for tensor, stored in zip(self.tensors, tensors, strict=True):
            tensor.copy_(stored)
