"""Many networks at once, as arrays, and what they cost.

The costs are those of single networks, bit by bit: the tables of `polynomials.py` come from the same layer
rules. A batch is cut into pieces that stay in the processor's cache, and the pieces go through threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scalesearch.architecture.kinds import Kinds, Numbering, head_kind, kinds_of, stage_kind, stem_kind
from scalesearch.architecture.layers import Cost, per_dimension
from scalesearch.architecture.network import Network
from scalesearch.architecture.polynomials import MEASURES, Numbers, Table

LEAST_COLUMNS = 512  # of a table: another one is needed only for wider networks
PIECE = 32_768  # networks that are costed together


@dataclass(frozen=True, eq=False)
class Batch:
    """n networks of at most s stages as arrays.

    Attributes:
        codes: (2 + 2 s, n), what scaling leaves alone: kinds of stem and head, kinds of stages, strides.
        numbers: (2 + 2 s + dims, n), what it changes: widths of stem and head (0: none), widths and repeats
            of stages, input sides. An absent stage repeats 0 times.
    """

    kinds: Kinds
    codes: Numbers
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.numbers[0])

    def __getitem__(self, rows: Any) -> Batch:
        """Return some of the networks."""
        return Batch(self.kinds, self.codes[:, rows], self.numbers[:, rows])

    def having(self, numbers: Numbers) -> Batch:
        """Return the networks with other widths, repeats and sides."""
        return Batch(self.kinds, self.codes, numbers)

    @property
    def stages(self) -> int:
        """How many stages a network has at most."""
        return (len(self.codes) - 2) // 2

    @property
    def stem(self) -> Numbers:
        """(n,) kinds of stem."""
        return _row(self.codes, 0)

    @property
    def head(self) -> Numbers:
        """(n,) kinds of head."""
        return _row(self.codes, 1)

    @property
    def kind(self) -> Numbers:
        """(s, n) kinds of stages."""
        return self.codes[2 : 2 + self.stages]

    @property
    def stride(self) -> Numbers:
        """(s, n) strides of stages."""
        return self.codes[2 + self.stages :]

    @property
    def stem_width(self) -> Numbers:
        """(n,) channels of stems."""
        return _row(self.numbers, 0)

    @property
    def head_width(self) -> Numbers:
        """(n,) channels of heads, 0 where there is no convolution."""
        return _row(self.numbers, 1)

    @property
    def width(self) -> Numbers:
        """(s, n) channels of stages."""
        return self.numbers[2 : 2 + self.stages]

    @property
    def repeats(self) -> Numbers:
        """(s, n) repeats of stages."""
        return self.numbers[2 + self.stages : 2 + 2 * self.stages]

    @property
    def size(self) -> Numbers:
        """(dims, n) input sides."""
        return self.numbers[2 + 2 * self.stages :]

    @classmethod
    def of(cls, networks: Sequence[Network]) -> Batch:
        """Return valid networks of equal dims, input channels and classes as arrays."""
        most = max(len(network.stages) for network in networks)
        stems, heads, kinds = Numbering(), Numbering(), Numbering()
        codes = np.zeros((2 + 2 * most, len(networks)), dtype=np.int64)
        codes[2 + most :] = 1
        numbers = np.zeros((2 + 2 * most + networks[0].dims, len(networks)), dtype=np.int64)
        for index, network in enumerate(networks):
            codes[:2, index] = stems[stem_kind(network.stem)], heads[head_kind(network.head)]
            for row, stage in enumerate(network.stages):
                codes[2 + row, index] = kinds[stage_kind(stage)]
                codes[2 + most + row, index] = stage.stride
            numbers[:, index] = _numbers(network, most)
        model = networks[0]
        strides = tuple(sorted({1} | {stage.stride for network in networks for stage in network.stages}))
        of = kinds_of(
            tuple(stems), tuple(heads), tuple(kinds), strides, model.classes, model.in_channels, model.dims
        )
        return cls(of, codes, numbers)

    def network(self, row: int, model: Network) -> Network:
        """Return one network; what no array holds (name, activation functions) is `model`'s."""
        present = self.repeats[:, row] > 0
        numbers = zip(self.width[present, row].tolist(), self.repeats[present, row].tolist(), strict=True)
        stages = zip(model.stages, numbers, strict=True)
        size = tuple(self.size[:, row].tolist())
        return replace(
            model,
            resolution=size if isinstance(model.resolution, tuple) else size[0],
            stem=replace(model.stem, channels=int(self.stem_width[row])),
            stages=tuple(replace(stage, channels=c, repeats=r) for stage, (c, r) in stages),
            head=replace(model.head, channels=int(self.head_width[row]) or None),
        )

    def plain(self, row: int) -> Network:
        """Return a network that costs what one of the batch does; ValueError where it is not valid."""
        kinds, present = self.kinds, self.repeats[:, row] > 0
        stages = zip(self.kind[present, row].tolist(), self.stride[present, row].tolist(), strict=True)
        model = Network(
            name="plain",
            resolution=tuple(self.size[:, row].tolist()),
            stem=kinds.stems[self.stem[row]],
            stages=tuple(replace(kinds.stages[kind], stride=stride) for kind, stride in stages),
            head=kinds.heads[self.head[row]],
            classes=kinds.classes,
            in_channels=kinds.in_channels,
            dims=kinds.dims,
        )
        return self.network(row, model)

    def cost(self, measures: Sequence[str] = MEASURES) -> Cost:
        """Return FLOPs, parameters and activations, each an array (n,) of int64; 0 for those not asked for.

        Raises ValueError where a network is not valid: a width that its operator cannot have.
        """
        step, columns = self._grid()
        tables = self.kinds.stage_table(step, columns), self.kinds.head_table(step, columns)
        pieces = [slice(first, first + PIECE) for first in range(0, len(self), PIECE)]
        if len(pieces) < 2:
            return _cost(self, *tables, measures)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            costs = list(pool.map(lambda rows: _cost(self[rows], *tables, measures), pieces))
        return Cost(*(np.concatenate([getattr(cost, name) for cost in costs]) for name in MEASURES))  # type: ignore[arg-type]

    def _grid(self) -> tuple[int, int]:
        """Return the power of two that divides all widths, and how many of its multiples a table needs."""
        widths = [self.stem_width, *self.width]
        bits = int(np.bitwise_or.reduce([np.bitwise_or.reduce(width) for width in widths]))
        most = max(int(width.max(initial=1)) for width in widths)
        step = bits & -bits or 1
        return step, max(LEAST_COLUMNS, 1 << (most // step).bit_length())


def _row(array: Numbers, index: int) -> Numbers:
    row: Numbers = array[index]
    return row


def _numbers(network: Network, stages: int) -> list[int]:
    absent = (0,) * (stages - len(network.stages))
    widths = (*(stage.channels for stage in network.stages), *absent)
    repeats = (*(stage.repeats for stage in network.stages), *absent)
    return [network.stem.channels, network.head.channels or 0, *widths, *repeats, *network.input.size]


def _zeros(n: int) -> Cost:
    return Cost(*(np.zeros(n, dtype=np.int64) for _ in MEASURES))  # type: ignore[arg-type]


def _cost(batch: Batch, stages: Table, heads: Table, measures: Sequence[str]) -> Cost:
    """Return the costs of a piece of a batch."""
    kinds, n = batch.kinds, len(batch)
    coarse = kinds.coarser(stages)
    sides, square = _sides(kinds, batch.size)
    once = np.ones(n, dtype=np.int64)
    stem, body, head = _zeros(n), _zeros(n), _zeros(n)
    between = np.zeros(n, dtype=bool)  # rows with a width between those that the table of its operator holds
    sides = _stem_output(kinds, batch.stem, sides)
    around = {"out": _positions(sides, square, kinds.dims), "one": once}
    inputs = np.full(n, kinds.in_channels)
    kinds.stem_table().add(stem, batch.stem + 1, inputs, around, batch.stem_width, measures)
    sides = _pooled(kinds, batch.stem, sides)
    channels, positions = batch.stem_width, _positions(sides, square, kinds.dims)
    for kind, stride, width, repeats in zip(
        batch.kind, batch.stride, batch.width, batch.repeats, strict=True
    ):
        present = repeats > 0
        width = np.where(present, width, channels)
        keeps, changes = kinds.entries(kind, stride)
        first = np.where((stride == 1) & (width == channels), keeps, changes)
        if coarse:
            between |= present & (width % stages.units[first] != 0)
        stride = np.where(present, stride, 1)
        before, unchanged = positions, bool((stride == 1).all())
        if not unchanged:
            sides = _strided(kinds.strides, stride, sides)
            positions = _positions(sides, square, kinds.dims)
        inside = {} if unchanged else {"in": before}
        stages.add(
            body, first * present, channels, {**inside, "out": positions, "one": once}, width, measures
        )
        more = np.maximum(repeats - 1, 0)
        stages.add(body, keeps * present, width, {"out": positions * more, "one": more}, None, measures)
        channels = width
    heads.add(head, batch.head + 1, channels, {"out": positions, "one": once}, batch.head_width, measures)
    parts = (stem, 1), (body, stages.scale), (head, heads.scale)
    total = [sum(getattr(cost, name) // scale for cost, scale in parts) for name in MEASURES]
    for row in np.flatnonzero(between).tolist():
        exactly = batch.plain(row).cost()
        for amounts, name in zip(total, MEASURES, strict=True):
            amounts[row] = getattr(exactly, name)
    if any(amount.min(initial=0) < 0 for amount in total):
        raise ValueError("a width of the batch is none that its operator can have")
    return Cost(*total)


def _sides(kinds: Kinds, size: Numbers) -> tuple[list[Numbers], bool]:
    """Return the sides of each dimension, or one for all where they stay equal, and whether they do."""
    alike = all(len(set(per_dimension(stem.stride, kinds.dims))) == 1 for stem in kinds.stems)
    square = alike and all(np.array_equal(size[0], side) for side in size[1:])
    return [size[0]] if square else list(size), square


def _positions(sides: list[Numbers], square: bool, dims: int) -> Numbers:
    positions = sides[0]
    for side in sides * (dims - 1) if square else sides[1:]:
        positions = positions * side
    return positions


def _strided(strides: Sequence[int], stride: Numbers, sides: list[Numbers]) -> list[Numbers]:
    """Return sides after a window of odd length and symmetric padding, of each row's stride."""
    for value in strides:
        if value > 1 and (rows := stride == value).any():
            sides = [np.where(rows, (side - 1) // value + 1, side) for side in sides]
    return sides


def _stem_output(kinds: Kinds, stem: Numbers, sides: list[Numbers]) -> list[Numbers]:
    table = np.array([per_dimension(s.stride, kinds.dims) for s in kinds.stems])
    return [
        _strided(sorted(set(table[:, dim])), table[stem, dim], [side])[0] for dim, side in enumerate(sides)
    ]


def _pooled(kinds: Kinds, stem: Numbers, sides: list[Numbers]) -> list[Numbers]:
    return _strided((1, 2), np.array([1 + s.pool for s in kinds.stems])[stem], sides)
