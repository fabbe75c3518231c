"""The fit to a budget: the largest member of a family within it, and the repair of the rounding gap (D3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from math import prod
from typing import TYPE_CHECKING

from scalesearch.architecture.document import MOST_BLOCKS
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.network import Network, Stage
from scalesearch.architecture.rounding import RESOLUTION_STEP, SMALLEST_RESOLUTION
from scalesearch.architecture.scaling import Coefficients, compound, scale, with_valid_widths

if TYPE_CHECKING:  # NumPy: `show` and `scale` start without it
    from scalesearch.architecture.latency import LatencyLimit

BAND = 0.97
LOWEST_PHI, MOST_PHI = -60.0, 64.0
NARROWEST = 1e-6  # a width multiplier that takes every width to its least


@dataclass(frozen=True)
class Budget:
    """Upper limits on what one forward pass of a network may take; at least one is on a cost.

    Attributes:
        flops: multiply-accumulates. params: trainable parameters. activations: outputs of convolutions.
        latency: on the predicted seconds besides.
    """

    flops: float | None = None
    params: float | None = None
    activations: float | None = None
    latency: LatencyLimit | None = None

    def __post_init__(self) -> None:
        if not self.limits:
            raise ValueError("a budget needs a limit on flops, params or activations, but got none")
        for name, limit in self.limits.items():
            if not limit > 0:
                raise ValueError(f"a limit on {name} must be positive, but got {limit}")

    @property
    def limits(self) -> dict[str, float]:
        """The limits on costs that are given, by the name of the cost."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "latency")
        return {name: limit for name, limit in values if limit is not None}

    def shares(self, cost: Cost) -> dict[str, float]:
        """Return cost over limit for each limit; works on arrays of costs too."""
        return {name: getattr(cost, name) / limit for name, limit in self.limits.items()}

    def share(self, network: Network) -> float:
        """Return how much of the binding limit a network takes; above 1 is over budget."""
        return max(self._all_shares(network).values())

    def binding(self, network: Network) -> str:
        """Return the limit that a network is nearest to: a cost's name, or latency."""
        shares = self._all_shares(network)
        return max(shares, key=lambda name: shares[name])

    def _all_shares(self, network: Network) -> dict[str, float]:
        shares = self.shares(network.cost())
        return shares if self.latency is None else shares | {"latency": self.latency.share(network)}


Share = Callable[[Network], float]


@dataclass(frozen=True)
class Bounds:
    """The resolutions that a fit may use, in pixels."""

    low: int = SMALLEST_RESOLUTION
    high: int | None = None

    def clamp(self, network: Network) -> Network:
        """Return the network with its resolution moved into the bounds (images only)."""
        if isinstance(network.resolution, tuple):
            return network
        inside = max(self.low, network.resolution)
        return replace(network, resolution=inside if self.high is None else min(inside, self.high))


ANY_RESOLUTION = Bounds()


@dataclass(frozen=True)
class Fit:
    """A member of a family, fitted to a budget.

    Attributes:
        phi: the compound coefficient of the largest member within the budget.
        network: that member after repair.
        share: cost over limit of the binding limit, at most 1.
        repair: which of "resolution", "width", "repeats", "stage width", "exchange" closed the rounding gap;
            "shrink" where the family itself does not get small enough and its width had to.
        realised: the multipliers (depth, width, resolution) between the base and `network`.
        clamped: whether the resolution that gamma asked for was out of bounds: gamma is not identified.
    """

    phi: float
    network: Network
    share: float
    repair: tuple[str, ...]
    realised: tuple[float, float, float]
    clamped: bool


class UnfitError(ValueError):
    """A family has no network for a budget."""


class OverBudgetError(UnfitError):
    """The budget is below the smallest member of the family, which takes `share` times the budget."""

    def __init__(self, share: float) -> None:
        super().__init__(f"the smallest member of the family takes {share:.4g} times the budget")
        self.share = share


class TooDeepError(UnfitError):
    """The family fills the budget with more blocks than a network document may have."""

    def __init__(self, blocks: int) -> None:
        super().__init__(f"a network has at most {MOST_BLOCKS:,} blocks, but this family's has {blocks:,}")


def solve_phi(share: Callable[[float], float]) -> float:
    """Return the largest phi whose share is at most 1, to 1e-6; the share must not fall with phi.

    The share at the lowest phi must be at most 1.
    """
    low, high = LOWEST_PHI, 1.0
    while share(high) <= 1:
        if high >= MOST_PHI:
            return high
        low, high = high, high * 2
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) <= 1 else (low, middle)
    return low


def _wider_stages(network: Network) -> Iterator[Network]:
    for index, stage in enumerate(network.stages):
        yield _with_stage(network, index, stage.sized(stage.channels + stage.multiple, stage.repeats))
    if network.head.channels is not None:
        head = replace(network.head, channels=network.head.channels + network.head.divisor)
        yield replace(network, head=head)


def _deeper_stages(network: Network) -> Iterator[Network]:
    for index, stage in enumerate(network.stages):
        yield _with_stage(network, index, stage.sized(stage.channels, stage.repeats + 1))


def _with_stage(network: Network, index: int, stage: Stage) -> Network:
    return with_valid_widths(
        replace(network, stages=(*network.stages[:index], stage, *network.stages[index + 1 :]))
    )


def _higher(network: Network, bounds: Bounds, by: int = 1) -> Iterator[Network]:
    step = by * RESOLUTION_STEP
    if isinstance(network.resolution, tuple):
        frames, sides = network.resolution[:-2], network.resolution[-2:]
        if min(sides) + step >= bounds.low:
            yield replace(network, resolution=(*frames, *(side + step for side in sides)))
    elif bounds.low <= network.resolution + step <= (bounds.high or math.inf):
        yield replace(network, resolution=network.resolution + step)


