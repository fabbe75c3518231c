"""Predicted latency: a linear model over what the layers of a network do, as plain data that NumPy evaluates.

The seconds of a forward pass are modelled as a sum over layers, as latency tables of blocks do (FBNet, Wu et
al. 2019, section 3.2). A layer's share is not looked up but linear in what it does: a call, multiply-
accumulates, elements read and written, weights. No coefficient is negative, so a network that does more of
everything is never predicted to be faster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from math import ceil, inf, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture import layers as kinds
from scalesearch.architecture.layers import Layer, Shape, per_dimension
from scalesearch.architecture.network import Block, Head, Network, Stem

LANES = 16  # float32 numbers in a vector of AVX-512; kernels round channels up to such multiples

_CONVOLUTIONS = ("pointwise", "dense", "grouped", "depthwise")
_TRANSCENDENTAL = ("silu", "sigmoid")
_PASSES = ("norm", "clamp", "exponential", "add", "gate", "copy", "pool")  # over a map, element by element
TERMS = (
    *(f"{kind} {what}" for kind in _CONVOLUTIONS for what in ("calls", "macs", "vector macs", "elements")),
    *(f"{kind} {what}" for kind in _PASSES for what in ("calls", "elements")),
    "linear calls",
    "weights",
)
"""What a layer does, by name: the columns of the model."""

Floats = NDArray[np.float64]


class Part(NamedTuple):
    """A part of a network: the stem, a block or the head, and the shape of its input."""

    layer: Layer
    input: Shape


class Segment(NamedTuple):
    """A part of a network by its name.

    Attributes:
        key: what it is, in words; equal keys do the same. path: of its module in the network.
    """

    key: str
    path: str
    part: Part


def segments(network: Network) -> Iterator[Segment]:
    """Yield the stem, every block and the head of a network, in order; repeats come again."""
    x, stem, head = network.input, network.stem, network.head
    yield _segment(f"stem {x.channels}>{stem.channels}", _fields(stem), "stem", stem.layer(), x)
    x = stem.layer().out(x)
    for number, stage in enumerate(network.stages, 1):
        for position, block in enumerate(stage.blocks(x.channels)):
            name = f"{block.operator} {block.in_channels}>{block.channels} stride={block.stride}"
            layer = block.layer()
            yield _segment(name, dict(block.options), f"s{number}.b{position}", layer, x)
            x = layer.out(x)
    name = f"head {x.channels}>{head.channels or x.channels}>{network.classes}"
    yield _segment(name, _fields(head), "head", head.layer(network.classes), x)


@lru_cache(maxsize=200_000)
def _done(part: Stem | Block | Head, classes: int, x: Shape) -> tuple[Shape, Floats]:
    """Return a part's output and its terms; a search asks for the same few thousand parts over and over."""
    layer = part.layer(classes) if isinstance(part, Head) else part.layer()
    return layer.out(x), terms(Part(layer, x))


def network_terms(network: Network) -> Floats:
    """Return what a network does for one image, in the order of TERMS."""
    x, row = _done(network.stem, 0, network.input)
    total = row.copy()
    for stage in network.stages:
        for block, count in stage.distinct_blocks(x.channels):
            x, row = _done(block, 0, x)
            total += count * row
    total += _done(network.head, network.classes, x)[1]
    return total


def _segment(name: str, options: Mapping[str, Any], path: str, layer: Layer, x: Shape) -> Segment:
    said = [f"{option}={value}" for option, value in sorted(options.items())]
    size = "x".join(map(str, x.size))
    return Segment(" ".join([name, *said, f"@{size}"]), path, Part(layer, x))


def _fields(part: Any) -> dict[str, Any]:
    left_out = ("channels", "divisor", "dropout")
    return {name: value for name, value in vars(part).items() if name not in left_out}


def terms(part: Part) -> Floats:
    """Return what a part does for one image, in the order of TERMS."""
    counts: Counter[str] = Counter()
    _count(part.layer, part.input, counts)
    return np.array([counts[term] for term in TERMS], dtype=np.float64)


