"""The network as calls of torch: what the exported file writes, one case a layer kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from scalesearch.architecture import layers as kinds
from scalesearch.architecture.layers import Layer, Shape, padding
from scalesearch.architecture.network import Network

CHANNELS = ("in_channels", "channels")  # the roles of leaves that are numbers of channels
ACT = "act"

_ACTIVATIONS = {
    "relu": "nn.ReLU",
    "relu6": "nn.ReLU6",
    "silu": "nn.SiLU",
    "hardswish": "nn.Hardswish",
    "sigmoid": "nn.Sigmoid",
    "hardsigmoid": "nn.Hardsigmoid",
}
_POOLS = {
    "max": ("nn.MaxPool2d", "nn.MaxPool3d"),
    "average": ("nn.AvgPool2d", "VideoAveragePool"),
}
_REQUIRED = object()


@dataclass(frozen=True)
class Name:
    """A name or an expression that is written as it stands."""

    text: str


@dataclass(frozen=True)
class Padding:
    """The symmetric padding of a kernel, so that a block with many kernels can state it as a formula."""

    kernel: int | tuple[int, ...]

    @property
    def value(self) -> int | tuple[int, ...]:
        """The padding: one number, or one a dimension where they differ."""
        return _short(padding(self.kernel, 1 if isinstance(self.kernel, int) else len(self.kernel)))


@dataclass(frozen=True)
class Drop:
    """The rate of stochastic depth of block `index` of `count`, as the network states it."""

    rate: float
    index: int
    count: int


@dataclass(frozen=True)
class Argument:
    """An argument of a call; one that equals its default is not written.

    `value` is a call, a tuple of calls, or a leaf: a number, a tuple of numbers, Name, Padding or Drop.
    """

    name: str
    value: Any
    default: Any = _REQUIRED
    keyword: bool = True

    @property
    def left_out(self) -> bool:
        """Whether the value is the one that the function takes by itself."""
        value = self.value.value if isinstance(self.value, Padding) else self.value
        return type(value) is type(self.default) and value == self.default


@dataclass(frozen=True)
class Call:
    """A call; the function is a Name where blocks of one shape may differ in it."""

    function: str | Name
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Leaf:
    """A place in a call where blocks of one shape may differ.

    Attributes:
        path: the names of the parts that it stands in. role: the name of its argument.
    """

    path: tuple[str, ...]
    role: str
    value: Any


NAMED = "named"  # the function whose arguments are named layers, and not settings


def mapped(node: Any, change: Callable[[Leaf], Any], path: tuple[str, ...] = (), role: str = "") -> Any:
    """Return the tree of calls with every leaf replaced by what `change` says, in the order of writing."""
    if isinstance(node, Call):
        function = node.function
        if isinstance(function, Name):
            function = change(Leaf(path, ACT, function))
        return Call(function, tuple(_mapped_argument(node, a, change, path) for a in node.arguments))
    if isinstance(node, tuple) and all(isinstance(part, Call) for part in node):
        return tuple(mapped(part, change, path) for part in node)
    return change(Leaf(path, role, node))


def _mapped_argument(
    call: Call, argument: Argument, change: Callable[[Leaf], Any], path: tuple[str, ...]
) -> Argument:
    path = (*path, argument.name) if call.function == NAMED else path
    return replace(argument, value=mapped(argument.value, change, path, argument.name))


def leaves(node: Any) -> list[Leaf]:
    """Return the leaves of a tree of calls in the order of writing."""
    found: list[Leaf] = []
    mapped(node, found.append)
    return found


def _short(value: int | tuple[int, ...]) -> int | tuple[int, ...]:
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _first(name: str, value: Any) -> Argument:
    return Argument(name, value, keyword=False)


class Writer:
    """Turns layers into calls; knows what is the same for the whole network."""

    def __init__(self, network: Network) -> None:
        self.dims = network.dims
        self.eps, self.momentum = network.norm_eps, network.norm_momentum
        self.drop_path, self.blocks = network.drop_path, network.blocks

    def call(self, layer: Layer, x: Shape) -> Call:
        """Return the call that makes `layer` for an input of shape `x`; an unknown kind raises TypeError."""
        match layer:
            case kinds.Sequence():
                return Call(NAMED, tuple(self._parts(layer, x)))
            case kinds.Conv():
                return self._conv(layer, x)
            case kinds.Norm():
                return self._norm(x)
            case kinds.Act(name=name):
                return Call(Name(_ACTIVATIONS[name]))
            case kinds.Residual(body=body, drop=drop):
                inner = self.call(body, x)
                kept = body.out(x) == x
                return Call("Residual", (_first("body", inner), self._drop(drop))) if kept else inner
            case kinds.Gate(body=body):
                return Call("Gate", (_first("body", self.call(body, x)),))
            case kinds.Concat(branches=branches, split=split):
                each = tuple(self.call(branch, layer.share(x)) for branch in branches)
                return Call("Concat", (_first("branches", each), Argument("split", split)))
            case kinds.Shuffle(groups=groups):
                return Call("Shuffle", (_first("groups", groups),))
            case kinds.Pool():
                return self._pool(layer)
            case kinds.GlobalPool(keep=keep):
                return Call("GlobalPool", (Argument("keep", keep),))
            case kinds.Dropout(rate=rate):
                return Call("nn.Dropout", (_first("rate", rate),))
            case kinds.Linear(channels=channels):
                return Call("nn.Linear", (_first("in_channels", x.channels), _first("channels", channels)))
        raise TypeError(f"no source for the layer kind {type(layer).__name__}")

    def _parts(self, sequence: kinds.Sequence, x: Shape) -> Iterator[Argument]:
        for name, layer in sequence.layers:
            yield Argument(name, self.call(layer, x))
            x = layer.out(x)

    def _norm(self, x: Shape) -> Call:
        eps, momentum = Argument("eps", self.eps, 1e-5), Argument("momentum", self.momentum, 0.1)
        return Call(f"nn.BatchNorm{self.dims}d", (_first("channels", x.channels), eps, momentum))

    def _conv(self, layer: kinds.Conv, x: Shape) -> Call:
        layer.out(x)  # raises where groups do not divide
        kernel = _short(layer.kernel)
        settings = (
            _first("in_channels", x.channels),
            _first("channels", layer.channels),
            _first("kernel", kernel),
            Argument("stride", _short(layer.stride), 1),
            Argument("padding", Padding(kernel), 0),
            Argument("groups", layer.groups, 1),
            Argument("bias", layer.bias, True),
        )
        return Call(f"nn.Conv{self.dims}d", settings)

    def _pool(self, layer: kinds.Pool) -> Call:
        kernel = _short(layer.windows(self.dims))
        settings = (
            _first("kernel", kernel),
            Argument("stride", layer.stride),
            Argument("padding", Padding(kernel), 0),
        )
        return Call(_POOLS[layer.kind][self.dims - 2], settings)

    def _drop(self, drop: float) -> Argument:
        index = round(drop * self.blocks / self.drop_path) if self.drop_path else 0
        stated = bool(self.drop_path) and self.drop_path * index / self.blocks == drop
        return Argument("drop", Drop(self.drop_path, index, self.blocks) if stated else drop)
