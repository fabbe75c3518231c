"""The moving average of a network over a full training, as a network that can be evaluated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def _corrected(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Return an exponential average without memory of its start (Kingma and Ba 2015, section 3).

    After n steps the k-th last weights count (1 - decay) decay^k / (1 - decay^n): the usual average, divided
    by the sum of its weights. In the first steps that is nearly the plain mean.
    """

    @torch.no_grad()
    def update(average: Tensors, values: Tensors, taken: Tensor | int) -> None:
        share = (1 - decay) / (1 - decay ** (float(taken) + 1))
        if torch.is_floating_point(average[0]):
            torch._foreach_lerp_(average, values, share)
        else:  # batch norm's counters of steps
            torch._foreach_copy_(average, values)

    return update


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return the average of a model's parameters and buffers, which `update_parameters` takes on a step.

    Buffers, which are batch norm's moving averages, are averaged as the weights are that they belong to.
    """
    update = _corrected(decay)
    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average.requires_grad_(False)
