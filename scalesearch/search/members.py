"""Members of a family from small to large, at one stride plan: what a scaling law is fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scalesearch.architecture.budget import BAND, Fit, UnfitError
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import Candidate
from scalesearch.errors import InputError
from scalesearch.search.directions import fine
from scalesearch.search.law import FEWEST_DECADES, FEWEST_SEEDS, fit_law

LARGEST = 4.0  # times a proxy's cost


@dataclass(frozen=True)
class Family:
    """A family of networks with its name and where it is from."""

    name: str
    candidate: Candidate
    source: str


@dataclass(frozen=True)
class Member:
    """A member of a family; `name` is its own among all, `target` the cost that it was fitted to."""

    name: str
    family: str
    target: float
    fit: Fit


def default_range(policy: ProxyPolicy) -> tuple[float, float]:
    """Return the costs of the smallest and the largest member: about an eighth of a proxy's, and 4 times it.

    A member may cost 3 % less than it was asked to; the range is the wider for it, so that what is trained
    spans the decades that a law needs.
    """
    high = LARGEST * policy.flops
    return BAND * high / 10**FEWEST_DECADES, high


def sizes_between(low: float, high: float, count: int) -> list[float]:
    """Return `count` costs from `low` to `high` at equal ratios."""
    return [float(size) for size in np.geomspace(low, high, count)]


def members(
    family: Family, sizes: Sequence[float], policy: ProxyPolicy, classes: int, data_resolution: int
) -> list[Member]:
    """Return the family's members of these costs: a search's proxies, with channels in steps of 1.

    Raises InputError where a member does not get so small at the recipe's resolution, or is another's
    network.
    """
    found: list[Member] = []
    for number, size in enumerate(sizes):
        fitted = _fitted(family, size, policy, classes, data_resolution)
        if any(fitted.network == other.fit.network for other in found):
            raise InputError(
                f"--sizes: {family.name} has one network for two sizes near {size:,.0f} "
                "multiply-accumulates: ask for fewer sizes or a wider range"
            )
        name = f"{family.name}_{number}"
        fitted = replace(fitted, network=replace(fitted.network, name=name))
        found.append(Member(name, family.name, size, fitted))
    return found


def _fitted(family: Family, size: float, policy: ProxyPolicy, classes: int, data_resolution: int) -> Fit:
    candidate = replace(family.candidate, base=fine(family.candidate.base))
    least = min(policy.min_resolution, policy.base_resolution, data_resolution)
    try:
        fitted = candidate.proxy(policy, size, classes, data_resolution)
    except UnfitError:
        fitted = None
    if fitted is None or fitted.network.input.size[0] < least:
        raise InputError(
            f"--from: {family.name} has no member of {size:,.0f} multiply-accumulates at {least} px or more"
        )
    return fitted


def check_sizes(found: Sequence[Member]) -> None:
    """Raise the law's own InsufficientEvidence where it could not be fitted to these members, all trained."""
    costs = [float(one.fit.network.cost().flops) for one in found]
    fit_law([(cost, seed, 1.0) for cost in costs for seed in range(FEWEST_SEEDS)], resamples=1)
