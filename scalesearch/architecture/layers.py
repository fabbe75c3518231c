"""The layer kinds: each states its shape rule and its cost rule, side by side.

A network is an immutable tree of these layers. Its cost is a fold over the tree, its torch module
another, the table of `show` a third: nothing about a block is written twice.

FLOPs here are multiply-accumulates (MACs) of convolutions and linear layers at batch 1, as the papers
of this field count them; `torch.utils.flop_counter` counts two per multiply-accumulate. Squeeze-and-
excitation, stem, head and classifier are included; bias additions, batch norm, activation functions,
pooling, residual additions, concatenation and shuffling are not. Padded positions count.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple, Protocol

from scalesearch.architecture.rounding import anywhere, same

ACTIVATIONS = ("relu", "relu6", "silu", "hardswish", "sigmoid", "hardsigmoid")


class Shape(NamedTuple):
    """A feature map without its batch axis: channels, then 2 or 3 spatial sizes in pixels."""

    channels: int
    size: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a forward pass of one image takes.

    Attributes:
        flops: multiply-accumulates of convolutions and linear layers.
        params: trainable parameters.
        activations: output elements of all convolutions (Dollar et al. 2021, section 3.2).
    """

    flops: int = 0
    params: int = 0
    activations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops, self.params + other.params, self.activations + other.activations
        )

    def times(self, count: int) -> Cost:
        """Return what so many equal parts take."""
        return Cost(self.flops * count, self.params * count, self.activations * count)


class Layer(Protocol):
    """What every layer kind answers for an input of shape `x`."""

    def out(self, x: Shape) -> Shape:
        """Return the output's shape; raises ValueError where `x` does not fit."""
        ...

    def cost(self, x: Shape) -> Cost:
        """Return the layer's cost on `x`."""
        ...


