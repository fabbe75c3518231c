"""How a network grows: multipliers and compound coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm, log

from scalesearch.architecture.network import Network
from scalesearch.architecture.operators import OPERATORS, any_width
from scalesearch.architecture.rounding import round_channels, round_repeats, round_resolution


def _wider(channels: int, width: float, multiple: int) -> int:
    return channels if width == 1 else round_channels(channels * width, multiple)


def _scaled_resolution(resolution: int | tuple[int, ...], factor: float) -> int | tuple[int, ...]:
    if factor == 1:
        return resolution
    if isinstance(resolution, tuple):  # of a video the frame grows, and the number of frames stays
        frames, sides = resolution[:-2], resolution[-2:]
        return (*frames, *(round_resolution(side * factor) for side in sides))
    return round_resolution(resolution * factor)


def with_valid_widths(network: Network) -> Network:
    """Raise channels to what the next stage's operator needs of them; a network that builds stays as it is.

    The first unit of a ShuffleNetV1 stage divides what comes in by its groups, and must widen it.
    """
    operators = [OPERATORS[stage.operator] for stage in network.stages]
    if all(operator.multiple is any_width for operator in operators):
        return network
    widths = [network.stem.channels, *(stage.channels for stage in network.stages)]
    own = [1, *(op.multiple(dict(s.options)) for op, s in zip(operators, network.stages, strict=True))]
    grid = [network.stem.divisor, *(stage.multiple for stage in network.stages)]
    widths = [-(-width // multiple) * multiple for width, multiple in zip(widths, own, strict=True)]
    for index, (operator, stage) in enumerate(zip(operators, network.stages, strict=True)):
        if stage.stride == 1 and widths[index] == widths[index + 1]:
            continue
        needed = operator.input_multiple(dict(stage.options))
        if widths[index] % needed:
            step = lcm(grid[index], needed)
            widths[index] = -(-widths[index] // step) * step
        if operator.widens and widths[index + 1] <= widths[index]:
            widths[index + 1] = (widths[index] // own[index + 1] + 1) * own[index + 1]
    if widths == [network.stem.channels, *(stage.channels for stage in network.stages)]:
        return network
    stages = zip(network.stages, widths[1:], strict=True)
    return replace(
        network,
        stem=replace(network.stem, channels=widths[0]),
        stages=tuple(stage.sized(width, stage.repeats) for stage, width in stages),
    )


def scale(network: Network, depth: float = 1, width: float = 1, resolution: float = 1) -> Network:
    """Multiply repeats, channels (stem and head included) and resolution, each rounded by its rule.

    EfficientNet, Tan and Le 2019, equation 3: d, w and r applied to the baseline.
    """
    stages = tuple(
        stage.sized(
            channels=_wider(stage.channels, width, stage.multiple),
            repeats=round_repeats(stage.repeats * depth),
        )
        for stage in network.stages
    )
    stem = replace(network.stem, channels=_wider(network.stem.channels, width, network.stem.divisor))
    head = network.head
    if head.channels is not None:
        head = replace(head, channels=_wider(head.channels, width, head.divisor))
    return with_valid_widths(
        replace(
            network,
            stem=stem,
            stages=stages,
            head=head,
            resolution=_scaled_resolution(network.resolution, resolution),
        )
    )


LARGEST_COEFFICIENT = 100


@dataclass(frozen=True)
class Coefficients:
    """Compound scaling: depth alpha^phi, width beta^phi, resolution gamma^phi (Tan and Le 2019, eq. 3)."""

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if not 1 <= value <= LARGEST_COEFFICIENT:
                raise ValueError(
                    f"{name} must be at least 1 and at most {LARGEST_COEFFICIENT}, but got {value}"
                )
        if self.growth == 1:
            raise ValueError("one of alpha, beta and gamma must exceed 1, but all are 1")

    @property
    def growth(self) -> float:
        """What one step of phi multiplies the FLOPs by, rounding aside: alpha * beta^2 * gamma^2."""
        return self.alpha * self.beta**2 * self.gamma**2

    @property
    def shares(self) -> tuple[float, float, float]:
        """How much of the growth goes to depth, width and resolution; they sum to 1."""
        total = log(self.growth)
        return (
            log(self.alpha) / total,
            2 * log(self.beta) / total,
            2 * log(self.gamma) / total,
        )

    @classmethod
    def from_shares(cls, depth: float, width: float, growth: float = 2.0) -> Coefficients:
        """Return the coefficients whose growth is `growth`; resolution gets what depth and width leave."""
        resolution = max(0.0, 1 - depth - width)
        return cls(growth**depth, growth ** (width / 2), growth ** (resolution / 2))


def compound(network: Network, coefficients: Coefficients, phi: float) -> Network:
    """Return the member of the family at `phi` (Tan and Le 2019, equation 3); phi may be negative."""
    return scale(network, coefficients.alpha**phi, coefficients.beta**phi, coefficients.gamma**phi)
