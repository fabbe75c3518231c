"""What a picture has room for: which of many points, and how wide an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST = 1500
COLUMNS, ROWS = 360, 180  # about 3 px each on a wide screen, where a point takes 8


def thinned(x: Sequence[float], y: Sequence[float], most: int = MOST) -> list[int]:
    """Return the indices of at most about `most` points, ascending, that look like all of them.

    The picture is divided into cells, and the highest point of each stands for the others in it. All points
    are kept where they are few enough; otherwise the cells grow until few enough are taken. Coordinates are
    those of the screen: logarithms on a log axis.
    """
    if len(x) <= most:
        return list(range(len(x)))
    across, along = _shares(x), _shares(y)
    highest = np.argsort(-along, kind="stable")
    scale = 1.0
    while True:
        columns, rows = max(1, int(COLUMNS * scale)), max(1, int(ROWS * scale))
        cells = _cell(across, columns) * rows + _cell(along, rows)
        first = np.unique(cells[highest], return_index=True)[1]
        if len(first) <= most:
            return sorted(highest[first].tolist())
        scale *= 0.9


def _cell(shares: NDArray[np.float64], cells: int) -> NDArray[np.int64]:
    return np.minimum((shares * cells).astype(np.int64), cells - 1)


def _shares(values: Sequence[float]) -> NDArray[np.float64]:
    """Return each value's place between the least (0) and the greatest (1)."""
    array = np.asarray(values, dtype=np.float64)
    width = float(np.ptp(array))
    return np.asarray((array - array.min()) / (width or 1.0))


def accuracy_range(values: Sequence[float]) -> list[float] | None:
    """Return a range for an axis of accuracies that are all the same, None where Plotly finds one."""
    if min(values) < max(values):
        return None
    return [values[0] - 0.05, values[0] + 0.05]
