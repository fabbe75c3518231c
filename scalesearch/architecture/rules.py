"""Named scaling rules, the largest member that one makes within a budget, and the grid of coefficients."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf, sqrt

from scalesearch.architecture.budget import (
    LOWEST_PHI,
    Budget,
    Fit,
    OverBudgetError,
    Share,
    realised_multipliers,
    repair,
    solve_phi,
)
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.network import Network
from scalesearch.architecture.scaling import Coefficients, compound, scale

GROWTH = 2.0
MOST_REPEATS = 10_000  # of a stage; depth alone reaches a large budget by no sensible network
PHI_DIGITS = 5  # phi is solved to 1e-6


@dataclass(frozen=True)
class Rule:
    """A way to spend growth: coefficients that depth, width and resolution are powers of.

    All rules are on the constraint depth * width^2 * resolution^2 = growth^phi, since FLOPs grow as the
    left side. `source` is the paper.
    """

    name: str
    coefficients: Coefficients
    source: str

    def multipliers(self, phi: float) -> tuple[float, float, float]:
        """Return the depth, width and resolution multipliers at `phi`, before rounding."""
        coefficients = self.coefficients
        return coefficients.alpha**phi, coefficients.beta**phi, coefficients.gamma**phi


def _shared(name: str, depth: float, width: float, source: str) -> Rule:
    return Rule(name, Coefficients.from_shares(depth, width, GROWTH), source)


_COMPARED = "Tan and Le 2019, section 3.2; Dollar et al. 2021"
_FAST = "Dollar et al. 2021, d1_w8_r1: depth s^0.1, width s^0.4, resolution s^0.05 of s = 2^phi"

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("efficientnet", Coefficients(), "Tan and Le 2019, equation 3, with 1.2, 1.1 and 1.15"),
        _shared("depth", 1, 0, _COMPARED),
        _shared("width", 0, 1, _COMPARED),
        _shared("resolution", 0, 0, _COMPARED),
        _shared("depth-width", 1 / 2, 1 / 2, "Dollar et al. 2021, dw"),
        _shared("depth-resolution", 1 / 2, 0, "Dollar et al. 2021, dr"),
        _shared("width-resolution", 0, 1 / 2, "Dollar et al. 2021, wr"),
        _shared("uniform", 1 / 3, 1 / 3, "Dollar et al. 2021, dwr: uniform compound scaling"),
        _shared("fast", 0.1, 0.8, _FAST),
    )
}


def _too_deep(network: Network) -> bool:
    return max(stage.repeats for stage in network.stages) > MOST_REPEATS


def member(base: Network, coefficients: Coefficients, phi: float) -> Network:
    """Return the family's member at `phi`; ValueError where a stage would exceed 10,000 blocks."""
    network = compound(base, coefficients, phi)
    if _too_deep(network):
        raise ValueError(f"at phi = {phi:g} a stage has more than {MOST_REPEATS:,} blocks")
    return network


def _plain(base: Network, coefficients: Coefficients, phi: float) -> float:
    """Return phi to five digits where they give the same network: 0 rather than just below it."""
    rounded = round(phi, PHI_DIGITS) + 0.0  # no negative zero
    same = compound(base, coefficients, rounded) == compound(base, coefficients, phi)
    return rounded if same else phi


def largest(base: Network, coefficients: Coefficients, budget: Budget | Share, fill: bool = False) -> Fit:
    """Return the family's largest member within the budget, with `fill` its rounding gap closed (D3).

    Without `fill` the network is exactly `compound` at the phi of the result. Unlike `budget.fit` this
    never narrows what the rule itself does not: OverBudgetError where the rule's smallest member costs
    more than the budget, ValueError where the budget takes stages of more than 10,000 blocks.
    """
    share = budget.share if isinstance(budget, Budget) else budget

    def share_at(phi: float) -> float:
        network = compound(base, coefficients, phi)
        return inf if _too_deep(network) else share(network)

    if (smallest := share_at(LOWEST_PHI)) > 1:
        raise OverBudgetError(smallest)
    phi = _plain(base, coefficients, solve_phi(share_at))
    if _too_deep(compound(base, coefficients, phi + 2 * 10**-PHI_DIGITS)):
        raise ValueError(f"the budget takes a stage of more than {MOST_REPEATS:,} blocks")
    network = compound(base, coefficients, phi)
    used: tuple[str, ...] = ()
    if fill:
        network, used = repair(network, share)
    realised = realised_multipliers(base, network)
    return Fit(phi, network, share(network), used, realised, clamped=False)


