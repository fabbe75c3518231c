"""Fits of a saturating power law to the logarithms of errors, many at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import huber

Floats = NDArray[np.float64]

STEEPEST = 5.0
STEPS = 200
LONGEST_STEP = 3.0


def descend(
    x: Floats, y: Floats, counts: NDArray[Any], starts: Floats, scale: float
) -> tuple[Floats, Floats]:
    """Fit log(a e^-bx + c) to y under Huber's loss: one fit for each row of counts (rows, n) and starts.

    Levenberg-Marquardt on reweighted squares, all rows at once, because SciPy's `least_squares` for one row
    after the other takes about ten times as long. Returns (log a, b, c), (rows, 3), within b in 0..5 and
    c >= 0, and the losses, (rows,).
    """
    values, damping = starts.copy(), np.full(len(starts), 1e-3)
    upper = np.array([np.inf, STEEPEST, np.exp(y.max())])

    def losses_at(values: Floats) -> Floats:
        return np.asarray((counts * huber(scale, _residuals(x, y, values)[0])).sum(1))

    losses = losses_at(values)
    for _ in range(STEPS):
        hessian, gradient = _normal_equations(x, y, counts, values, scale)
        held = ((values <= [-np.inf, 0, 0]) & (gradient > 0)) | ((values >= upper) & (gradient < 0))
        hessian[held[:, :, None] | held[:, None, :]] = 0.0
        gradient[held] = 0.0
        diagonal = np.einsum("rjj->rj", hessian)
        diagonal *= 1 + damping[:, None]
        diagonal += np.where(held, 1.0, 1e-12)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        tried = np.clip(values - step.clip(-LONGEST_STEP, LONGEST_STEP), [-np.inf, 0, 0], upper)
        found = losses_at(tried)
        better = found < losses * (1 - 1e-12)
        values[better], losses[better] = tried[better], found[better]
        damping = np.clip(damping * np.where(better, 0.2, 5.0), 1e-9, 1e9)
        if (damping > 1e6).all():  # no row has gone lower for a dozen steps
            break
    return values, losses


def _residuals(x: Floats, y: Floats, values: Floats) -> tuple[Floats, Floats, Floats]:
    power = np.exp(values[:, :1] - values[:, 1:2] * x)
    error = power + values[:, 2:]
    return np.log(error) - y, power, error


def _normal_equations(
    x: Floats, y: Floats, counts: NDArray[Any], values: Floats, scale: float
) -> tuple[Floats, Floats]:
    residual, power, error = _residuals(x, y, values)
    slopes = np.stack([power, -x * power, np.ones_like(power)], axis=2) / error[:, :, None]
    weights = counts * np.minimum(1.0, scale / np.maximum(np.abs(residual), 1e-300))
    hessian = np.einsum("ri,rij,rik->rjk", weights, slopes, slopes, optimize=True)
    return hessian, np.einsum("ri,rij,ri->rj", weights, slopes, residual, optimize=True)
