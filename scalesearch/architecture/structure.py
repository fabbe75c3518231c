"""The structures that a stage can have, and what blocks of one cost at many widths at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import inf, lcm, nextafter
from typing import Any

import numpy as np

from scalesearch.architecture.domains import Choice, Range
from scalesearch.architecture.layers import Layer, Shape
from scalesearch.architecture.network import Block, Options
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.operators.mbconv import expanded
from scalesearch.architecture.polynomials import MEASURES, Numbers
from scalesearch.architecture.rounding import MixedError

# From here on an inner width is above the input's, whatever that is, and every cost rises with expand. Below,
# it leaves the input's width at some expand, and there a fused convolution falls apart in two.
SURELY_EXPANDED = 1.5
FEW = 2_000  # widths whose costs are remembered
Sides = tuple[int, ...]


def values(node: Any) -> tuple[Any, ...]:
    """Return the values of a leaf, or of a list of leaves as tuples; of a range of any number its ends."""
    if isinstance(node, list):
        return tuple(product(*(values(part) for part in node)))
    if isinstance(node, Choice):
        return tuple(tuple(value) if isinstance(value, list) else value for value in node.values)
    if not isinstance(node, Range):
        return (node,)
    if is_open(node):
        return (node.low, node.high)
    every = (node.low + index * (node.step or 1) for index in range(len(node)))
    return tuple(every) if node.whole else tuple(float(value) for value in every)


def is_open(node: Any) -> bool:
    """Return whether a leaf may have any number of a range."""
    return isinstance(node, Range) and node.step is None and not node.whole


@dataclass(frozen=True)
class Kind:
    """A stage's structure: width, repeats and stride aside.

    Attributes:
        any_expand: the range in which expand may be any number, or None.
    """

    operator: str
    options: Options
    divisor: int
    any_expand: Range | None = None

    @cached_property
    def own(self) -> int:
        """What its operator needs of the widths that it gives."""
        return OPERATORS[self.operator].multiple(dict(self.options))

    @cached_property
    def needed(self) -> int:
        """What its operator needs of the widths that come in, unless it keeps them."""
        return OPERATORS[self.operator].input_multiple(dict(self.options))

    @cached_property
    def grid(self) -> int:
        """What scaled or raised widths are a multiple of."""
        return lcm(self.divisor, self.own)

    @property
    def widens(self) -> bool:
        """Whether a first block must give more channels than come in."""
        return OPERATORS[self.operator].widens

    def variants(self, widths: Numbers) -> list[Kind]:
        """Return kinds among which is the best for every pair of these widths.

        Cost rises with expand, but for the steps below SURELY_EXPANDED. So both ends count, and both sides of
        each step.
        """
        if self.any_expand is None:
            return [self]
        low, high = self.any_expand.low, self.any_expand.high
        below = set(widths.tolist()) if low < SURELY_EXPANDED else ()
        steps = {number for width in below for number in _around_step(width)}
        found = {low, high} | {number for number in steps if low < number < high}
        return [Kind(self.operator, _changed(self.options, number), self.divisor) for number in sorted(found)]

    def keeping(self, width: Numbers, sides: Sides) -> Numbers:
        """Return (measure, n) costs of blocks that keep the width."""
        return self._cost(width, width, 1, sides)

    def first(self, width: Numbers, channels: Numbers, stride: int, sides: Sides) -> Numbers:
        """Return (measure, n) costs of first blocks from one width to another."""
        keeps = (width == channels) & (stride == 1)
        found = np.empty((len(MEASURES), len(width)), dtype=np.int64)
        found[:, keeps] = self.keeping(width[keeps], sides)
        found[:, ~keeps] = self._cost(width[~keeps], channels[~keeps], stride, sides)
        return found

    def _cost(self, width: Numbers, channels: Numbers, stride: int, sides: Sides) -> Numbers:
        if len(width) > FEW:
            return _block_costs(self, width, channels, stride, sides)
        return _known_costs(self, width.tobytes(), channels.tobytes(), stride, sides)


@lru_cache(maxsize=20_000)
def _known_costs(kind: Kind, width: bytes, channels: bytes, stride: int, sides: Sides) -> Numbers:
    # The rows of a stage table, and the joint values of its ties, ask for the same small arrays.
    return _block_costs(
        kind, np.frombuffer(width, np.int64), np.frombuffer(channels, np.int64), stride, sides
    )


def _block_costs(kind: Kind, width: Numbers, channels: Numbers, stride: int, sides: Sides) -> Numbers:
    block: Any = Block(kind.operator, width, channels, stride, kind.options)  # type: ignore[arg-type]
    try:
        return costs(block.layer(), width, sides)
    except MixedError:  # a rule that asks whether two widths are equal gets one width at a time
        found = np.empty((len(MEASURES), len(width)), dtype=np.int64)
        for one in np.unique(width):
            rows = width == one
            found[:, rows] = _block_costs(kind, width[rows], channels[rows], stride, sides)
        return found


def costs(layer: Layer, width: Numbers, sides: Sides) -> Numbers:
    """Return (measure, n): what a layer of arrays of widths costs."""
    cost = layer.cost(Shape(width, sides))  # type: ignore[arg-type]
    return np.stack([np.broadcast_to(getattr(cost, name), width.shape) for name in MEASURES])


def _around_step(width: int) -> tuple[float, float]:
    step = 1 + 0.5 / width
    while expanded(width, step) == width:
        step = nextafter(step, inf)
    while expanded(width, below := nextafter(step, 0)) > width:
        step = below
    return below, step


def _changed(options: Options, expand: float) -> Options:
    return tuple((name, expand if name == "expand" else value) for name, value in options)


@lru_cache(maxsize=10_000)
def fits(kind: Kind, stride: int, sides: Sides) -> bool:
    """Return whether blocks fit sides: pooling in video does not fit an odd number of frames."""
    width = 8 * kind.own
    try:
        Block(kind.operator, width, 2 * width, stride, kind.options).layer().out(Shape(width, sides))
    except ValueError:
        return False
    return True