def _count(layer: Layer, x: Shape, counts: Counter[str]) -> None:
    """Add what a layer does on `x`; an unknown kind raises TypeError."""
    match layer:
        case kinds.Sequence(layers=named):
            for _, inner in named:
                _count(inner, x, counts)
                x = inner.out(x)
        case kinds.Conv():
            _count_conv(layer, x, counts)
        case kinds.Linear():
            counts["linear calls"] += 1
            counts["weights"] += layer.cost(x).params
        case kinds.Norm():
            _pass("norm", x, counts)
        case kinds.Act(name=name):
            _pass("exponential" if name in _TRANSCENDENTAL else "clamp", x, counts)
        case kinds.Residual(body=body):
            _count(body, x, counts)
            if body.out(x) == x:
                _pass("add", x, counts)
        case kinds.Gate(body=body):
            _count(body, x, counts)
            _pass("gate", x, counts)
        case kinds.Concat(branches=branches):
            for branch in branches:
                _count(branch, layer.share(x), counts)
            _pass("copy", layer.out(x), counts)
        case kinds.Shuffle():
            _pass("copy", x, counts)
        case kinds.Pool() | kinds.GlobalPool():
            _pass("pool", x, counts)
        case kinds.Dropout():
            pass
        case _:
            raise TypeError(f"no latency is known for the layer kind {type(layer).__name__}")


def _pass(kind: str, x: Shape, counts: Counter[str]) -> None:
    counts[f"{kind} calls"] += 1
    counts[f"{kind} elements"] += _elements(x)


def _elements(x: Shape) -> int:
    return x.channels * prod(x.size)


def _count_conv(layer: kinds.Conv, x: Shape, counts: Counter[str]) -> None:
    y, taps = layer.out(x), prod(per_dimension(layer.kernel, len(x.size)))
    cost = layer.cost(x)
    counts["weights"] += cost.params
    if taps == 1 and prod(y.size) == 1:  # squeeze-and-excitation: a linear layer in all but name
        counts["linear calls"] += 1
        return
    fan = x.channels // layer.groups
    kind = _kind(layer, taps, fan)
    counts[f"{kind} calls"] += 1
    counts[f"{kind} macs"] += cost.flops
    counts[f"{kind} vector macs"] += _vectors(y.channels) * _vectors(fan) * taps * prod(y.size)
    counts[f"{kind} elements"] += _elements(x) + _elements(y)


def _kind(layer: kinds.Conv, taps: int, fan: int) -> str:
    if layer.groups > 1:
        return "depthwise" if fan == 1 else "grouped"
    return "pointwise" if taps == 1 else "dense"


def _vectors(channels: int) -> int:
    """Return channels as a kernel pads them; 1 stays, as a depthwise kernel has no such axis."""
    return channels if channels == 1 else ceil(channels / LANES) * LANES


@dataclass(frozen=True)
class LatencyModel:
    """A fitted model of one machine under one set of conditions; equal models predict equal seconds.

    Attributes:
        coefficients: seconds for one of each term, in the order of TERMS; none is negative.
        batch: images of a pass. device: by name. conditions: threads, dtype, memory format, torch's version
            and the like, as plain data.
        error: median of |predicted / measured - 1| over networks that were left out of the fit.
        networks: how many it was fitted to.
    """

    coefficients: tuple[float, ...]
    batch: int
    device: str
    conditions: Mapping[str, Any]
    error: float
    networks: int

    def __post_init__(self) -> None:
        if len(self.coefficients) != len(TERMS) or not all(0 <= one < inf for one in self.coefficients):
            raise ValueError(f"a latency model has {len(TERMS)} finite coefficients of at least 0")

    def seconds(self, network: Network) -> float:
        """Return the predicted seconds of a forward pass of a whole batch."""
        return float(network_terms(network) @ np.array(self.coefficients))

    def to_json(self) -> dict[str, Any]:
        """Return the model as plain data, its coefficients by term."""
        named = {term: one for term, one in zip(TERMS, self.coefficients, strict=True) if one}
        return {**asdict(self), "coefficients": named}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LatencyModel:
        """Read what `to_json` wrote; ValueError, TypeError or KeyError where it is something else."""
        named = data["coefficients"]
        unknown = sorted(set(named) - set(TERMS))
        if unknown:
            raise ValueError(f"a latency model has no term {unknown[0]!r}")
        return cls(**{**data, "coefficients": tuple(float(named.get(term, 0)) for term in TERMS)})


@dataclass(frozen=True)
class LatencyLimit:
    """At most so many predicted seconds of a forward pass."""

    model: LatencyModel
    seconds: float

    def share(self, network: Network) -> float:
        """Return how much of the limit a network takes; it does not fall as the network grows."""
        return self.model.seconds(network) / self.seconds
