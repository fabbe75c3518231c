"""After the last step: running statistics for the final weights, accuracy and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)

Logits = Callable[[Tensor], Tensor]


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d | nn.BatchNorm3d]:
    """Return a model's batch norms."""
    return [module for module in model.modules() if isinstance(module, _BATCH_NORMS)]


@torch.no_grad()
def measure_norms(model: nn.Module, logits: Logits, batches: Iterable[Tensor]) -> None:
    """Replace batch norm's moving averages by means over training batches with the weights as they are.

    The averages of a short training still remember its beginning and other resolutions.
    """
    norms = batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    for x in batches:
        logits(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@torch.no_grad()
def evaluate(
    model: nn.Module, logits: Logits, batches: Iterable[tuple[Tensor, Tensor]], count: int
) -> tuple[float, float]:
    """Return accuracy (a fraction) and mean cross entropy over `count` images, in eval mode."""
    right, loss = 0, 0.0
    model.eval()
    for x, targets in batches:
        values = logits(x)
        right += int((values.argmax(1) == targets).sum())
        loss += float(F.cross_entropy(values, targets, reduction="sum"))
    model.train()
    return right / count, loss / count
