"""A network: stem, stages and head; its layers, its cost, and its table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from math import inf, lcm
from typing import Any, NamedTuple

from scalesearch.architecture.layers import (
    Act,
    Cost,
    Dropout,
    GlobalPool,
    Layer,
    Linear,
    Pool,
    Sequence,
    Shape,
    conv_unit,
)
from scalesearch.architecture.operators import OPERATORS

Options = tuple[tuple[str, Any], ...]


def _at_least(minimum: int, **values: Any) -> None:
    for name, value in values.items():
        for number in value if isinstance(value, tuple) else (value,):
            if not isinstance(number, int) or number < minimum:
                raise ValueError(f"{name} must be a whole number of at least {minimum}, but got {value!r}")


def _odd(**values: Any) -> None:
    for name, value in values.items():
        _at_least(1, **{name: value})
        if value % 2 == 0:
            raise ValueError(f"{name} must be odd, so that padding is symmetric, but got {value}")


def _share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), but got {value}")


@dataclass(frozen=True)
class Stem:
    """The first convolution, optionally followed by 3x3 max pooling with stride 2."""

    channels: int
    kernel: int = 3
    stride: int | tuple[int, ...] = 2
    act: str = "silu"
    pool: bool = False
    divisor: int = field(default=8, compare=False)

    def __post_init__(self) -> None:
        _at_least(1, channels=self.channels, stride=self.stride, divisor=self.divisor)
        _odd(kernel=self.kernel)
        Act(self.act)

    def layer(self, channels: Any = None) -> Layer:
        """Return the stem's layers, with its own channels or others (an array of them for a batch)."""
        channels = self.channels if channels is None else channels
        unit = conv_unit(channels, self.kernel, self.stride, act=self.act)
        return Sequence((*unit.layers, ("pool", Pool("max")))) if self.pool else unit


@dataclass(frozen=True)
class Stage:
    """Blocks of one operator: the first takes the stride and the change of width, the rest keep both.

    `options` are keyword arguments of the operator; left-out ones take the operator's defaults. `divisor`
    is what scaling rounds the channels to (EfficientNet's depth divisor); the operator's own requirement
    is added to it.
    """

    operator: str
    channels: int
    repeats: int
    stride: int = 1
    options: Options = ()
    divisor: int = field(default=8, compare=False)

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"an operator is one of {', '.join(OPERATORS)}, but got {self.operator!r}")
        _at_least(1, channels=self.channels, repeats=self.repeats, stride=self.stride, divisor=self.divisor)
        object.__setattr__(self, "options", self._complete_options())

    def _complete_options(self) -> Options:
        defaults = OPERATORS[self.operator].options
        given = dict(self.options)
        unknown = [name for name in given if name not in defaults]
        if unknown:
            raise ValueError(f"{self.operator} takes no {unknown}; it takes {sorted(defaults)}")
        options = defaults | given
        _odd(kernel=options["kernel"])
        if "act" in options:
            Act(options["act"])
        if not 1 <= options.get("expand", 1) < inf:
            raise ValueError(f"expand must be at least 1, but got {options['expand']}")
        _share(se=options.get("se", 0))
        _at_least(1, groups=options.get("groups", 1))
        return tuple(sorted(options.items()))

    def sized(self, channels: int, repeats: int) -> Stage:
        """Return the stage with another size; its options are right already."""
        _at_least(1, channels=channels, repeats=repeats)
        found = object.__new__(Stage)
        vars(found).update(vars(self), channels=channels, repeats=repeats)
        return found

    @property
    def multiple(self) -> int:
        """What scaled channels are rounded to a multiple of."""
        return lcm(self.divisor, OPERATORS[self.operator].multiple(dict(self.options)))

    def distinct_blocks(self, in_channels: int) -> Iterator[tuple[Block, int]]:
        """Yield the first block and the one that the others equal, each with how often it stands.

        All blocks but the first keep their input's shape.
        """
        yield Block(self.operator, in_channels, self.channels, self.stride, self.options), 1
        if self.repeats > 1:
            yield Block(self.operator, self.channels, self.channels, 1, self.options), self.repeats - 1

    def blocks(self, in_channels: int) -> Iterator[Block]:
        """Yield the stage's blocks for an input of `in_channels` channels."""
        for block, count in self.distinct_blocks(in_channels):
            yield from repeat(block, count)


class Block(NamedTuple):
    """One block of a stage: an operator with everything that it needs to know."""

    operator: str
    in_channels: int
    channels: int
    stride: int
    options: Options

    def layer(self, drop: float = 0.0) -> Layer:
        """Return the block's layers; `drop` is its rate of stochastic depth, where it has a shortcut."""
        operator = OPERATORS[self.operator]
        options = dict(self.options)
        if operator.takes_drop:
            options["drop"] = drop
        return operator.block(self.in_channels, self.channels, self.stride, **options)


# A fit asks for the same few hundred parts over and over; more room finds no more of them again.
@lru_cache(maxsize=5_000)
def _counted(part: Stem | Block | Head, classes: int, x: Shape) -> tuple[Shape, Cost]:
    """Return what comes out of a part and what it costs; `classes` are of a head."""
    layer = part.layer(classes) if isinstance(part, Head) else part.layer()
    return layer.out(x), layer.cost(x)


