"""The last repair of a fit: several rounding steps at once, up here and down there.

A network of one or two stages has few numbers, and each of their rounding steps may change its cost by more
than the band is wide. Then a beam search over such steps looks for the combination that ends in the band.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.batch import Batch
from scalesearch.architecture.batch_scaling import rounding_steps, share, valid_widths
from scalesearch.architecture.polynomials import Numbers

BEAM, DEPTH = 128, 8


def exchanged(
    batch: Batch, limits: Mapping[str, float], band: float, sides: tuple[int, float]
) -> Numbers | None:
    """Return the numbers (k, 1) of a network in the band that few steps lead to, or None.

    `batch` holds the one network to start from; its sides stay within `sides`, in pixels.
    """
    steps, start = _steps(batch), batch.numbers
    beam, seen = start, {start[:, 0].tobytes()}
    aim = np.log(band) / 2
    for _ in range(DEPTH):
        reached = (beam[:, :, None] + steps[:, None, :]).reshape(len(start), -1)
        reached = reached[:, _valid(reached, start, batch.kinds.dims, sides)]
        new = [i for i, column in enumerate(reached.T) if _unseen(column.tobytes(), seen)]
        if not new:
            return None
        family = Batch(batch.kinds, np.repeat(batch.codes, len(new), axis=1), reached[:, new])
        family = valid_widths(family)
        taken = share(family, limits)
        inside = np.flatnonzero((taken >= band) & (taken <= 1))
        if len(inside):
            best = inside[taken[inside].argmax()]
            return family.numbers[:, best : best + 1]
        beam = family.numbers[:, np.abs(np.log(taken) - aim).argsort(kind="stable")[:BEAM]]
    return None


def _unseen(key: bytes, seen: set[bytes]) -> bool:
    known = key in seen
    seen.add(key)
    return not known


def _steps(batch: Batch) -> Numbers:
    """Return (k, moves): one step up or down of every number that a network of this shape may change."""
    size, dims = rounding_steps(batch)[:, 0], batch.kinds.dims
    k = len(size)
    fixed = (batch.numbers[:, 0] == 0) | np.concatenate(
        [[False] * 2, *[batch.repeats[:, 0] == 0] * 2, [True] * dims]
    )
    singles = np.diag(size)[:, ~fixed]
    sides = np.zeros((k, 1), dtype=np.int64)
    sides[-2:] = size[-1]
    moves = np.concatenate([singles, sides], axis=1)
    return np.concatenate([moves, -moves], axis=1)


def _valid(numbers: Numbers, start: Numbers, dims: int, sides: tuple[int, float]) -> NDArray[np.bool_]:
    least, most = numbers[-2:].min(axis=0), numbers[-2:].max(axis=0)
    present = start[:-dims, 0] > 0
    positive = (numbers[:-dims][present] > 0).all(axis=0)
    valid: NDArray[np.bool_] = positive & (least >= sides[0]) & (most <= sides[1])
    return valid
