"""What a model of the search sees of a network: static figures that mean the same for every shape.

The leaves of a space are many, conditional, and say what a network was drawn from. The loss of a training
depends on the network alone that was trained, so these are figures of the proxy, after the fit; the
coefficients count through what they made of it. Nothing is trained, and no data are seen. Further columns,
such as zero-cost scores, may stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import log2, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.layers import Cost, Shape
from scalesearch.architecture.network import Block, Network, Stage
from scalesearch.architecture.operators import OPERATORS

Floats = NDArray[np.float64]

ACTS = ("relu", "relu6", "silu", "hardswish")
QUARTERS = 4
_WHOLE = ("params", "activations", "depth", "resolution", "stages", "stem_width", "last_width", "head_width")
_MAPS = ("last_side", "mean_side", "mean_width", "narrowest", "widening")
_BLOCKS = ("kernel", "expand", "se", "groups", "shortcuts", "stem_flops", "head_flops")
_PARTS = tuple(f"{what}_{n}" for what in ("activations", "flops", "width", "side") for n in range(QUARTERS))
FEATURES: tuple[str, ...] = (
    *_WHOLE,
    *_MAPS,
    *_BLOCKS,
    *(f"{what}_{name}" for what in ("flops", "blocks") for name in OPERATORS),
    *(f"act_{name}" for name in ACTS),
    *_PARTS,
)


class _Placed(NamedTuple):
    """A block where it stands: the side of its output, and what it costs."""

    block: Block
    side: float
    cost: Cost


def features(network: Network) -> Floats:
    """Return (len(FEATURES),) static figures of a network; its name plays no part.

    Sizes are binary logarithms. Means are over blocks, of widths and sides those of the logarithms; shares
    of FLOPs are of the whole network. `_0` to `_3` are quarters of the depth, by the middle of each block.
    """
    parts = list(network.parts())
    placed = list(_placed(network))
    cost = sum((part_cost for *_, part_cost in parts), Cost())
    stem, head = parts[0], parts[-1]
    found = [
        *_whole(network, cost),
        *_maps(placed, stem[2].channels),
        *_blocks(placed),
        stem[3].flops / cost.flops,
        head[3].flops / cost.flops,
        *_by_operator(placed, cost),
        *(float(network.stem.act == act) for act in ACTS),
        *_quarters(placed, cost),
    ]
    return np.array(found, dtype=np.float64)


def feature_matrix(networks: Iterable[Network]) -> Floats:
    """Return (n, len(FEATURES)), a row for each network."""
    return np.array([features(network) for network in networks]).reshape(-1, len(FEATURES))


def _placed(network: Network) -> Iterator[_Placed]:
    for part, x, _, _ in network.parts():
        for block in part.blocks(x.channels) if isinstance(part, Stage) else ():
            placed, x = _place(block, x)
            yield placed


@lru_cache(maxsize=5_000)  # of 192 candidates that are drawn together
def _place(block: Block, x: Shape) -> tuple[_Placed, Shape]:
    layer = block.layer()
    out = layer.out(x)
    return _Placed(block, prod(out.size) ** (1 / len(out.size)), layer.cost(x)), out


def _whole(network: Network, cost: Cost) -> list[float]:
    side = prod(network.input.size) ** (1 / network.dims)
    last = network.stages[-1].channels
    sizes = (
        cost.params,
        cost.activations,
        network.blocks,
        side,
        len(network.stages),
        network.stem.channels,
        last,
        network.head.channels or last,
    )
    return [log2(size) for size in sizes]


def _maps(placed: list[_Placed], stem_width: int) -> list[float]:
    sides = [log2(one.side) for one in placed]
    widths = [log2(one.block.channels) for one in placed]
    return [sides[-1], _mean(sides), _mean(widths), min(widths), widths[-1] - log2(stem_width)]


def _blocks(placed: list[_Placed]) -> list[float]:
    options = [dict(one.block.options) for one in placed]
    return [
        _mean([o["kernel"] for o in options]),
        _mean([log2(o.get("expand", 1)) for o in options]),
        _mean([o.get("se", 0) > 0 for o in options]),
        _mean([log2(o.get("groups", 1)) for o in options]),
        _mean([one.block.stride == 1 and one.block.in_channels == one.block.channels for one in placed]),
    ]


def _by_operator(placed: list[_Placed], cost: Cost) -> list[float]:
    own = {name: [one for one in placed if one.block.operator == name] for name in OPERATORS}
    flops = [sum(one.cost.flops for one in blocks) / cost.flops for blocks in own.values()]
    return [*flops, *(len(blocks) / len(placed) for blocks in own.values())]


def _quarters(placed: list[_Placed], cost: Cost) -> list[float]:
    """Return shares of activations and FLOPs, then log widths and sides, by quarters of the depth.

    A quarter in which no block has its middle takes width and side from the block that covers its own.
    """
    depth = len(placed)
    quarter = [int(QUARTERS * (index + 0.5) / depth) for index in range(depth)]
    middle = [placed[int(depth * (n + 0.5) / QUARTERS)] for n in range(QUARTERS)]
    shares = [
        sum(getattr(one.cost, what) for one, at in zip(placed, quarter, strict=True) if at == n)
        / getattr(cost, what)
        for what in ("activations", "flops")
        for n in range(QUARTERS)
    ]
    return [*shares, *(log2(one.block.channels) for one in middle), *(log2(one.side) for one in middle)]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