@dataclass(frozen=True)
class Head:
    """Optional 1x1 convolution, global pooling, optional hidden layer, dropout, classifier."""

    channels: int | None = 1280
    act: str = "silu"
    hidden: int | None = None
    dropout: float = 0.0
    divisor: int = field(default=8, compare=False)

    def __post_init__(self) -> None:
        _at_least(1, divisor=self.divisor)
        for name in ("channels", "hidden"):
            if getattr(self, name) is not None:
                _at_least(1, **{name: getattr(self, name)})
        _share(dropout=self.dropout)
        Act(self.act)

    def layer(self, classes: int, channels: Any = None) -> Layer:
        """Return the head's layers for a number of classes, with its own channels or others (an array)."""
        channels = self.channels if channels is None else channels
        widen = () if channels is None else conv_unit(channels, act=self.act).layers
        hidden: tuple[tuple[str, Layer], ...] = ()
        if self.hidden:
            hidden = (("hidden", Linear(self.hidden)), ("hidden_act", Act(self.act)))
        dropout = (("dropout", Dropout(self.dropout)),) if self.dropout else ()
        return Sequence((*widen, ("pool", GlobalPool()), *hidden, *dropout, ("classifier", Linear(classes))))


class Row(NamedTuple):
    """One line of the table of `show`: a part of the network and its cost."""

    stage: str
    operator: str
    repeats: int
    stride: int | tuple[int, ...]
    kernel: int
    expand: float | None
    se: float | None
    in_channels: int
    channels: int
    out_size: tuple[int, ...]
    params: int
    flops: int
    activations: int


@dataclass(frozen=True)
class Network:
    """A network as data; equal networks compute the same function, whatever they are called.

    Attributes:
        resolution: input size in pixels, one number for all sides or one for each dimension.
        dims: 2 for images, 3 for video (the first spatial dimension is time).
        drop_path: stochastic depth: block i of L has the rate drop_path * i / L, i from 0.
        norm_eps, norm_momentum: of every batch norm, in torch's convention.
    """

    name: str = field(compare=False)
    resolution: int | tuple[int, ...]
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    classes: int = 1000
    in_channels: int = 3
    dims: int = 2
    drop_path: float = 0.0
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        _at_least(1, resolution=self.resolution, classes=self.classes, in_channels=self.in_channels)
        if self.dims not in (2, 3):
            raise ValueError(f"dims must be 2 (images) or 3 (video), but got {self.dims}")
        if not self.stages:
            raise ValueError("a network needs at least one stage, but got none")
        _share(drop_path=self.drop_path)

    @property
    def input(self) -> Shape:
        """The shape of one input."""
        size = self.resolution if isinstance(self.resolution, tuple) else (self.resolution,) * self.dims
        if len(size) != self.dims:
            raise ValueError(f"resolution needs {self.dims} numbers, one a dimension, but got {size}")
        return Shape(self.in_channels, size)

    @property
    def blocks(self) -> int:
        """The number of blocks over all stages."""
        return sum(stage.repeats for stage in self.stages)

    def layers(self) -> Sequence:
        """Return the whole network as one tree: stem, stages s1, s2, ... of blocks b0, b1, ..., head."""
        index = 0
        stages: list[tuple[str, Layer]] = []
        in_channels = self.stem.channels
        for number, stage in enumerate(self.stages, 1):
            blocks: list[tuple[str, Layer]] = []
            for position, block in enumerate(stage.blocks(in_channels)):
                blocks.append((f"b{position}", block.layer(self.drop_path * index / self.blocks)))
                index += 1
            stages.append((f"s{number}", Sequence(tuple(blocks))))
            in_channels = stage.channels
        return Sequence((("stem", self.stem.layer()), *stages, ("head", self.head.layer(self.classes))))

    def parts(self) -> Iterator[tuple[Stem | Stage | Head, Shape, Shape, Cost]]:
        """Yield stem, stages and head, each with the shapes that go in and come out and its cost."""
        entry = self.input
        x, cost = _counted(self.stem, 0, entry)
        yield self.stem, entry, x, cost
        for stage in self.stages:
            entry, cost = x, Cost()
            for block, count in stage.distinct_blocks(x.channels):
                x, block_cost = _counted(block, 0, x)
                cost += block_cost.times(count)
            yield stage, entry, x, cost
        yield self.head, x, *_counted(self.head, self.classes, x)

    def cost(self) -> Cost:
        """Return FLOPs (multiply-accumulates), parameters and activations for one input."""
        return sum((cost for *_, cost in self.parts()), Cost())

    def rows(self) -> list[Row]:
        """Return the table of `show`: one row for the stem, each stage and the head."""
        rows = []
        for number, (part, x, y, cost) in enumerate(self.parts()):
            label = {Stem: "stem", Head: "head"}.get(type(part), str(number))
            rows.append(_row(label, part, x, y, cost))
        return rows


def _row(label: str, part: Stem | Stage | Head, x: Shape, y: Shape, cost: Cost) -> Row:
    options = dict(part.options) if isinstance(part, Stage) else {}
    operator = part.operator if isinstance(part, Stage) else "conv"
    return Row(
        stage=label,
        operator=operator,
        repeats=part.repeats if isinstance(part, Stage) else 1,
        stride=1 if isinstance(part, Head) else part.stride,
        kernel=part.kernel if isinstance(part, Stem) else options.get("kernel", 1),
        expand=options.get("expand"),
        se=options.get("se"),
        in_channels=x.channels,
        channels=(part.channels or x.channels) if isinstance(part, Head) else y.channels,
        out_size=y.size,
        params=cost.params,
        flops=cost.flops,
        activations=cost.activations,
    )
