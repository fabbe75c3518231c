"""How near compound scaling comes to published multipliers, and whether any phi gives the exact network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log

from scalesearch.architecture.network import Network
from scalesearch.architecture.scaling import Coefficients, compound

DIMENSIONS = ("depth", "width", "resolution")
_LARGEST_GROWTH = 1e12  # phi is looked for where alpha^phi * beta^2phi * gamma^2phi is up to this, and down


@dataclass(frozen=True)
class Explanation:
    """A published member of a family beside the formula of Tan and Le 2019, equation 3.

    Attributes:
        multipliers: the published depth, width and resolution over the base.
        phi: least squares in log space over the three.
        implied: the phi that each multiplier alone implies, and the FLOPs with the growth as base; None
            where its coefficient is 1.
        exact: the interval of phi whose channels and repeats equal the network's, resolution aside; None
            where no phi gives them.
        formula: the family's member at `phi`, rounded by the scaling rules.
    """

    network: Network
    base: Network
    coefficients: Coefficients
    multipliers: tuple[float, float, float]
    phi: float
    implied: dict[str, float | None]
    exact: tuple[float, float] | None
    formula: Network

    @property
    def formula_multipliers(self) -> tuple[float, float, float]:
        """The formula's depth alpha^phi, width beta^phi and resolution gamma^phi at `phi`."""
        depth, width, resolution = (base**self.phi for base in _bases(self.coefficients))
        return depth, width, resolution

    @property
    def deviations(self) -> tuple[float, float, float]:
        """How far the formula is from the published multipliers, as fractions of these."""
        pairs = zip(self.formula_multipliers, self.multipliers, strict=True)
        depth, width, resolution = (formula / published - 1 for formula, published in pairs)
        return depth, width, resolution


def _bases(coefficients: Coefficients) -> tuple[float, float, float]:
    return coefficients.alpha, coefficients.beta, coefficients.gamma


def side(network: Network) -> int:
    """Return the input's side in pixels; of a video, a frame's."""
    return network.input.size[-1]


def explain(
    network: Network, base: Network, depth: float, width: float, coefficients: Coefficients
) -> Explanation:
    """Explain a network that is `base` under published depth and width multipliers."""
    multipliers = (depth, width, side(network) / side(base))
    logs = [log(multiplier) for multiplier in multipliers]
    steps = [log(each) for each in _bases(coefficients)]
    # Minimises the sum of (phi * step - log multiplier)^2.
    phi = sum(a * b for a, b in zip(steps, logs, strict=True)) / sum(step**2 for step in steps)
    implied = {
        name: value / step if step else None
        for name, value, step in zip(DIMENSIONS, logs, steps, strict=True)
    }
    implied["flops"] = log(network.cost().flops / base.cost().flops) / log(coefficients.growth)
    return Explanation(
        network=network,
        base=base,
        coefficients=coefficients,
        multipliers=multipliers,
        phi=phi,
        implied=implied,
        exact=exact_interval(network, base, coefficients),
        formula=compound(base, coefficients, phi),
    )


def _sizes(network: Network) -> tuple[int, ...]:
    """Return all channels and repeats: what scaling changes, resolution aside."""
    stages = (number for stage in network.stages for number in (stage.channels, stage.repeats))
    return (network.stem.channels, *stages, network.head.channels or 0)


def exact_interval(network: Network, base: Network, coefficients: Coefficients) -> tuple[float, float] | None:
    """Return the phi from which to which compound scaling of `base` gives `network`'s channels and repeats.

    Each rounded size is a non-decreasing step function of phi, so the phi that give all of them are one
    interval: from where none is too small any more to where the first becomes too large. Ends are exact to
    about 1e-12; either may itself belong to the interval or just not.
    """
    wanted = _sizes(network)

    def sizes(phi: float) -> tuple[int, ...]:
        return _sizes(compound(base, coefficients, phi))

    def none_too_small(phi: float) -> bool:
        return all(size >= want for size, want in zip(sizes(phi), wanted, strict=True))

    def one_too_large(phi: float) -> bool:
        return any(size > want for size, want in zip(sizes(phi), wanted, strict=True))

    end = log(_LARGEST_GROWTH) / log(coefficients.growth)
    low, high = _first(none_too_small, -end, end), _first(one_too_large, -end, end)
    return (low, high) if low < high and sizes((low + high) / 2) == wanted else None


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition that stays true begins to hold in [low, high], by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