def per_dimension(value: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    """Spell an int or a tuple out as one number per spatial dimension."""
    return value if isinstance(value, tuple) else (value,) * dims


def padding(kernel: int | tuple[int, ...], dims: int) -> tuple[int, ...]:
    """Return the symmetric padding (k - 1) // 2 of each dimension."""
    return tuple((k - 1) // 2 for k in per_dimension(kernel, dims))


def window(
    size: tuple[int, ...], kernel: int | tuple[int, ...], stride: int | tuple[int, ...]
) -> tuple[int, ...]:
    """Slide a window with symmetric padding: (n + 2p - k) // s + 1, which is ceil(n / s) for odd k."""
    if kernel == 1 == stride:  # what most layers are
        return size
    dims = len(size)
    sides = zip(
        size, per_dimension(kernel, dims), per_dimension(stride, dims), padding(kernel, dims), strict=True
    )
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sides)


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution in 2 or 3 dimensions with symmetric padding."""

    channels: int
    kernel: int | tuple[int, ...] = 1
    stride: int | tuple[int, ...] = 1
    groups: int = 1
    bias: bool = False

    def out(self, x: Shape) -> Shape:
        for what, channels in (("input", x.channels), ("output", self.channels)):
            if channels is not self.groups and anywhere(channels % self.groups != 0):
                raise ValueError(
                    f"the groups of a convolution must divide its {what} channels, "
                    f"but groups={self.groups} and {what} channels={channels}"
                )
        return Shape(self.channels, window(x.size, self.kernel, self.stride))

    def cost(self, x: Shape) -> Cost:
        y = self.out(x)
        # Depthwise: no division, which would be the dearest operation on an array of widths.
        fan = 1 if x.channels is self.groups else x.channels // self.groups
        weights = y.channels * fan * prod(per_dimension(self.kernel, len(x.size)))
        positions = prod(y.size)
        bias = y.channels if self.bias else 0
        return Cost(weights * positions, weights + bias, y.channels * positions)


@dataclass(frozen=True, slots=True)
class Linear:
    """A fully connected layer with bias on a feature map that has been pooled to one position."""

    channels: int

    def out(self, x: Shape) -> Shape:
        if x.size:
            raise ValueError(f"a linear layer needs pooled input, but its input has positions {x.size}")
        return Shape(self.channels, ())

    def cost(self, x: Shape) -> Cost:
        weights = self.out(x).channels * x.channels
        return Cost(weights, weights + self.channels, 0)


@dataclass(frozen=True, slots=True)
class Norm:
    """Batch norm; epsilon and momentum are the network's."""

    def out(self, x: Shape) -> Shape:
        return x

    def cost(self, x: Shape) -> Cost:
        return Cost(0, 2 * x.channels, 0)


class _Free:
    """A layer without cost that keeps the shape."""

    __slots__ = ()

    def out(self, x: Shape) -> Shape:
        return x

    def cost(self, x: Shape) -> Cost:
        return Cost()


@dataclass(frozen=True, slots=True)
class Act(_Free):
    """An elementwise activation function, one of ACTIVATIONS."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ValueError(
                f"an activation function is one of {', '.join(ACTIVATIONS)}, but got {self.name!r}"
            )


@dataclass(frozen=True, slots=True)
class Dropout(_Free):
    """Dropout of single elements while training."""

    rate: float


@dataclass(frozen=True, slots=True)
class Shuffle(_Free):
    """Channel shuffle: (groups, channels / groups) transposed (Zhang et al. 2018, section 3.1)."""

    groups: int

    def out(self, x: Shape) -> Shape:
        if anywhere(x.channels % self.groups != 0):
            raise ValueError(
                f"the groups of a channel shuffle must divide its channels, "
                f"but groups={self.groups} and channels={x.channels}"
            )
        return x


@dataclass(frozen=True, slots=True)
class Pool:
    """Max or average pooling over windows with symmetric padding (padding counts in the average).

    `frames`, where given, is the window's length over the time of a video. An even length has no symmetric
    padding, so the number of frames must then divide by it.
    """

    kind: str
    kernel: int = 3
    stride: int = 2
    frames: int | None = None

    def windows(self, dims: int) -> tuple[int, ...]:
        """Return the window's size in each dimension."""
        sides = (self.kernel,) * dims
        return sides if dims == 2 or self.frames is None else (self.frames, *sides[1:])

    def out(self, x: Shape) -> Shape:
        windows = self.windows(len(x.size))
        if windows[0] % 2 == 0 and anywhere(x.size[0] % windows[0] != 0):
            raise ValueError(
                f"average pooling over {windows[0]} frames needs a number of frames that it divides, "
                f"but got {x.size[0]}"
            )
        return Shape(x.channels, window(x.size, windows, self.stride))

    def cost(self, x: Shape) -> Cost:
        return Cost()


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """The mean over all positions: one number a channel, kept as 1x1 maps where `keep` is set."""

    keep: bool = False

    def out(self, x: Shape) -> Shape:
        return Shape(x.channels, (1,) * len(x.size) if self.keep else ())

    def cost(self, x: Shape) -> Cost:
        return Cost()


@dataclass(frozen=True, slots=True)
class Sequence:
    """Named layers one after the other; an empty sequence is the identity."""

    layers: tuple[tuple[str, Layer], ...] = ()

    def out(self, x: Shape) -> Shape:
        for _, layer in self.layers:
            x = layer.out(x)
        return x

    def cost(self, x: Shape) -> Cost:
        total = Cost()
        for _, layer in self.layers:
            total += layer.cost(x)
            x = layer.out(x)
        return total


@dataclass(frozen=True, slots=True)
class Residual:
    """Adds the input to the body's output wherever the body keeps the shape (stride 1, equal channels).

    `drop` is the rate of stochastic depth: while training, each sample loses the body's output with that
    probability and the survivors are scaled by 1 / (1 - drop) (Huang et al. 2016, equation 5).
    """

    body: Layer
    drop: float = 0.0

    def out(self, x: Shape) -> Shape:
        return self.body.out(x)

    def cost(self, x: Shape) -> Cost:
        return self.body.cost(x)


@dataclass(frozen=True, slots=True)
class Gate:
    """Multiplies the input, channel by channel, by the body's output of one number a channel."""

    body: Layer

    def out(self, x: Shape) -> Shape:
        gate = self.body.out(x)
        if not same(gate.channels, x.channels):
            raise ValueError(
                f"a gate needs a factor for each of the {x.channels} channels, but has {gate.channels}"
            )
        return x

    def cost(self, x: Shape) -> Cost:
        return self.body.cost(x)


@dataclass(frozen=True, slots=True)
class Concat:
    """Runs branches beside each other and concatenates their channels.

    Each branch sees the whole input, or with `split` its own equal share of the channels.
    """

    branches: tuple[Layer, ...]
    split: bool = False

    def share(self, x: Shape) -> Shape:
        """Return what one branch sees of `x`."""
        if not self.split:
            return x
        if anywhere(x.channels % len(self.branches) != 0):
            raise ValueError(
                f"a split into {len(self.branches)} needs channels that it divides, but got {x.channels}"
            )
        return Shape(x.channels // len(self.branches), x.size)

    def out(self, x: Shape) -> Shape:
        outs = [branch.out(self.share(x)) for branch in self.branches]
        sizes = [y.size for y in outs]
        if not all(same(one, other) for size in sizes for one, other in zip(sizes[0], size, strict=True)):
            raise ValueError(f"branches must end with equal sizes, but end with {sizes}")
        return Shape(sum(y.channels for y in outs), outs[0].size)

    def cost(self, x: Shape) -> Cost:
        return sum((branch.cost(self.share(x)) for branch in self.branches), Cost())


def conv_unit(
    channels: int,
    kernel: int | tuple[int, ...] = 1,
    stride: int | tuple[int, ...] = 1,
    groups: int = 1,
    act: str | None = None,
) -> Sequence:
    """Return convolution, batch norm and, unless `act` is None, an activation function."""
    layers: tuple[tuple[str, Layer], ...] = (
        ("conv", Conv(channels, kernel, stride, groups)),
        ("norm", Norm()),
    )
    return Sequence((*layers, ("act", Act(act))) if act else layers)
