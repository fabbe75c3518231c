"""The candidates that the sampler `surrogate` chooses among, drawn and fitted by the block.

Fitting a proxy by itself takes most of a decision's time; many together take a tenth of that each. So a level
of the budget gets its candidates a block at a time, and one block serves many numbers. It depends on nothing
but the seed, the level and its place among the level's blocks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.batch import Batch
from scalesearch.architecture.batch_fit import Fitting, Indices
from scalesearch.architecture.batch_scaling import Reals
from scalesearch.architecture.budget import BAND, NARROWEST, UnfitError
from scalesearch.architecture.network import Network
from scalesearch.architecture.polynomials import Numbers
from scalesearch.architecture.proxy import at_base_resolution
from scalesearch.architecture.rounding import RESOLUTION_STEP, SMALLEST_RESOLUTION
from scalesearch.architecture.space import Candidate
from scalesearch.search.features import features
from scalesearch.search.samplers import derived_seed, random_candidate
from scalesearch.search.study import Definition

EACH = 12  # candidates for each number
TURNS = 16  # numbers of one level that a block is drawn for
MOST_KINDS = 100  # of stages; a space with more, as with any number for `expand`, is fitted one by one

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """A candidate, its values by leaf, and what the model sees of its proxy."""

    candidate: Candidate
    params: dict[str, Any]
    row: Floats

    @cached_property
    def text(self) -> str:
        """The values in words; those of one candidate are equal."""
        return text_of(self.params)


def text_of(params: dict[str, Any]) -> str:
    """Return a candidate's values in words."""
    return json.dumps(params, sort_keys=True)


class Pool:
    """Random candidates for the numbers of a study's search arm."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self._places: list[int] = []  # by number, how many of its level came before it
        self._counts: dict[float, int] = {}
        self._blocks: dict[float, dict[int, list[Pooled]]] = {}
        self._first: list[Network] = []

    def at(self, number: int) -> list[Pooled]:
        """Return the candidates of the number's block on its level and of the block before, as drawn."""
        level, last = self.definition.level(number), self._place(number) // TURNS
        held = self._blocks.get(level, {})
        blocks = range(max(0, last - 1), last + 1)
        self._blocks[level] = {n: held[n] if n in held else self._drawn(level, n) for n in blocks}
        return [one for block in self._blocks[level].values() for one in block]

    def _place(self, number: int) -> int:
        d = self.definition
        for turn in range(len(self._places), number + 1):
            level = d.level(turn)
            self._places.append(self._counts.get(level, 0))
            self._counts[level] = self._places[-1] + (d.arm(turn) == "search")
        return self._places[number]

    def _drawn(self, level: float, block: int) -> list[Pooled]:
        d = self.definition
        rng = np.random.default_rng(derived_seed(d.study.seed, "pool", level, block))
        drawn = [random_candidate(d.space, rng) for _ in range(EACH * TURNS)]
        candidates = [candidate for candidate, _ in drawn]
        # Tables of costs are made for the kinds of stages that a batch has: with these in front all have one.
        self._first = self._first or [_small(one, d) for one in candidates]
        proxies = fitted_proxies(candidates, d, level, self._first)
        pairs = zip(drawn, proxies, strict=True)
        return [Pooled(*one, seen(proxy)) for one, proxy in pairs if proxy is not None]


def seen(network: Network) -> Floats:
    """Return what the model sees: the features, and the cost, which differs between levels."""
    return np.append(features(network), log2(network.cost().flops))


def fitted_proxies(
    candidates: Sequence[Candidate], d: Definition, level: float, first: Sequence[Network] = ()
) -> list[Network | None]:
    """Return each candidate's proxy at a level of a study's budget, or None where it has none.

    `first` are proxies' bases that say which kinds of stages there may be besides those of the candidates.
    """
    flops = d.policy.flops_at(level, d.budget)
    bases = [_small(one, d) for one in candidates]
    batch = Batch.of([*first, *bases])[len(first) :]
    found: dict[int, Network] = {}
    if len(batch.kinds.stages) <= MOST_KINDS:
        rows = np.arange(len(bases))
        for bounds in _bounds(d, bases[0]):
            fit = _Bounded(batch[rows], [candidates[row] for row in rows.tolist()], flops, bounds).run()
            inside = (fit.share >= BAND) & (fit.share <= 1)
            for at, row in zip(np.flatnonzero(inside).tolist(), rows[inside].tolist(), strict=True):
                found[row] = fit.batch.network(at, bases[row])
            rows = rows[fit.share > 1]
            if not len(rows):
                break
    return [found.get(row) or _alone(one, d, flops) for row, one in enumerate(candidates)]


def _small(candidate: Candidate, d: Definition) -> Network:
    return at_base_resolution(candidate.base, d.policy, d.classes, d.resolution)


def _bounds(d: Definition, base: Network) -> list[tuple[int, int]]:
    """Return the bounds on a proxy's side that `make_proxy` tries one after another."""
    start = base.resolution
    assert isinstance(start, int), "a proxy has one side"
    low = min(d.policy.min_resolution, start)
    # Between them it tries sides below the base's own, one by one.
    return [(low, d.resolution), (SMALLEST_RESOLUTION, d.resolution)][: 1 + (low == start)]


def _alone(candidate: Candidate, d: Definition, flops: float) -> Network | None:
    try:
        return candidate.proxy(d.policy, flops, d.classes, d.resolution).network
    except UnfitError:
        return None


class _Bounded(Fitting):
    """A fit of many whose sides stay within bounds.

    What it leaves outside the band takes other ways to get there, which are seldom needed.
    """

    def __init__(
        self, bases: Batch, families: Sequence[Candidate], flops: float, bounds: tuple[int, int]
    ) -> None:
        names = "alpha", "beta", "gamma"
        columns = [np.array([getattr(one.coefficients, name) for one in families]) for name in names]
        super().__init__(bases, tuple(columns), {"flops": np.full(len(bases), flops)})
        self._low, self._high = bounds

    def _member(self, rows: Indices, phi: Reals) -> Numbers:
        numbers = super()._member(rows, phi)
        np.clip(numbers[-2:], self._low, self._high, out=numbers[-2:])
        return numbers

    def _heighten(self, rows: Indices) -> None:
        self._climb(rows, [self._higher])

    def _higher(self, batch: Batch) -> None:
        batch.size[-2:] += RESOLUTION_STEP * (batch.size[-2:] + RESOLUTION_STEP <= self._high)

    def _shrink(self, rows: Indices) -> None:
        if self._low == SMALLEST_RESOLUTION:
            super()._shrink(rows)
            return
        taken = self._share(rows, self._scaled_width(rows, np.full(len(rows), NARROWEST)))
        self._widen(rows[taken <= 1], NARROWEST, 1.0)

    def _exchange(self, rows: Indices) -> None:
        """Leave them as they are."""
