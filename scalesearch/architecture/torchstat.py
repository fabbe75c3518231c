"""The four figures of the tool torchstat (0.0.7), by its definitions, as folds over the layer tree.

They are given because many published tables quote them, and they are not this project's own: torchstat's
"Flops" are multiply-accumulates plus two for each input of a batch norm, and its memory depends on how a
network is cut into modules. Only leaf modules count; additions, multiplications, concatenation, channel
shuffle and the mean inside squeeze-and-excitation are functions and count nothing.

Memory is that of the plain module tree: convolution, batch norm and activation in each unit, an Identity
where a unit has no activation; reduce, activation, expand and gate in squeeze-and-excitation; DropPath in
residual blocks whose rate is above 0; pool, flatten, dropout and linear layers in the head. Trees cut
otherwise have the same other three figures and another memory: torchvision's EfficientNetV2-S has
140.82 MB where the plain tree has 144.98 MB.

torchstat itself refuses video; there the same definitions are taken over three dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from math import prod

from scalesearch.architecture.layers import (
    Act,
    Concat,
    Conv,
    Dropout,
    Gate,
    GlobalPool,
    Layer,
    Linear,
    Norm,
    Pool,
    Residual,
    Sequence,
    Shape,
    Shuffle,
)

BYTES = 4  # an element in float32
_COUNTED_ACTIVATIONS = ("relu", "relu6")  # torchstat counts nothing for the others but their output


@dataclass(frozen=True, slots=True)
class Torchstat:
    """torchstat's figures of a forward pass of one input in float32.

    Attributes:
        madd: "MAdd", multiplications and additions counted apart.
        flops: "Flops", multiply-accumulates plus batch norm, ReLU, pooling inputs and convolution biases.
        elements: output elements of all leaf modules.
        read_write: "MemR+W" in elements: inputs, parameters and outputs of the supported modules.
    """

    madd: int = 0
    flops: int = 0
    elements: int = 0
    read_write: int = 0

    def __add__(self, other: Torchstat) -> Torchstat:
        return Torchstat(
            self.madd + other.madd,
            self.flops + other.flops,
            self.elements + other.elements,
            self.read_write + other.read_write,
        )

    @property
    def memory_mb(self) -> float:
        """Total memory: outputs of all leaf modules in MiB, which torchstat prints as MB."""
        return self.elements * BYTES / 2**20

    @property
    def memory_read_write(self) -> int:
        """MemR+W in bytes."""
        return self.read_write * BYTES


def torchstat(layer: Layer, x: Shape) -> Torchstat:
    """Return torchstat's figures of `layer` on an input of shape `x`; TypeError for an unknown kind."""
    match layer:
        case Sequence():
            return _sequence(layer, x)
        case Residual(body=body, drop=drop):
            drops = drop and body.out(x) == x
            return torchstat(body, x) + (_output_alone(x) if drops else Torchstat())
        case Gate(body=body):
            return torchstat(body, x)
        case Concat(branches=branches):
            return sum((torchstat(branch, layer.share(x)) for branch in branches), Torchstat())
        case Conv():
            return _conv(layer, x)
        case Linear():
            return _linear(layer, x)
        case Norm():
            n = _elements(x)
            return Torchstat(4 * n, 2 * n, n, 2 * n + 2 * x.channels)
        case Act(name=name):
            n = _elements(x)
            return Torchstat(n, n, n, 2 * n) if name in _COUNTED_ACTIVATIONS else _output_alone(x)
        case Pool():
            return _pool(layer, x)
        case GlobalPool(keep=keep):
            return Torchstat() if keep else Torchstat(elements=2 * x.channels)  # pool and flatten
        case Dropout():
            return _output_alone(x)
        case Shuffle():
            return Torchstat()
    raise TypeError(f"torchstat has no figures for the layer kind {type(layer).__name__}")


def _elements(x: Shape) -> int:
    return x.channels * prod(x.size)


def _output_alone(x: Shape) -> Torchstat:
    return Torchstat(elements=_elements(x))


def _sequence(layer: Sequence, x: Shape) -> Torchstat:
    total = Torchstat()
    parts = [part for _, part in layer.layers]
    for part, after in zip_longest(parts, parts[1:]):
        total += torchstat(part, x)
        x = part.out(x)
        if isinstance(part, Norm) and not isinstance(after, Act):
            total += _output_alone(x)  # the plain tree has an Identity in place of the activation
    return total


def _conv(layer: Conv, x: Shape) -> Torchstat:
    cost, out = layer.cost(x), _elements(layer.out(x))
    bias = out if layer.bias else 0
    return Torchstat(2 * cost.flops - out + bias, cost.flops + bias, out, _elements(x) + cost.params + out)


def _linear(layer: Linear, x: Shape) -> Torchstat:
    cost, out = layer.cost(x), layer.channels
    return Torchstat(2 * cost.flops - out, cost.flops, out, x.channels + cost.params + out)


def _pool(layer: Pool, x: Shape) -> Torchstat:
    read, out = _elements(x), _elements(layer.out(x))
    window = prod(layer.windows(len(x.size)))
    return Torchstat((window - (layer.kind == "max")) * out, read, out, read + out)
