"""The fit to a budget: the largest member of a family within it, and the repair of the rounding gap (D3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

from scalesearch.architecture.network import Network, Stage
from scalesearch.architecture.rounding import RESOLUTION_STEP, SMALLEST_RESOLUTION
from scalesearch.architecture.scaling import Coefficients, compound, scale, with_valid_widths

BAND = 0.97
LOWEST_PHI, HIGHEST_PHI = -60.0, 60.0

Measure = Callable[[Network], int]


def flops(network: Network) -> int:
    """Return the multiply-accumulates of one forward pass."""
    return network.cost().flops


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
        cost: what the budget bounds, counted on `network`.
        budget: the budget, in the same unit.
        repair: which of "resolution", "width", "repeats", "stage width" closed the rounding gap (D3);
            "shrink" where the family itself does not get small enough and its width had to.
        realised: the multipliers (depth, width, resolution) between the base and `network`.
        clamped: whether the resolution that gamma asked for was out of bounds: gamma is not identified.
    """

    phi: float
    network: Network
    cost: int
    budget: float
    repair: tuple[str, ...]
    realised: tuple[float, float, float]
    clamped: bool

    @property
    def ratio(self) -> float:
        """Cost over budget, at most 1."""
        return self.cost / self.budget


class OverBudgetError(ValueError):
    """The budget is below the smallest member of the family."""

    def __init__(self, budget: float, smallest: int) -> None:
        super().__init__(f"a budget of {budget:g} is below the smallest member of the family, {smallest}")
        self.smallest = smallest


def solve_phi(member: Callable[[float], int], budget: float) -> float:
    """Return the largest phi whose cost is within the budget, to 1e-6; the cost must not fall with phi.

    Raises OverBudgetError where even the smallest member costs more.
    """
    low, high = LOWEST_PHI, 1.0
    if member(low) > budget:
        raise OverBudgetError(budget, member(low))
    while member(high) <= budget:
        if high > HIGHEST_PHI:
            return high
        low, high = high, high * 2
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if member(middle) <= budget else (low, middle)
    return low


def _wider_stages(network: Network) -> Iterator[Network]:
    for index, stage in enumerate(network.stages):
        yield _with_stage(network, index, replace(stage, channels=stage.channels + stage.multiple))
    if network.head.channels is not None:
        head = replace(network.head, channels=network.head.channels + network.head.divisor)
        yield replace(network, head=head)


def _deeper_stages(network: Network) -> Iterator[Network]:
    for index, stage in enumerate(network.stages):
        yield _with_stage(network, index, replace(stage, repeats=stage.repeats + 1))


def _with_stage(network: Network, index: int, stage: Stage) -> Network:
    return with_valid_widths(
        replace(network, stages=(*network.stages[:index], stage, *network.stages[index + 1 :]))
    )


def _higher(network: Network, bounds: Bounds) -> Iterator[Network]:
    if isinstance(network.resolution, int):
        grown = network.resolution + RESOLUTION_STEP
        if bounds.high is None or grown <= bounds.high:
            yield replace(network, resolution=grown)


def _widest(
    network: Network, budget: float, measure: Measure, low: float = 1.0, high: float = 2.0
) -> Network:
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if measure(scale(network, width=middle)) <= budget else (low, middle)
    return scale(network, width=low)


def _shrunk(network: Network, budget: float, measure: Measure, bounds: Bounds) -> Network:
    """Narrow the smallest member of a family, and then lower its resolution, until the budget holds it.

    A family that hardly moves width cannot get small: its repeats end at 1, its resolution at a bound.
    """
    narrowest = 1e-6
    resolution = network.resolution
    while measure(scale(network, width=narrowest)) > budget:
        if not isinstance(resolution, int) or resolution - RESOLUTION_STEP < bounds.low:
            raise OverBudgetError(budget, measure(scale(network, width=narrowest)))
        resolution -= RESOLUTION_STEP
        network = replace(network, resolution=resolution)
    return _widest(network, budget, measure, low=narrowest, high=1.0)


def _climb(
    network: Network, moves: Callable[[Network], Iterator[Network]], budget: float, measure: Measure
) -> Network:
    """Take the dearest affordable move again and again until the band is reached or none fits."""
    while measure(network) < BAND * budget:
        affordable = [move for move in moves(network) if measure(network) < measure(move) <= budget]
        if not affordable:
            break
        network = max(affordable, key=measure)
    return network


def repair(
    network: Network,
    budget: float,
    measure: Measure = flops,
    bounds: Bounds = ANY_RESOLUTION,
) -> tuple[Network, tuple[str, ...]]:
    """Close the rounding gap: raise the cost into [0.97 budget, budget] without changing the shape.

    In this order, each only while the band is not reached (D3): resolution in rounding steps, the common
    width, the repeats of single stages, the width of single stages.
    """
    steps: tuple[tuple[str, Callable[[Network], Network]], ...] = (
        ("resolution", lambda n: _climb(n, lambda m: _higher(m, bounds), budget, measure)),
        ("width", lambda n: _widest(n, budget, measure)),
        ("repeats", lambda n: _climb(n, _deeper_stages, budget, measure)),
        ("stage width", lambda n: _climb(n, _wider_stages, budget, measure)),
    )
    used = []
    for name, step in steps:
        if measure(network) >= BAND * budget:
            break
        repaired = step(network)
        if repaired != network:
            used.append(name)
        network = repaired
    return network, tuple(used)


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
    base: Network,
    coefficients: Coefficients,
    budget: float,
    measure: Measure = flops,
    bounds: Bounds = ANY_RESOLUTION,
) -> Fit:
    """Return the largest member of the family within the budget, with its rounding gap closed.

    Raises OverBudgetError where even the narrowest network of this shape costs more than the budget.
    """

    def member(phi: float) -> Network:
        return bounds.clamp(compound(base, coefficients, phi))

    def cost(phi: float) -> int:
        return measure(member(phi))

    smallest = cost(LOWEST_PHI)
    phi = solve_phi(cost, max(budget, smallest))
    network = member(phi)
    repaired: tuple[str, ...] = ()
    if smallest > budget:
        network, repaired = _shrunk(network, budget, measure, bounds), ("shrink",)
    network, closed = repair(network, budget, measure, bounds)
    return Fit(
        phi=phi,
        network=network,
        cost=measure(network),
        budget=budget,
        repair=(*repaired, *closed),
        realised=realised_multipliers(base, network),
        clamped=member(phi).resolution != compound(base, coefficients, phi).resolution,
    )
