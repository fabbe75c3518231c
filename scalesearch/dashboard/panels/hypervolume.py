"""The hypervolume of two objectives as points come in: how much of the plane the front beats."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise


def hypervolumes(points: Iterable[tuple[float, float]], reference: tuple[float, float]) -> list[float]:
    """Return the area that the first 1, 2, ..., n points dominate, (n,).

    A point is (cost, gain): less cost and more gain are better. The area is bounded by the reference point
    (Zitzler and Thiele 1999, section 3.1); a point that is not better than it in both adds nothing. Each
    finds its place in the front by bisection and leaves it at most once: O(n log n) comparisons.
    """
    front = _Front(*reference)
    areas, area = [], 0.0
    for cost, gain in points:
        area += front.add(cost, gain)
        areas.append(area)
    return areas


class _Front:
    """Points that no other dominates: costs and gains, both ascending, below the reference cost."""

    def __init__(self, most_cost: float, least_gain: float) -> None:
        self._costs: list[float] = []
        self._gains: list[float] = []
        self._most_cost, self._least_gain = most_cost, least_gain

    def add(self, cost: float, gain: float) -> float:
        """Take a point into the front where it belongs there; return the area that it adds."""
        before = bisect_right(self._costs, cost)
        floor = self._gains[before - 1] if before else self._least_gain
        if not (cost < self._most_cost and gain > floor):
            return 0.0
        first = bisect_left(self._costs, cost)
        last = bisect_right(self._gains, gain, lo=before)
        added = self._strip(cost, gain, floor, before, last)
        self._costs[first:last], self._gains[first:last] = [cost], [gain]
        return added

    def _strip(self, cost: float, gain: float, floor: float, begin: int, end: int) -> float:
        """Return the area between the front so far and `gain`, from `cost` to where the front is above it."""
        edges = [cost, *self._costs[begin:end]]
        edges.append(self._costs[end] if end < len(self._costs) else self._most_cost)
        floors = [floor, *self._gains[begin:end]]
        strips = zip(pairwise(edges), floors, strict=True)
        return sum((right - left) * (gain - under) for (left, right), under in strips)
