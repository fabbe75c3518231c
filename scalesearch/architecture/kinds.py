"""What the parts of many networks can be, numbered, and the tables of what each costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.layers import Layer, conv_unit
from scalesearch.architecture.network import Block, Head, Options, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.polynomials import Numbers, Rule, Table, tabulate

FREE_OPTIONS = ("act",)  # options that change no cost


class Numbering(dict[Any, int]):
    """Numbers things in the order in which they are first asked for."""

    def __missing__(self, thing: Any) -> int:
        return self.setdefault(thing, len(self))


def stem_kind(stem: Stem) -> Stem:
    """Return a stem with everything that decides no cost, or has an array of its own, at one value."""
    return replace(stem, channels=1, act="relu")


def head_kind(head: Head) -> Head:
    """Return a head with everything that decides no cost, or has an array of its own, at one value."""
    return replace(head, channels=head.channels and 1, act="relu", dropout=0.0)


def stage_kind(stage: Stage) -> Stage:
    """Return a stage with everything that decides no cost, or has an array of its own, at one value."""
    return _stage_kind(stage.operator, stage.options, stage.divisor)


@lru_cache(maxsize=100_000)
def _stage_kind(operator: str, options: Options, divisor: int) -> Stage:
    deciding = tuple((name, value) for name, value in options if name not in FREE_OPTIONS)
    return Stage(operator, 1, 1, options=deciding, divisor=divisor)


@dataclass(frozen=True, eq=False)
class Kinds:
    """What the parts of a batch's networks can be; widths, repeats and strides aside.

    Attributes:
        strides: of stages, ascending, beginning with 1.
    """

    stems: tuple[Stem, ...]
    heads: tuple[Head, ...]
    stages: tuple[Stage, ...]
    strides: tuple[int, ...]
    classes: int
    in_channels: int
    dims: int

    def entries(self, kind: Numbers, stride: Numbers) -> tuple[Numbers, Numbers]:
        """Return the table entries of blocks that keep the width, and of those that do not."""
        index = np.zeros(max(self.strides) + 1, dtype=np.int64)
        index[list(self.strides)] = range(1, len(self.strides) + 1)
        keeps = kind * (len(self.strides) + 1) + 1
        return keeps, keeps + index.take(stride)

    @cached_property
    def own(self) -> Numbers:
        """By kind of stage, what its operator needs the widths to be a multiple of."""
        return _numbers(OPERATORS[k.operator].multiple(dict(k.options)) for k in self.stages)

    @cached_property
    def multiple(self) -> Numbers:
        """By kind of stage, what scaled widths are rounded to a multiple of."""
        return _numbers(kind.multiple for kind in self.stages)

    @cached_property
    def divides(self) -> Numbers:
        """By kind of stage, what the widths that come in must be a multiple of."""
        return _numbers(OPERATORS[k.operator].input_multiple(dict(k.options)) for k in self.stages)

    @cached_property
    def widens(self) -> NDArray[np.bool_]:
        """By kind of stage, whether a first block must give more channels than come in."""
        return np.array([OPERATORS[kind.operator].widens for kind in self.stages])

    @cached_property
    def _rules(self) -> list[Rule]:
        rules = []
        for kind in self.stages:
            operator, options = OPERATORS[kind.operator], dict(kind.options)
            unit, divides = operator.multiple(options), operator.input_multiple(options)
            rules.append(Rule(_block(kind, 1), 1, unit, unit, equal=True))
            rules += [Rule(_block(kind, stride), stride, unit, divides) for stride in self.strides]
        return rules

    def stage_table(self, step: int, columns: int) -> Table:
        """Return the costs of blocks."""
        return _tabulated(self, "_rules", step, columns)

    def coarser(self, table: Table) -> bool:
        """Return whether a table holds some blocks at fewer widths than their operators allow."""
        return bool((table.units[1:] != [rule.unit for rule in self._rules]).any())

    @cached_property
    def _stem_rules(self) -> list[Rule]:
        # The first convolution at its output's positions; pooling after it is free.
        return [Rule(_convolution(stem), 1) for stem in self.stems]

    def stem_table(self) -> Table:
        """Return the costs of stems at the positions of their convolution's output."""
        return _tabulated(self, "_stem_rules", self.in_channels, 2)

    @cached_property
    def _head_rules(self) -> list[Rule]:
        return [Rule(_head(head, self.classes), 1, equal=head.channels is None) for head in self.heads]

    def head_table(self, step: int, columns: int) -> Table:
        """Return the costs of heads."""
        return _tabulated(self, "_head_rules", step, columns)


def _numbers(values: Iterable[int]) -> Numbers:
    return np.array(list(values), dtype=np.int64)


def _block(kind: Stage, stride: int) -> Callable[[Any, Any], Layer]:
    def layer(first: Any, width: Any) -> Layer:
        return Block(kind.operator, first, width, stride, kind.options).layer()

    return layer


def _convolution(stem: Stem) -> Callable[[Any, Any], Layer]:
    def layer(_: Any, width: Any) -> Layer:
        return conv_unit(width, stem.kernel)

    return layer


def _head(head: Head, classes: int) -> Callable[[Any, Any], Layer]:
    def layer(_: Any, width: Any) -> Layer:
        return head.layer(classes, None if head.channels is None else width)

    return layer


@lru_cache(maxsize=1000)
def kinds_of(*parts: Any) -> Kinds:
    """Return the one Kinds of these attributes, so that its tables are made once."""
    return Kinds(*parts)


@lru_cache(maxsize=64)
def _tabulated(kinds: Kinds, rules: str, step: int, columns: int) -> Table:
    return tabulate(getattr(kinds, rules), kinds.dims, step, columns)
