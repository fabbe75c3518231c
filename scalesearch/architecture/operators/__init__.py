"""The operators: a plain dict from the name in a document to what builds one block.

To add one: write a function in a file of its family and give it a line here and a line in
`tests/strategies.py`. A block is described by (in_channels, channels, stride) and by the options that are
the function's keyword arguments; `drop`, the rate of stochastic depth, is the network's to set.

Channels may be arrays, one width a candidate, so a block does not branch on them: `Residual` decides by
itself whether there is a shortcut, and `rounding.same` compares.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from scalesearch.architecture.layers import Layer
from scalesearch.architecture.operators.mbconv import fused_mbconv, mbconv, mobilenet_v3
from scalesearch.architecture.operators.mobilenet import depthwise_separable
from scalesearch.architecture.operators.shufflenet import shufflenet_v1, shufflenet_v2


def any_width(_options: Mapping[str, Any]) -> int:
    """Return 1: the operator asks nothing of a width."""
    return 1


@dataclass(frozen=True)
class Operator:
    """A block's description.

    Attributes:
        block: (in_channels, channels, stride, *, options, [drop]) -> Layer.
        multiple: options -> what the block's channels must be a multiple of, so that scaling keeps it.
        input_multiple: options -> the same for the channels that come in, unless the block has a shortcut.
        widens: whether a block without a shortcut must give more channels than come in.
    """

    block: Callable[..., Layer]
    multiple: Callable[[Mapping[str, Any]], int] = any_width
    input_multiple: Callable[[Mapping[str, Any]], int] = any_width
    widens: bool = False

    @cached_property
    def options(self) -> dict[str, Any]:
        """The options that a document may state, with their defaults."""
        parameters = inspect.signature(self.block).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "drop"}

    @cached_property
    def takes_drop(self) -> bool:
        """Whether the block has a shortcut that stochastic depth can use."""
        return "drop" in inspect.signature(self.block).parameters


OPERATORS: dict[str, Operator] = {
    "mbconv": Operator(mbconv),
    "fused_mbconv": Operator(fused_mbconv),
    "mobilenet_v3": Operator(mobilenet_v3),
    "depthwise_separable": Operator(depthwise_separable),
    "shufflenet_v1": Operator(
        shufflenet_v1,
        multiple=lambda options: 4 * int(options["groups"]) if options["groups"] > 1 else 1,
        input_multiple=lambda options: int(options["groups"]),
        widens=True,
    ),
    "shufflenet_v2": Operator(shufflenet_v2, multiple=lambda _options: 2),
}
