"""The domains that a leaf of a space document can have, and how a value is drawn from one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `show` and `scale` start without NumPy
    import numpy as np

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a choice needs at least one value, but got none")

    def contains(self, value: Any) -> bool:
        """Return whether `value` is one of the values."""
        return value in self.values

    def samples(self) -> tuple[Any, ...]:
        """Return the values that stand for the domain in checks and in the search for extremes."""
        return self.values

    def __len__(self) -> int:
        return len(self.values)


FINEST = 1e12  # steps of a range; beyond that floats hardly tell neighbours apart


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`, both included; whole where both are whole.

    Attributes:
        step: distance between neighbours, or None for every number (float) or every whole number.
        log: draw evenly over the logarithm.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"a range needs low <= high, but got [{self.low}, {self.high}]")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low > 0, but got {self.low}")
        if self.log and self.step is not None:
            raise ValueError(f"a log range takes no step, but got {self.step}")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"a range's step must be positive, but got {self.step}")
        if self.step is not None and (self.high - self.low) / self.step > FINEST:
            raise ValueError(f"a range has at most {FINEST:g} steps, but its step is {self.step}")
        if self.step is not None and not self.contains(self.high):
            raise ValueError(
                f"a range's high must lie a whole number of steps above low, "
                f"but got [{self.low}, {self.high}] in steps of {self.step}"
            )

    @property
    def whole(self) -> bool:
        """Whether the values are whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def contains(self, value: Any) -> bool:
        """Return whether `value` lies on the range's grid."""
        step = self.step or (1 if self.whole else None)
        # 0.1 taken three times is 0.30000000000000004.
        slack = 1e-9 * step if step else 0
        if not isinstance(value, int | float) or not self.low - slack <= value <= self.high + slack:
            return False
        return step is None or abs((value - self.low) / step - round((value - self.low) / step)) < 1e-9

    def samples(self) -> tuple[Any, ...]:
        """Return the values that stand for the domain in checks and in the search for extremes."""
        return (self.low, self.high)

    def __len__(self) -> int:
        """Return how many values there are; a continuous range counts as one."""
        step = self.step or (1 if self.whole else None)
        return 1 if step is None else int((self.high - self.low) / step + 1e-9) + 1


class TieError(ValueError):
    """A tie names a leaf that does not come before it."""


@dataclass(frozen=True)
class Same:
    """The value that an earlier leaf has, e.g. stem.act: a tie between fields."""

    leaf: str


Domain = Choice | Range
Suggest = Callable[[str, Domain], Any]


def label(path: Path) -> str:
    """Return how a path reads, e.g. stages.2.kernel."""
    return ".".join(str(part) for part in path)


def words(domain: Domain) -> str:
    """Return what a domain allows, in words."""
    if isinstance(domain, Choice):
        return f"it is one of {', '.join(str(value) for value in domain.values)}"
    steps = f" in steps of {domain.step}" if domain.step else ""
    return f"it is from {domain.low} to {domain.high}{steps}"


def first_values(_name: str, domain: Domain) -> Any:
    """Suggest each domain's first value."""
    return domain.samples()[0]


def random_values(rng: np.random.Generator) -> Suggest:
    """Return a suggest that draws every domain evenly from `rng`."""

    def suggest(_name: str, domain: Domain) -> Any:
        if isinstance(domain, Choice):
            return domain.values[int(rng.integers(len(domain.values)))]
        if domain.log:
            drawn = 10 ** rng.uniform(log10(domain.low), log10(domain.high))
            return round(drawn) if domain.whole else float(drawn)
        if domain.step is None and not domain.whole:
            return float(rng.uniform(domain.low, domain.high))
        value = domain.low + (domain.step or 1) * int(rng.integers(len(domain)))
        return value if domain.whole else float(value)

    return suggest
