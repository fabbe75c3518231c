"""Which widths of a domain are raised to a network's: `with_valid_widths` one stage at a time."""

from __future__ import annotations

from functools import lru_cache

from scalesearch.architecture.domains import Choice, Domain
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.scaling import with_valid_widths


@lru_cache(maxsize=10_000)
def settled(width: int, multiple: int, stage: Stage) -> tuple[int, int]:
    """Return what `with_valid_widths` makes of the widths before and after one stage."""
    alone = Network("", 1, Stem(width, divisor=multiple), (stage,), Head())
    valid = with_valid_widths(alone)
    return valid.stem.channels, valid.stages[0].channels


def rises(width: int, wanted: int, needed: int) -> bool:
    """Return whether a need of the next stage may raise a width to the one that is wanted."""
    return width < wanted and width % needed > 0


def values_between(domain: Domain, above: int, top: int) -> list[int]:
    """Return a domain's values in (above, top], rising."""
    if isinstance(domain, Choice):
        return sorted(value for value in domain.values if above < value <= top)
    step = int(domain.step or 1)
    first = max(0, (above - int(domain.low)) // step + 1)
    return list(range(int(domain.low) + first * step, int(min(domain.high, top)) + 1, step))
