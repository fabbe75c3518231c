"""The triangle of growth shares as a plane, and where a quadratic over it is least among trained places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from scalesearch.errors import InputError

Floats = NDArray[np.float64]
AXES = ("depth", "width", "resolution")


@dataclass(frozen=True)
class Coordinates:
    """Where shares (..., 3) lie in the plane that is fitted: (depth, resolution), width takes the rest.

    Where all points share the multiplier of the axis `fixed`, its share is `given` and the one coordinate is
    what the first of the other two takes of their sum.
    """

    fixed: int | None = None
    given: float = 0.0

    @property
    def _varied(self) -> list[int]:
        return [axis for axis in range(3) if axis != self.fixed]

    def place(self, shares: Floats) -> Floats:
        """Return (..., 2), or (..., 1) where an axis is fixed."""
        if self.fixed is None:
            return shares[..., [0, 2]]
        varied = shares[..., self._varied]
        if (varied.sum(-1) < 1e-9).any():
            raise InputError(f"only {AXES[self.fixed]} grows, but the points tell the other two apart alone")
        return np.asarray(varied[..., :1] / varied.sum(-1, keepdims=True))

    def shares(self, places: Floats) -> Floats:
        """Return (..., 3)."""
        found = np.empty((*places.shape[:-1], 3))
        if self.fixed is None:
            found[..., [0, 2]] = places
            found[..., 1] = 1 - places.sum(-1)
            return found
        found[..., self._varied] = np.concatenate([places, 1 - places], axis=-1) * (1 - self.given)
        found[..., self.fixed] = self.given
        return found


def terms(places: Floats) -> Floats:
    """Return 1, the coordinates, and their products: (..., 6) of two, (..., 3) of one."""
    first, second = np.triu_indices(places.shape[-1])
    ones = np.ones((*places.shape[:-1], 1))
    return np.concatenate([ones, places, places[..., first] * places[..., second]], axis=-1)


def hull(places: Floats) -> tuple[Floats, Floats]:
    """Return the edges (m, 2, dims) of the hull and its walls (n, dims + 1), w . (x, 1) <= 0 inside."""
    if places.shape[1] == 1:
        low, high = places.min(), places.max()
        return np.array([[[low], [high]]]), np.array([[-1, low], [1, -high]])
    convex = ConvexHull(places)
    return places[convex.simplices], convex.equations


def lowest(fits: Floats, edges: Floats, walls: Floats) -> Floats:
    """Return the place (rows, dims) of least loss in the hull for each row of `fits`, exactly.

    A quadratic is least where its slope is 0, inside or along an edge, or at a corner.
    """
    start, end = edges[:, None, 0], edges[:, None, 1]
    first, middle, last = (terms(place) @ fits.T for place in (edges[:, 0], edges.mean(1), edges[:, 1]))
    bend = 2 * first + 2 * last - 4 * middle
    way = np.divide(first - last + bend, 2 * bend, out=np.zeros_like(bend), where=bend > 0).clip(0, 1)
    places = [start + way[:, :, None] * (end - start), *np.broadcast_arrays(start, end, way[:, :, None])[:2]]
    if fits.shape[1] == 6:
        places.append(_stationary(fits, walls)[None])
    candidates = np.concatenate(places)
    losses = np.einsum("krt,rt->kr", terms(candidates), fits)
    found: Floats = candidates[np.nanargmin(losses, axis=0), np.arange(len(fits))]
    return found


def _stationary(fits: Floats, walls: Floats) -> Floats:
    """Return where the slope is 0 (rows, 2), nan where that is nowhere or outside; not always a minimum."""
    _, x, y, xx, xy, yy = fits.T
    determinant = 4 * xx * yy - xy**2
    curved = determinant != 0
    scale = np.where(curved, determinant, 1.0)
    place = np.stack([xy * y - 2 * yy * x, xy * x - 2 * xx * y], axis=1) / scale[:, None]
    inside = (place @ walls[:, :2].T + walls[:, 2] <= 0).all(1)
    return np.where((curved & inside)[:, None], place, np.nan)
