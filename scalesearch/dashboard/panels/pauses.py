"""The time of a run without its pauses: between the calls of a run nothing is trained, often for days."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

LEAST_PAUSE = 60.0  # seconds without any training
PAUSE_SHARE = 0.02  # of the time in which something was trained
UNITS = ((2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))

Span = tuple[float, float]
"""From when to when something was trained, in seconds since the epoch."""


def cut_pauses(spans: Iterable[Span]) -> list[Span]:
    """Return from when to when no training ran, where that took long beside the time with trainings.

    A run that goes on after days would else be two slivers at the ends of an empty axis.
    """
    gaps, working, end = [], 0.0, None
    for start, finish in sorted(spans):
        if end is not None and start > end:
            gaps.append((end, start))
        begin = start if end is None else max(start, end)
        working += max(0.0, finish - begin)
        end = finish if end is None else max(end, finish)
    least = max(LEAST_PAUSE, PAUSE_SHARE * working)
    return [(begin, finish) for begin, finish in gaps if finish - begin > least]


def without_pauses(moments: Sequence[float], first: float, cuts: Sequence[Span]) -> NDArray[np.float64]:
    """Return the seconds from the first start to each moment, (n,), less the pauses that ended by then."""
    lost = np.array([0.0, *accumulate(end - begin for begin, end in cuts)])
    at = np.asarray(moments, dtype=np.float64)
    return np.asarray(at - first - lost[np.searchsorted([end for _, end in cuts], at, side="right")])


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the unit of an axis that spans so many seconds: its seconds, and its name."""
    return next((unit, name) for least, unit, name in UNITS if seconds >= least)
