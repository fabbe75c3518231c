"""What is kept of a training's losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

POINTS = 50


def loss_curve(losses: Sequence[float], batch: int, images: int) -> tuple[tuple[int, float], ...]:
    """Return at most POINTS pairs (images seen, mean loss of the steps since the pair before).

    Args:
        losses: of the steps taken so far.
        batch: images a step.
        images: of the whole training; its last step may be smaller.
    """
    points = min(POINTS, len(losses))
    ends = [len(losses) * i // points for i in range(points + 1)] if points else []
    return tuple(
        (min(end * batch, images), math.fsum(losses[start:end]) / (end - start))
        for start, end in pairwise(ends)
    )


def last_quarter(losses: Sequence[float], batch: int, images: int) -> float:
    """Return the mean loss over the last quarter of a training's images; arguments as above, all steps."""
    first = 0.75 * images
    counts = [min((i + 1) * batch, images) - max(i * batch, first) for i in range(len(losses))]
    weights = [max(0.0, count) for count in counts]
    return math.fsum(w * loss for w, loss in zip(weights, losses, strict=True)) / math.fsum(weights)
