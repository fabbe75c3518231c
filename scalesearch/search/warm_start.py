"""Candidates that a search begins with: published networks, and the best of earlier runs.

They are values by leaf, as a sampler would have drawn them, so that samplers learn from them as from others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scalesearch.architecture.domains import Choice, Domain
from scalesearch.architecture.network import Network
from scalesearch.architecture.scaling import Coefficients
from scalesearch.architecture.space import SearchSpace
from scalesearch.errors import InputError
from scalesearch.search.records import TrialRecord
from scalesearch.search.selection import ranked

FROM_A_RUN = 5
PUBLISHED = Coefficients()  # EfficientNet's, as published


def values_of(space: SearchSpace, network: Network) -> dict[str, Any]:
    """Return the values, by leaf, of the family that grows from a network as EfficientNet grows.

    The base is the network at the space's resolution; each share of growth is the one that the space offers
    nearest to that of 1.2, 1.1 and 1.15 (Tan and Le 2019, section 3.3). Raises InputError where no base of
    the space is this network.
    """
    found = space.contains(network)
    if not found.inside or found.values is None:
        raise InputError(f"warm start: {network.name} is no network of the space {space.name}: {found.how}")
    base, values = found.values, {}

    def suggest(name: str, domain: Domain) -> Any:
        values[name] = base[name] if name in base else nearest(domain, _published(name))
        return values[name]

    space.draw(suggest)
    return values


def _published(name: str) -> float:
    depth, width, _ = PUBLISHED.shares
    shares = {"depth": depth, "width": width / (1 - depth), "growth": PUBLISHED.growth}
    return shares[name.removeprefix("coefficients.")]


def nearest(domain: Domain, wanted: float) -> Any:
    """Return the number of a domain that is nearest to `wanted`."""
    if isinstance(domain, Choice):
        return min(domain.values, key=lambda value: abs(value - wanted))
    kept = min(max(wanted, domain.low), domain.high)
    step = domain.step or (1 if domain.whole else None)
    if step is None:
        return kept
    snapped = domain.low + step * round((kept - domain.low) / step)
    return snapped if domain.whole else float(snapped)


def best_values(space: SearchSpace, trials: Iterable[TrialRecord]) -> list[dict[str, Any]]:
    """Return the values of the best candidates of a run that are candidates of this space too, best first."""
    valid = [trial.params for trial in ranked(trials) if is_drawn(space, trial.params)]
    return valid[:FROM_A_RUN]


def is_drawn(space: SearchSpace, values: Mapping[str, Any]) -> bool:
    """Return whether the space can draw exactly these values."""
    asked: set[str] = set()

    def suggest(name: str, domain: Domain) -> Any:
        if name not in values or not domain.contains(values[name]):
            raise _ForeignError(name)
        asked.add(name)
        return values[name]

    try:
        space.draw(suggest)
    except _ForeignError:
        return False
    return asked == set(values)


class _ForeignError(Exception):
    """A leaf has no value, or one that it does not offer."""
