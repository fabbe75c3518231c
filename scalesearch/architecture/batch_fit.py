"""Scaling and the fit to a budget (D3) for many networks at once: the steps of `scaling.py` and `budget.py`.

Each step gives the network that the step for one network gives; the order of the steps, the moves and the
roundings are the same. Only the search for phi begins closer to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.batch import Batch
from scalesearch.architecture.batch_scaling import (
    Limits,
    Reals,
    head_grid,
    rounding_steps,
    scaled,
    share,
    valid_widths,
)
from scalesearch.architecture.budget import BAND, LOWEST_PHI, MOST_PHI, NARROWEST
from scalesearch.architecture.document import MOST_BLOCKS
from scalesearch.architecture.exchange import exchanged
from scalesearch.architecture.polynomials import Numbers
from scalesearch.architecture.rounding import RESOLUTION_STEP, SMALLEST_RESOLUTION

Indices = NDArray[np.intp]

FIT_PIECE = 65_536  # families that are fitted together
STRIDE = 1.2  # how far the search steps, in units of where the share would reach the limit
LEAST_STEP = 1 / 64  # of the logarithm of the cost


@dataclass(frozen=True, eq=False)
class BatchFit:
    """Members of n families, fitted to budgets.

    Attributes:
        batch: the networks. phi: (n,) the compound coefficients before repair.
        share: (n,) of the binding limit; above 1 where a family has no member within its budget, infinite
            where that has more blocks than a document may have.
    """

    batch: Batch
    phi: Reals
    share: Reals


def fit_all(bases: Batch, alpha: Reals, beta: Reals, gamma: Reals, limits: Limits) -> BatchFit:
    """Fit n families to budgets, as `budget.fit` does for one; a limit may be an array (n,)."""
    pieces = [slice(first, first + FIT_PIECE) for first in range(0, len(bases), FIT_PIECE)]

    def fitted(rows: slice) -> BatchFit:
        own = {name: np.broadcast_to(limit, len(bases))[rows] for name, limit in limits.items()}
        return Fitting(bases[rows], (alpha[rows], beta[rows], gamma[rows]), own).run()

    fits = [fitted(rows) for rows in pieces]
    numbers = np.concatenate([fit.batch.numbers for fit in fits], axis=1)
    phi, taken = (np.concatenate([getattr(fit, name) for fit in fits]) for name in ("phi", "share"))
    return BatchFit(bases.having(numbers), phi, taken)


class Fitting:
    """The steps of one fit; `numbers` are the networks so far and `taken` their shares."""

    def __init__(self, bases: Batch, coefficients: tuple[Reals, ...], limits: Limits) -> None:
        self.bases, self.coefficients, self.limits = bases, coefficients, limits
        self.steps = rounding_steps(bases)
        self.square = bases.kinds.dims == 2 and np.array_equal(*bases.size)

    def run(self) -> BatchFit:
        """Return the fit."""
        rows = np.arange(len(self.bases))
        lowest = np.full(len(rows), LOWEST_PHI)
        least = self._member(rows, lowest)
        smallest = self._share(rows, least)
        self.numbers, slope = self.bases.numbers, 1 / np.log(self._growth())
        guess = -slope * np.log(self._share(rows, self.numbers))
        span = lowest, np.full(len(rows), MOST_PHI)
        phi, self.numbers = self._largest(rows, self._member, span, least, guess, slope, 1e-6)
        self.taken = self._share(rows, self.numbers)
        self._shrink(np.flatnonzero(smallest > 1))
        self._refuse_depth()
        for step in (self._heighten, self._widen, self._deepen, self._widen_stages, self._exchange):
            if len(rows := np.flatnonzero(self.taken < BAND)):
                step(rows)
        self._refuse_depth()
        return BatchFit(self.bases.having(self.numbers), phi, self.taken)

    def _refuse_depth(self) -> None:
        self.taken[self.bases.having(self.numbers).repeats.sum(axis=0) > MOST_BLOCKS] = np.inf

    # `rows` number the bases, and `numbers` are those of these rows.

    def _growth(self) -> Reals:
        alpha, beta, gamma = self.coefficients
        return alpha * beta**2 * gamma**2

    def _share(self, rows: Indices, numbers: Numbers) -> Reals:
        limits = {name: limit[rows] for name, limit in self.limits.items()}  # type: ignore[index]
        return share(Batch(self.bases.kinds, self.bases.codes[:, rows], numbers), limits)

    def _member(self, rows: Indices, phi: Reals) -> Numbers:
        alpha, beta, gamma = (coefficient[rows] ** phi for coefficient in self.coefficients)
        return scaled(self.bases[rows], alpha, beta, gamma).numbers

    def _largest(
        self,
        rows: Indices,
        member: Callable[[Indices, Reals], Numbers],
        span: tuple[Reals, Reals],
        least: Numbers,
        guess: Reals,
        slope: Reals,
        tolerance: float,
    ) -> tuple[Reals, Numbers]:
        """Return the largest argument in a span whose member is within the limits, and that member.

        `least` is the member at the span's low end, which is returned where no other is within. From the
        guess the search steps on until it has a member on either side, by what the logarithm of the share
        lacks times the slope, and at least twice as far each time; then it bisects, until the sides are
        neighbours or the tolerance is reached.
        """
        low, high = (side.copy() for side in span)
        inside, outside = least.copy(), least.copy()
        beyond = np.zeros(len(rows), dtype=bool)  # whether `outside` holds a member over the limits
        within = np.zeros(len(rows), dtype=bool)  # whether `inside` holds more than `least`
        probe = np.clip(guess, *span)
        step, active = LEAST_STEP * slope, np.arange(len(rows))
        while len(active):
            numbers = member(rows[active], probe[active])
            excess = np.log(self._share(rows[active], numbers))
            fits = excess <= 0
            kept, refused = active[fits], active[~fits]
            low[kept], inside[:, kept], within[kept] = probe[kept], numbers[:, fits], True
            high[refused], outside[:, refused], beyond[refused] = probe[refused], numbers[:, ~fits], True
            step[active] = np.maximum(2 * step[active], STRIDE * np.abs(excess) * slope[active])
            open_ = (high - low)[active] > tolerance
            bracketed = (beyond & within)[active] & open_
            closed = active[bracketed]
            open_[bracketed] = ~self._neighbours(rows[closed], inside[:, closed], outside[:, closed])
            active = active[open_]
            probe = np.where(beyond, (low + high) / 2, np.minimum(low + step, high))
            probe = np.where(within, probe, np.maximum(high - step, low))
        return low, inside

    def _neighbours(self, rows: Indices, one: Numbers, other: Numbers) -> NDArray[np.bool_]:
        """Return where no network lies between two: they differ by one rounding step of equal numbers.

        Numbers that are equal before scaling, and are rounded alike, change together.
        """
        steps = self.steps[:, rows]
        apart = np.abs(one - other)
        alike = self.numbers[:, rows] * 4096 + steps
        changes = apart > 0
        first = np.where(changes, alike, 2**62).min(axis=0)
        last = np.where(changes, alike, 0).max(axis=0)
        found: NDArray[np.bool_] = (first >= last) & (apart <= steps).all(axis=0)
        return found

    def _set(self, rows: Indices, numbers: Numbers, taken: Reals) -> None:
        self.numbers[:, rows] = numbers
        self.taken[rows] = taken

    def _scaled_width(self, rows: Indices, width: Reals) -> Numbers:
        return scaled(self.bases[rows].having(self.numbers[:, rows]), width=width).numbers

    def _shrink(self, rows: Indices) -> None:
        """Narrow what is over its limit, and lower its sides where that does not suffice."""
        reached = np.ones(len(self.bases), dtype=bool)
        pending = rows
        while len(pending):
            narrow = self._scaled_width(pending, np.full(len(pending), NARROWEST))
            taken = self._share(pending, narrow)
            pending, taken = pending[taken > 1], taken[taken > 1]
            stuck = self.numbers[-2:, pending].min(axis=0) - RESOLUTION_STEP < SMALLEST_RESOLUTION
            reached[pending[stuck]], self.taken[pending[stuck]] = False, taken[stuck]
            pending = pending[~stuck]
            self.numbers[-2:, pending] -= RESOLUTION_STEP
        self._widen(rows[reached[rows]], NARROWEST, 1.0)

    def _heighten(self, rows: Indices) -> None:
        self._climb(rows, [_heighten])

    def _widen(self, rows: Indices, low: float = 1.0, high: float = 2.0) -> None:
        span = np.full(len(rows), low), np.full(len(rows), high)
        least = self._scaled_width(rows, span[0])
        slope = np.full(len(rows), 0.5)  # cost grows about as the square of the width
        guess = self._share(rows, self.numbers[:, rows]) ** -slope
        _, numbers = self._largest(rows, self._scaled_width, span, least, guess, slope, 1e-4)
        self._set(rows, numbers, self._share(rows, numbers))

    def _deepen(self, rows: Indices) -> None:
        self._climb(rows, _deepening(self.bases.stages))

    def _widen_stages(self, rows: Indices) -> None:
        self._climb(rows, _widening(self.bases.stages))

    def _exchange(self, rows: Indices) -> None:
        for one in rows[:, None]:
            limits = {name: float(limit[one[0]]) for name, limit in self.limits.items()}  # type: ignore[index]
            start = Batch(self.bases.kinds, self.bases.codes[:, one], self.numbers[:, one])
            numbers = exchanged(start, limits, BAND, (SMALLEST_RESOLUTION, np.inf))
            if numbers is not None:
                self._set(one, numbers, self._share(one, numbers))

    def _climb(self, rows: Indices, moves: Sequence[Move]) -> None:
        """Take each network's dearest affordable move until it is in the band or none is affordable."""
        while len(rows):
            repeated = np.tile(rows, len(moves))
            moved = Batch(self.bases.kinds, self.bases.codes[:, repeated], self.numbers[:, repeated])
            for index, move in enumerate(moves):
                move(moved[index * len(rows) : (index + 1) * len(rows)])
            moved = valid_widths(moved)
            taken = self._share(repeated, moved.numbers).reshape(len(moves), len(rows))
            taken[(taken <= self.taken[rows]) | (taken > 1)] = -1
            best = taken.argmax(axis=0)
            columns = np.arange(len(rows))
            found = taken[best, columns] > 0
            numbers = moved.numbers[:, best * len(rows) + columns]
            self._set(rows[found], numbers[:, found], taken[best, columns][found])
            rows = rows[found & (taken[best, columns] < BAND)]


# Moves change a batch in place, one number of each network up by one rounding step.

Move = Callable[[Batch], None]


def _heighten(batch: Batch) -> None:
    batch.size[-2:] += RESOLUTION_STEP


def _widen_head(batch: Batch) -> None:
    batch.numbers[1] += np.where(batch.head_width > 0, head_grid(batch), 0)


def _widen_stage(batch: Batch, stage: int) -> None:
    multiple = batch.kinds.multiple[batch.kind[stage]]
    batch.width[stage] += np.where(batch.repeats[stage] > 0, multiple, 0)


def _deepen_stage(batch: Batch, stage: int) -> None:
    batch.repeats[stage] += batch.repeats[stage] > 0


def _widening(stages: int) -> list[Move]:
    return [*(partial(_widen_stage, stage=stage) for stage in range(stages)), _widen_head]


def _deepening(stages: int) -> list[Move]:
    return [partial(_deepen_stage, stage=stage) for stage in range(stages)]
