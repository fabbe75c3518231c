"""Scaling of many networks at once: the roundings of `scaling.py` over arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.batch import Batch
from scalesearch.architecture.polynomials import Numbers
from scalesearch.architecture.rounding import RESOLUTION_STEP, round_channels, round_resolution

Reals = NDArray[np.float64]
Limits = Mapping[str, float | Reals]


def share(batch: Batch, limits: Limits) -> Reals:
    """Return (n,) the share of the binding limit that each network takes."""
    cost = batch.cost(tuple(limits))
    shares = [getattr(cost, name) / limit for name, limit in limits.items()]
    return np.max(shares, axis=0)  # type: ignore[no-any-return]


def valid_widths(batch: Batch) -> Batch:
    """Raise widths to what the next stage's operator needs of them, as `scaling.with_valid_widths`."""
    kinds = batch.kinds
    if (kinds.own == 1).all() and (kinds.divides == 1).all() and not kinds.widens.any():
        return batch
    batch = batch.having(batch.numbers.copy())
    own, rows_of = kinds.own[batch.kind], np.arange(len(batch))
    batch.width[:] = -(-batch.width // own) * own
    widths = np.concatenate([batch.stem_width[None], batch.width])
    grid = np.concatenate([stem_grid(batch)[None], kinds.multiple[batch.kind]])
    before = np.zeros(len(batch), dtype=np.int64)  # index of the last part that is present
    for stage in range(batch.stages):
        present = batch.repeats[stage] > 0
        asks = present & (kinds.divides > 1)[batch.kind[stage]] | present & kinds.widens[batch.kind[stage]]
        rows = rows_of[asks]
        entering, needed = widths[before[rows], rows], kinds.divides[batch.kind[stage, rows]]
        free = (batch.stride[stage, rows] == 1) & (entering == widths[stage + 1, rows])
        step = np.lcm(grid[before[rows], rows], needed)
        raised = np.where(entering % needed == 0, entering, -(-entering // step) * step)
        raised = np.where(free, entering, raised)
        widths[before[rows], rows] = raised
        must = ~free & kinds.widens[batch.kind[stage, rows]] & (widths[stage + 1, rows] <= raised)
        wide = rows[must]
        widths[stage + 1, wide] = (raised[must] // own[stage, wide] + 1) * own[stage, wide]
        before = np.where(present, stage + 1, before)
    batch.stem_width[:], batch.width[:] = widths[0], widths[1:]
    return batch


def stem_grid(batch: Batch) -> Numbers:
    """Return (n,) what scaled widths of stems are rounded to a multiple of."""
    return np.array([stem.divisor for stem in batch.kinds.stems])[batch.stem]


def head_grid(batch: Batch) -> Numbers:
    """Return (n,) what scaled widths of heads are rounded to a multiple of."""
    return np.array([head.divisor for head in batch.kinds.heads])[batch.head]


def scaled(batch: Batch, depth: Any = 1.0, width: Any = 1.0, resolution: Any = 1.0) -> Batch:
    """Multiply repeats, widths and sides by numbers or arrays (n,) of them, as `scaling.scale`."""
    kinds, grown = batch.kinds, batch.having(batch.numbers.copy())
    grown.repeats[:] = np.where(batch.repeats > 0, np.maximum(1, _repeats(batch.repeats * depth)), 0)
    grown.width[:] = _wider(batch.width, width, kinds.multiple[batch.kind])
    grown.stem_width[:] = _wider(batch.stem_width, width, stem_grid(batch))
    wider = _wider(batch.head_width, width, head_grid(batch))
    grown.head_width[:] = np.where(batch.head_width > 0, wider, 0)
    sides = batch.size[kinds.dims - 2 :]  # of a video the frames stay as many
    grown.size[kinds.dims - 2 :] = np.where(resolution == 1, sides, round_resolution(sides * resolution))
    return valid_widths(grown)


def _repeats(repeats: Reals) -> Numbers:
    return np.ceil(np.round(repeats, 9)).astype(np.int64)


def _wider(widths: Numbers, factor: Any, multiple: Numbers) -> Numbers:
    return np.where(factor == 1, widths, round_channels(widths * factor, multiple))  # type: ignore[arg-type]


def rounding_steps(batch: Batch) -> Numbers:
    """Return by what each number of a batch changes at least when it is scaled."""
    widths = batch.kinds.multiple[batch.kind]
    sides = np.full_like(batch.size, RESOLUTION_STEP)
    return np.concatenate([[stem_grid(batch), head_grid(batch)], widths, np.ones_like(widths), sides])
