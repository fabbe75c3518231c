"""Accuracy and loss of a network on a split, by one process or by shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesearch.architecture.space_map import Share
from scalesearch.training.data import Split
from scalesearch.training.full.distributed import Ranks
from scalesearch.training.full.images import evaluation_batches

AT_ONCE = 250  # images, where the recipe's batches are not smaller


@dataclass(frozen=True)
class Score:
    """How a network does on a split.

    Attributes:
        right: images whose class has the largest logit.
        images: of the split.
        loss: mean cross entropy, without label smoothing.
    """

    right: int
    images: int
    loss: float

    @property
    def accuracy(self) -> float:
        """The share of the images that are right."""
        return self.right / self.images

    @property
    def rank(self) -> tuple[int, float]:
        """What a better score on the same split has more of: right images, then likelihood."""
        return self.right, -self.loss

    def described(self) -> dict[str, Any]:
        """Return accuracy with Wilson's 95 % interval, loss and number of images, as plain data."""
        low, high = Share(self.right, self.images).interval
        return {
            "accuracy": self.accuracy,
            "interval": [low, high],
            "images": self.images,
            "loss": self.loss,
        }


@torch.no_grad()
def score(
    model: nn.Module,
    logits: Callable[[nn.Module, Tensor], Tensor],
    split: Split,
    ranks: Ranks,
    *,
    size: tuple[int, int],
    mean: Tensor,
    std: Tensor,
    at_once: int,
) -> Score:
    """Return the score of a model in eval mode; several processes look at an image each in turn.

    Args:
        model: on its device; left in eval mode.
        logits: of the model and inputs, in float32, at the training's precision.
        split: whose images and labels are read here and nowhere else.
        ranks: every process has the same parameters; the first one's buffers count.
        size: of the inputs, in pixels.
        mean: (3,), of pixels in [0, 1].
        std: the same.
        at_once: images in a batch.
    """
    ranks.share_buffers(model)
    model.eval()
    own = Split(split.images[ranks.rank :: ranks.world], split.labels[ranks.rank :: ranks.world])
    device = next(model.parameters()).device
    right, loss = torch.zeros((), dtype=torch.int64), torch.zeros((), dtype=torch.float64)
    right, loss = right.to(device), loss.to(device)
    for x, labels in evaluation_batches(own, size, mean, std, at_once):
        targets = labels.to(device)
        values = logits(model, x.to(device))
        right += (values.argmax(1) == targets).sum()
        loss += F.cross_entropy(values, targets, reduction="sum").double()
    correct, total, images = ranks.sums([float(right), float(loss), float(len(own))])
    return Score(int(correct), int(images), total / images)