def _widest(network: Network, share: Share, low: float = 1.0, high: float = 2.0) -> Network:
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if share(scale(network, width=middle)) <= 1 else (low, middle)
    return scale(network, width=low)


def _shrunk(network: Network, share: Share, bounds: Bounds) -> Network:
    """Narrow the smallest member of a family, and then lower its resolution, until the budget holds it.

    A family that hardly moves width cannot get small: its repeats end at 1, its resolution at a bound.
    """
    while (least := share(scale(network, width=NARROWEST))) > 1:
        lower = next(_higher(network, bounds, -1), None)
        if lower is None:
            raise OverBudgetError(least)
        network = lower
    return _widest(network, share, low=NARROWEST, high=1.0)


def _climb(network: Network, moves: Callable[[Network], Iterator[Network]], share: Share) -> Network:
    """Take the dearest affordable move again and again until the band is reached or none fits."""
    while (taken := share(network)) < BAND:
        affordable = [(share(move), move) for move in moves(network)]
        affordable = [(cost, move) for cost, move in affordable if taken < cost <= 1]
        if not affordable:
            break
        network = max(affordable, key=lambda pair: pair[0])[1]
    return network


def repair(
    network: Network, share: Share, bounds: Bounds = ANY_RESOLUTION
) -> tuple[Network, tuple[str, ...]]:
    """Close the rounding gap: raise the share of the budget into [0.97, 1] without changing the shape.

    In this order, each only while the band is not reached (D3): resolution in rounding steps, the common
    width, the repeats of single stages, the width of single stages.
    """
    steps: tuple[tuple[str, Callable[[Network], Network]], ...] = (
        ("resolution", lambda n: _climb(n, lambda m: _higher(m, bounds), share)),
        ("width", lambda n: _widest(n, share)),
        ("repeats", lambda n: _climb(n, _deeper_stages, share)),
        ("stage width", lambda n: _climb(n, _wider_stages, share)),
    )
    used = []
    for name, step in steps:
        if share(network) >= BAND:
            break
        repaired = step(network)
        if repaired != network:
            used.append(name)
        network = repaired
    return network, tuple(used)


def _exchanged(network: Network, budget: Budget, bounds: Bounds) -> Network | None:
    from scalesearch.architecture.batch import Batch  # few fits need it, and NumPy takes its time to load
    from scalesearch.architecture.exchange import exchanged

    batch = Batch.of([network])
    numbers = exchanged(batch, budget.limits, BAND, (bounds.low, bounds.high or math.inf))
    return None if numbers is None else batch.having(numbers).network(0, network)


def realised_multipliers(base: Network, network: Network) -> tuple[float, float, float]:
    """Return the depth, width and resolution multipliers that a network really has over its base.

    Depth is the ratio of blocks, width the ratio of the stages' mean channels weighted alike (geometric),
    resolution the ratio of the sides' geometric means.
    """
    ratios = [
        grown.channels / stage.channels for grown, stage in zip(network.stages, base.stages, strict=True)
    ]
    side = (prod(network.input.size) / prod(base.input.size)) ** (1 / base.dims)
    return network.blocks / base.blocks, prod(ratios) ** (1 / len(ratios)), side


def fit(
    base: Network, coefficients: Coefficients, budget: Budget | Share, bounds: Bounds = ANY_RESOLUTION
) -> Fit:
    """Return the largest member of the family within the budget, with its rounding gap closed.

    `budget` may also be a function that returns the share of a budget that a network takes; the share
    must not fall as the network grows. Raises OverBudgetError where even the narrowest network of this
    shape costs more than the budget, TooDeepError where the largest has more than 1,000 blocks.
    """
    if isinstance(budget, Budget) and budget.latency is not None:
        return _fit_within_latency(base, coefficients, budget, bounds)
    share = budget.share if isinstance(budget, Budget) else budget

    def member(phi: float) -> Network:
        return bounds.clamp(compound(base, coefficients, phi))

    def share_at(phi: float) -> float:
        return share(member(phi))

    smallest = share_at(LOWEST_PHI)
    phi = solve_phi(share_at) if smallest <= 1 else LOWEST_PHI
    network = member(phi)
    repaired: tuple[str, ...] = ()
    if smallest > 1:
        network, repaired = _shrunk(network, share, bounds), ("shrink",)
    _check_depth(network)
    network, closed = repair(network, share, bounds)
    if isinstance(budget, Budget) and share(network) < BAND:
        exchange = _exchanged(network, budget, bounds)
        network, closed = exchange or network, (*closed, "exchange") if exchange else closed
    _check_depth(network)
    return Fit(
        phi=phi,
        network=network,
        share=share(network),
        repair=(*repaired, *closed),
        realised=realised_multipliers(base, network),
        clamped=member(phi).resolution != compound(base, coefficients, phi).resolution,
    )


def _check_depth(network: Network) -> None:
    if network.blocks > MOST_BLOCKS:
        raise TooDeepError(network.blocks)


def _fit_within_latency(base: Network, coefficients: Coefficients, budget: Budget, bounds: Bounds) -> Fit:
    """Fit to the costs alone and, only where that is too slow, to costs and latency together.

    So a limit that does not bind changes nothing. Predicted seconds are no polynomial of the widths, so the
    last step of the repair, the exchange of widths, is left out of the second fit.
    """
    with suppress(TooDeepError):  # the latency may not let it get so deep
        found = fit(base, coefficients, replace(budget, latency=None), bounds)
        share = budget.share(found.network)
        if share <= 1:
            return replace(found, share=share)
    return fit(base, coefficients, budget.share, bounds)
