"""Where the sweep for the best cost stands between two rows of the stage table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scalesearch.architecture.polynomials import Numbers


class States(NamedTuple):
    """The best costs so far of networks with the same sides.

    Attributes:
        stated: (n,) width of the last part as far as that part decides it. width: (n,) as it is in the end.
        promised: (n,) the need of the next stage for which it has been raised, or 1.
        cost: (measure, n), or its negative where the greatest is wanted.
    """

    stated: Numbers
    width: Numbers
    promised: Numbers
    cost: Numbers

    def where(self, rows: Any) -> States:
        """Return some of the states."""
        return States(self.stated[rows], self.width[rows], self.promised[rows], self.cost[:, rows])


def merged(parts: list[States], bound: Numbers) -> States:
    """Return each state once with its best costs, without those above the bound in every measure."""
    every = States(
        *(np.concatenate([part[i] for part in parts], axis=-1) for i in range(len(States._fields)))
    )
    every = every.where((every.cost <= bound[:, None]).any(axis=0))
    order = np.lexsort(every[:3])
    every = every.where(order)
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.any([column[1:] != column[:-1] for column in every[:3]], axis=0)
    starts = np.flatnonzero(new)
    best = np.minimum.reduceat(every.cost, starts, axis=1) if len(starts) else every.cost
    return every.where(starts)._replace(cost=best)


class Outputs(NamedTuple):
    """What a part's widths may become: as stated, or raised for a need of the next stage.

    Attributes:
        stated, width, promised: as in States. column: (n,) index of the stated width.
    """

    stated: Numbers
    width: Numbers
    promised: Numbers
    column: Numbers

    def states(self, cost: Numbers) -> States:
        """Return them as states."""
        return States(self.stated, self.width, self.promised, cost)


def outputs_of(stated: Numbers, grid: int, needs: Sequence[int]) -> Outputs:
    """Return what stated widths may become, rounded up to the grid where one of the needs raises them."""
    columns = [np.arange(len(stated)), *(np.flatnonzero(stated % need) for need in needs)]
    column, promised = np.concatenate(columns), np.repeat((1, *needs), [len(found) for found in columns])
    step = np.where(promised == 1, 1, np.lcm(grid, promised))
    return Outputs(stated[column], -(-stated[column] // step) * step, promised, column)
