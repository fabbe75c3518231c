"""The proxy: a small member of a candidate's family that is trained in its place (decision D1)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from scalesearch.architecture.budget import Bounds, Budget, Fit, OverBudgetError, fit
from scalesearch.architecture.network import Network, Stem
from scalesearch.architecture.rounding import SMALLEST_RESOLUTION
from scalesearch.architecture.scaling import Coefficients


@dataclass(frozen=True)
class ProxyPolicy:
    """How a proxy is made from its candidate; a part of the recipe document.

    Attributes:
        flops: multiply-accumulates of a proxy at the top level of the budget.
        base_resolution: side in pixels at phi = 0.
        min_resolution: the side falls below this only where the narrowest network would not fit
            otherwise; it never exceeds the data's own side.
        total_stride: input side over the side of the last feature map.
        level_exponent: a level of budget b under the budget B trains proxies of flops * (b / B) ** this.
    """

    flops: float = 10e6
    base_resolution: int = 20
    min_resolution: int = 20
    total_stride: int = 4
    level_exponent: float = 0.5

    def flops_at(self, level: float, budget: float) -> float:
        """Return the proxy cost at one level of the budget; it grows with the level."""
        share: float = (level / budget) ** self.level_exponent
        return self.flops * share


def with_total_stride(network: Network, total: int) -> Network:
    """Return the network with its first downsamplings taken out until the total stride is at most `total`.

    The published networks divide 224 pixels by 32; at 32 pixels that leaves 1x1 maps, whose depthwise
    kernels see padding only. The last downsamplings stay, since they carry the most channels.
    """
    budget = total
    stages = []
    for stage in reversed(network.stages):
        kept = stage.stride if stage.stride <= budget else 1
        budget //= kept
        stages.append(replace(stage, stride=kept))
    return replace(network, stem=_stem_within(network.stem, budget), stages=tuple(reversed(stages)))


def _stem_within(stem: Stem, budget: int) -> Stem:
    pool = stem.pool and budget >= 2
    stride = stem.stride if isinstance(stem.stride, int) else max(stem.stride)
    return replace(stem, pool=pool, stride=stride if stride * (2 if pool else 1) <= budget else 1)


def total_stride(network: Network) -> int:
    """Return the product of all strides, of the spatial dimensions where they differ."""
    stem = network.stem.stride if isinstance(network.stem.stride, int) else max(network.stem.stride)
    return stem * (2 if network.stem.pool else 1) * prod(stage.stride for stage in network.stages)


def at_base_resolution(base: Network, policy: ProxyPolicy, classes: int, data_resolution: int) -> Network:
    """Return the network at the recipe's resolution and stride plan, without its regularisation."""
    small = replace(
        with_total_stride(base, policy.total_stride),
        resolution=min(policy.base_resolution, data_resolution),
        classes=classes,
        drop_path=0.0,
    )
    return replace(small, head=replace(small.head, dropout=0.0))


def make_proxy(
    base: Network,
    coefficients: Coefficients,
    policy: ProxyPolicy,
    *,
    flops: float,
    classes: int,
    data_resolution: int,
) -> Fit:
    """Return the member of the family that costs at most `flops` at the recipe's resolution and stride plan.

    Depth, width and resolution all move with phi; a resolution that the bounds clamp makes gamma
    unidentified, and the fit says so. Raises UnfitError where no member fits.
    """
    small = at_base_resolution(base, policy, classes, data_resolution)
    resolution = min(policy.base_resolution, data_resolution)
    bounds = Bounds(min(policy.min_resolution, resolution), data_resolution)
    budget = Budget(flops)
    try:
        return fit(small, coefficients, budget, bounds)
    except OverBudgetError:  # a shape that is too dear even at its narrowest goes below the least side
        return fit(small, coefficients, budget, replace(bounds, low=SMALLEST_RESOLUTION))
