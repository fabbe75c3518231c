"""Ways to grow a small network at equal cost: the points that a response surface is fitted to.

A direction says what shares of the growth depth, width and resolution take. The procedure is that of Tan and
Le 2019, section 3.3, step 1, with the equal cost solved for and directions spread evenly in place of a grid
of multipliers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import log, prod, sqrt
from statistics import median
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.budget import BAND, Bounds, Budget, realised_multipliers, repair, solve_phi
from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import ProxyPolicy, at_base_resolution
from scalesearch.architecture.rules import RULES
from scalesearch.architecture.scaling import Coefficients, scale
from scalesearch.errors import InputError
from scalesearch.search.surface import WIDEST_GROWTH

Equal = Literal["flops", "activations"]
Triple = tuple[float, float, float]

# The powers of depth, width and resolution that a cost grows by.
POWERS: dict[Equal, Triple] = {"flops": (1, 2, 2), "activations": (1, 1, 2)}
NAMED = ("efficientnet", "fast", "width", "depth", "resolution")
PARTS = 12  # of each side of the triangle of shares that directions are chosen from
# Width takes most of what makes a base small, since a stage cannot have less than one block.
DEPTH_SHARE = 0.25

BEYOND = "the resolution would exceed the data's"
REPEATED = "the same network as another's"
OFF = "the growth that its multipliers promise is too far from the others'"
OUT_OF_BAND = "rounding leaves it more than 3 % below the cost"


@dataclass(frozen=True)
class SmallBase:
    """The network that grows: `network` at the recipe's resolution and stride plan, made small.

    Attributes:
        network: with channels in steps of 1. depth, width: the multipliers that make `base` of it.
        highest: the side that growth may reach, in pixels.
    """

    network: Network
    depth: float
    width: float
    base: Network
    highest: int

    def grown(self, depth: float, width: float, resolution: float) -> Network:
        """Return `network` at multipliers over the base, rounded once, whatever its resolution."""
        return scale(self.network, self.depth * depth, self.width * width, resolution)


@dataclass(frozen=True)
class Direction:
    """A network grown from a base.

    Attributes:
        shares: of the growth that depth, width and resolution were to take.
        realised: multipliers of depth, width and resolution over the base after rounding and repair.
        share: cost over the limit. repair: see `architecture.budget.Fit`.
        beyond: whether its resolution exceeds the data's.
    """

    name: str
    shares: Triple
    network: Network
    realised: Triple
    share: float
    repair: tuple[str, ...]
    beyond: bool


@dataclass(frozen=True)
class Design:
    """Directions of equal cost: the named ones, then others so that every beginning is spread out.

    Attributes:
        limit: the cost that none exceeds and all come within 3 % of.
        left_out: how many directions were not taken, by reason. missing: the named ones, with the reason.
    """

    base: SmallBase
    equal: Equal
    limit: float
    points: tuple[Direction, ...]
    left_out: Mapping[str, int]
    missing: Mapping[str, str]


def growth_of(multipliers: Triple, equal: Equal) -> float:
    """Return the growth of a cost that multipliers of depth, width and resolution promise."""
    growth: float = prod(m**p for m, p in zip(multipliers, POWERS[equal], strict=True))
    return growth


def shares_of(multipliers: Triple, equal: Equal) -> Triple:
    """Return what shares of the growth of a cost depth, width and resolution have; they sum to 1."""
    total = log(growth_of(multipliers, equal))
    depth, width, resolution = (p * log(m) / total for m, p in zip(multipliers, POWERS[equal], strict=True))
    return depth, width, resolution


def fine(network: Network) -> Network:
    """Return the network with channels that are scaled in steps of 1, or of what its operators need.

    Steps of 8 leave a network of a few million multiply-accumulates next to no choice of width.
    """
    return replace(
        network,
        stem=replace(network.stem, divisor=1),
        stages=tuple(replace(stage, divisor=1) for stage in network.stages),
        head=replace(network.head, divisor=1),
    )


def small_base(
    network: Network, policy: ProxyPolicy, growth: float, classes: int, data_resolution: int
) -> SmallBase:
    """Return the base that costs at most a proxy's multiply-accumulates over `growth`.

    Raises InputError where its narrowest form costs more.
    """
    started = fine(at_base_resolution(network, policy, classes, data_resolution))
    limit = Budget(policy.flops / growth)
    shrink = Coefficients.from_shares(DEPTH_SHARE, 1 - DEPTH_SHARE)
    least = limit.share(scale(started, 1e-6, 1e-6))
    if least > 1:
        raise InputError(
            f"--growth: {network.name} at {started.resolution} px costs at least "
            f"{least * policy.flops / growth:,.0f} multiply-accumulates, but a base that grows {growth:g} "
            f"times to {policy.flops:,.0f} has at most {policy.flops / growth:,.0f}"
        )
    phi = solve_phi(lambda p: limit.share(scale(started, shrink.alpha**p, shrink.beta**p)))
    depth = shrink.alpha**phi
    # A block less may leave room below the limit: width takes it.
    width: float = 2 ** solve_phi(lambda p: limit.share(scale(started, depth, 2**p)))
    return SmallBase(started, depth, width, scale(started, depth, width), data_resolution)


def lattice(parts: int = PARTS) -> Iterator[Triple]:
    """Yield the shares of a triangular grid (the simplex lattice of Scheffe 1958)."""
    for depth in range(parts + 1):
        for width in range(parts + 1 - depth):
            yield depth / parts, width / parts, (parts - depth - width) / parts


def grow(base: SmallBase, name: str, shares: Triple, growth: float, equal: Equal) -> Direction:
    """Grow the base along a direction to at most `growth` times its cost, and repair the rounding gap.

    The repair leaves the resolution alone: a step of it is a tenth to a half of the cost, so that it would
    take a direction's place by another's.
    """
    limit = Budget(**{equal: growth * getattr(base.base.cost(), equal)})
    # Shares of activations are other exponents than shares of FLOPs; phi scales them as needed.
    exponents = [share / power for share, power in zip(shares, POWERS[equal], strict=True)]

    def asked(phi: float) -> Network:
        depth, width, resolution = (growth ** (phi * exponent) for exponent in exponents)
        return base.grown(depth, width, resolution)

    network = asked(solve_phi(lambda phi: limit.share(asked(phi))))
    side = network.input.size[0]
    network, used = repair(network, limit.share, Bounds(side, side))
    network = replace(network, name=name)
    realised = realised_multipliers(base.base, network)
    return Direction(name, shares, network, realised, limit.share(network), used, side > base.highest)


def named_shares(name: str, equal: Equal) -> Triple:
    """Return the shares of a named scaling rule."""
    coefficients = RULES[name].coefficients
    return shares_of((coefficients.alpha, coefficients.beta, coefficients.gamma), equal)


def design(base: SmallBase, growth: float, equal: Equal, points: int) -> Design:
    """Return at most `points` directions of equal cost, the named ones first.

    Each further one is that of a triangular grid whose realised shares are farthest from all before it
    (farthest-point design: Gonzalez 1985), so that more points extend a design.
    """
    named = [grow(base, name, named_shares(name, equal), growth, equal) for name in NAMED]
    others = [grow(base, _name(shares), shares, growth, equal) for shares in lattice()]
    kept, reasons = _admissible([*named, *others], equal)
    first = [one for one in kept if one.name in NAMED]
    chosen = spread(first, [one for one in kept if one.name not in NAMED], points, equal)
    return Design(
        base,
        equal,
        growth * getattr(base.base.cost(), equal),
        tuple(chosen),
        Counter(reasons.values()),
        {name: reason for name, reason in reasons.items() if name in NAMED},
    )


def _name(shares: Triple) -> str:
    return "d{:.2f}_w{:.2f}_r{:.2f}".format(*shares)


def _admissible(directions: Iterable[Direction], equal: Equal) -> tuple[list[Direction], dict[str, str]]:
    """Return the directions that may be compared, and by name why others may not."""
    kept: dict[Network, Direction] = {}
    reasons: dict[str, str] = {}
    for one in directions:
        if one.beyond:
            reasons[one.name] = BEYOND
        elif one.share < BAND:
            reasons[one.name] = OUT_OF_BAND
        elif one.network in kept:
            reasons[one.name] = REPEATED
        else:
            kept[one.network] = one
    growths = {one.name: growth_of(one.realised, equal) for one in kept.values()}
    middle, widest = median(growths.values() or [1.0]), sqrt(WIDEST_GROWTH)
    reasons |= {n: OFF for n, growth in growths.items() if not middle / widest < growth < middle * widest}
    return [one for one in kept.values() if one.name not in reasons], reasons


def spread(first: list[Direction], others: list[Direction], points: int, equal: Equal) -> list[Direction]:
    """Return `first`, and of `others` one after the other the one that is farthest from all before it."""
    chosen, left = first[:points], list(others)
    if not chosen and left:
        chosen = [left.pop(0)]
    while left and len(chosen) < points:
        gaps = distances(left, chosen, equal).min(1)
        chosen.append(left.pop(int(gaps.argmax())))
    return chosen


def distances(some: list[Direction], others: list[Direction], equal: Equal) -> NDArray[np.float64]:
    """Return the distances (some, others) between realised shares in the plane of the triangle."""
    here, there = (np.array([shares_of(one.realised, equal) for one in group]) for group in (some, others))
    gaps: NDArray[np.float64] = np.linalg.norm(here[:, None] - there[None], axis=-1)
    return gaps
