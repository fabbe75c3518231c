"""What a network sees and what separating its convolutions saves: two more folds over the layer tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from scalesearch.architecture.layers import (
    Concat,
    Conv,
    Layer,
    Pool,
    Residual,
    Sequence,
    Shape,
    per_dimension,
)


class Field(NamedTuple):
    """The receptive field of one position of a feature map, per dimension of the input.

    Attributes:
        size: extent in pixels (or frames). jump: distance in pixels between neighbouring positions.
    """

    size: tuple[int, ...]
    jump: tuple[int, ...]

    @classmethod
    def of_input(cls, dims: int) -> Field:
        """Return the field of an input's own positions."""
        return cls((1,) * dims, (1,) * dims)

    def through(self, kernel: int | tuple[int, ...], stride: int | tuple[int, ...]) -> Field:
        """Return the field behind a window: r + (k - 1) * j and j * s (Araujo et al. 2019, equation 2)."""
        dims = len(self.size)
        kernels, strides = per_dimension(kernel, dims), per_dimension(stride, dims)
        size = tuple(r + (k - 1) * j for r, k, j in zip(self.size, kernels, self.jump, strict=True))
        return Field(size, tuple(j * s for j, s in zip(self.jump, strides, strict=True)))


def receptive_field(layer: Layer, before: Field) -> Field:
    """Return the receptive field behind `layer`, along its longest path.

    The mean over all positions, in squeeze-and-excitation and in the head, is left out: it sees the whole
    input whatever comes before. The field may exceed the input's size.
    """
    match layer:
        case Sequence(layers=named):
            for _, part in named:
                before = receptive_field(part, before)
            return before
        case Residual(body=body):
            return receptive_field(body, before)
        case Concat(branches=branches):
            fields = [receptive_field(branch, before) for branch in branches]
            longest = tuple(max(sizes) for sizes in zip(*(field.size for field in fields), strict=True))
            return Field(longest, fields[0].jump)
        case Conv(kernel=kernel, stride=stride):
            return before.through(kernel, stride)
        case Pool(stride=stride):
            return before.through(layer.windows(len(before.size)), stride)
    return before


@dataclass(frozen=True, slots=True)
class Separation:
    """Multiply-accumulates as they are, and with full convolutions in place of depthwise pairs."""

    flops: int = 0
    full: int = 0
    pairs: int = 0

    def __add__(self, other: Separation) -> Separation:
        return Separation(self.flops + other.flops, self.full + other.full, self.pairs + other.pairs)

    @property
    def saving(self) -> float | None:
        """Cost over that of full convolutions; None where nothing is separated."""
        return self.flops / self.full if self.pairs else None


def separation(layer: Layer, x: Shape) -> Separation:
    """Compare `layer` on `x` with itself without separated convolutions.

    Each depthwise k x k convolution from C channels and the pointwise convolution to Co that follows it are
    replaced by one full k x k convolution from C to Co with the depthwise one's stride and the pointwise
    one's groups. All else stays on both sides: the expansion of an inverted residual block (so C is its
    *expanded* width), squeeze-and-excitation, other convolutions and linear layers. For a plain pair the
    saving is 1/Co + 1/k^2 (Howard et al. 2017, section 3.1), and 1/Co + 1/k^3 for video.
    """
    total, held, volume = Separation(), 0, 0  # held: a depthwise convolution that waits for its pair
    for part, shape in _chain(layer, x):
        flops = part.cost(shape).flops
        if isinstance(part, Concat):
            total += sum((separation(branch, part.share(shape)) for branch in part.branches), Separation())
        elif not isinstance(part, Conv):
            total += Separation(flops, flops)
        elif held and _pointwise(part, shape):
            total += Separation(held + flops, flops * volume, 1)
            held = 0
        else:
            total += Separation(held, held)
            held, volume = (flops if _depthwise(part, shape) else 0), _volume(part, shape)
            total += Separation(flops - held, flops - held)
    return total + Separation(held, held)


def _chain(layer: Layer, x: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Yield what a layer runs one after the other, with the shapes that go in."""
    if isinstance(layer, Residual):
        yield from _chain(layer.body, x)
    elif isinstance(layer, Sequence):
        for _, part in layer.layers:
            yield from _chain(part, x)
            x = part.out(x)
    else:
        yield layer, x


def _volume(conv: Conv, x: Shape) -> int:
    return prod(per_dimension(conv.kernel, len(x.size)))


def _pointwise(conv: Conv, x: Shape) -> bool:
    return _volume(conv, x) == 1 and prod(per_dimension(conv.stride, len(x.size))) == 1


def _depthwise(conv: Conv, x: Shape) -> bool:
    return conv.groups == x.channels == conv.channels > 1