SMALLEST_STEP = 0.005
MOST_COEFFICIENTS = 1_000_000


@dataclass(frozen=True)
class GridPoint:
    """A network that coefficients of the grid give at phi = 1, with all coefficients that give it.

    Attributes:
        coefficients: (alpha, beta, gamma), in ascending order.
        cost: the network's own, with all rounding.
    """

    network: Network
    cost: Cost
    coefficients: tuple[tuple[float, float, float], ...]

    @property
    def growths(self) -> tuple[float, float]:
        """The least and the greatest alpha * beta^2 * gamma^2 of the coefficients: the promised growth."""
        growths = [alpha * beta**2 * gamma**2 for alpha, beta, gamma in self.coefficients]
        return min(growths), max(growths)


def grid(
    base: Network, step: float = 0.05, growth: float = GROWTH, tolerance: float = 0.05
) -> list[GridPoint]:
    """Return the networks of the grid search for coefficients (Tan and Le 2019, section 4, step 1).

    phi is 1, and alpha, beta and gamma run from 1 in steps of `step`; those stay whose product
    alpha * beta^2 * gamma^2 is `growth` to within the fraction `tolerance`. Equal networks are one point.
    Points are in ascending order of true FLOPs. ValueError where the grid is too fine or holds the base.
    """
    _check_grid(step, growth, tolerance)
    triples: dict[tuple[object, ...], list[tuple[float, float, float]]] = {}
    # Repeats hang on alpha alone, channels on beta alone, the resolution on gamma alone.
    most = growth * (1 + tolerance)
    repeats = {a: tuple(s.repeats for s in scale(base, depth=a).stages) for a in _axis(step, most)}
    widths = {b: _channels(scale(base, width=b)) for b in _axis(step, sqrt(most))}
    sides = {g: scale(base, resolution=g).resolution for g in widths}
    for alpha, beta, gamma in _on_constraint(list(repeats), list(widths), growth, tolerance):
        key = (repeats[alpha], widths[beta], sides[gamma])
        triples.setdefault(key, []).append((alpha, beta, gamma))
    points = (_point(base, coefficients) for coefficients in triples.values())
    return sorted(points, key=lambda point: (point.cost.flops, point.cost.params))


def _check_grid(step: float, growth: float, tolerance: float) -> None:
    if not SMALLEST_STEP <= step <= 1:
        raise ValueError(f"a step must be from {SMALLEST_STEP} to 1, but got {step}")
    if not 1 < growth <= 100:
        raise ValueError(f"growth must be above 1 and at most 100, but got {growth}")
    if not (0 <= tolerance < 1 and growth * (1 - tolerance) > 1):
        raise ValueError(
            f"growth less the tolerance must exceed 1, so that the base is no point of the grid, "
            f"but got growth {growth} and tolerance {tolerance}"
        )


def _axis(step: float, most: float) -> list[float]:
    count = int((most - 1) / step + 1e-9)
    return [round(1 + index * step, 9) for index in range(count + 1)]


def _channels(network: Network) -> tuple[int | None, ...]:
    stages = (stage.channels for stage in network.stages)
    return (network.stem.channels, *stages, network.head.channels)


def _on_constraint(
    alphas: list[float], betas: list[float], growth: float, tolerance: float
) -> Iterator[tuple[float, float, float]]:
    """Yield the coefficients within the tolerance; gamma runs over the same values as beta."""
    slack, found = tolerance + 1e-9, 0
    for beta in betas:
        for gamma in betas:
            area = (beta * gamma) ** 2
            low = bisect_left(alphas, growth * (1 - slack) / area)
            high = bisect_right(alphas, growth * (1 + slack) / area)
            if (found := found + high - low) > MOST_COEFFICIENTS:
                raise ValueError(f"the grid has more than {MOST_COEFFICIENTS:,} coefficients: widen the step")
            yield from ((alpha, beta, gamma) for alpha in alphas[low:high])


def _point(base: Network, coefficients: list[tuple[float, float, float]]) -> GridPoint:
    ordered = tuple(sorted(coefficients))
    network = scale(base, *ordered[0])
    return GridPoint(replace(network, name=base.name), network.cost(), ordered)
