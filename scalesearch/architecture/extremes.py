"""The exact least and greatest cost of a space, each measure on its own, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import log, prod
from typing import Any, NamedTuple

import numpy as np

from scalesearch.architecture.budget import ANY_RESOLUTION, LOWEST_PHI
from scalesearch.architecture.domains import Same, label
from scalesearch.architecture.kinds import FREE_OPTIONS
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.polynomials import MEASURES, Numbers
from scalesearch.architecture.rounding import RESOLUTION_STEP, SMALLEST_RESOLUTION
from scalesearch.architecture.scaling import Coefficients, scale
from scalesearch.architecture.space import SearchSpace, leaves
from scalesearch.architecture.structure import is_open, values
from scalesearch.architecture.sweep import NEVER, RISING, Sweep
from scalesearch.architecture.ties import root
from scalesearch.errors import InputError

MOST_TIED = 10_000
COST_FREE = (*FREE_OPTIONS, "drop_path", "dropout", "eps", "momentum")

Document = Mapping[str, Any]


def extremes(space: SearchSpace, classes: int) -> tuple[Cost, Cost]:
    """Return the least and the greatest cost of the space's bases (phi = 0) with so many classes.

    Each figure is the extreme of its own measure; they belong to different bases. Ranges of any number are
    exact too, but for the expand of a fused_mbconv from 1 that is tied to others: its ends are taken.
    Raises InputError where ties couple more than 10,000 combinations of values.
    """
    least, greatest = (sign * _extreme(space, classes, sign) for sign in (1, -1))
    return Cost(*least.tolist()), Cost(*greatest.tolist())


def _extreme(space: SearchSpace, classes: int, sign: int) -> Numbers:
    best = np.full(len(MEASURES), NEVER)
    for document in _untied(space.document):
        sweep = Sweep(document, classes, sign)
        for resolution in _resolutions(document["resolution"], sweep):
            best = np.minimum(best, sweep.best(resolution, best if sign > 0 else None))
    return best


def least(space: SearchSpace, classes: int) -> Cost:
    """Return the least cost that a deployed network of any candidate can have, each measure on its own.

    That is what `budget.fit` can get down to: the member at LOWEST_PHI as it is, or narrowed and its
    resolution lowered. Of a video whose frame has unequal sides and coefficients of any number, the ends and
    the shares of `_coefficients` are taken. Raises InputError as `extremes`.
    """
    best = np.full(len(MEASURES), NEVER)
    for document in _untied(space.document):
        for floor in _floors(space.coefficients, document):
            sweep = Sweep(document, classes, 1, floor.depth, floor.narrow)
            best = np.minimum(best, sweep.best(floor.resolution, best))
    return Cost(*best.tolist())


def _resolutions(node: Any, sweep: Sweep) -> tuple[Any, ...]:
    """Return the resolutions that may be the best: cost rises with each side."""
    if isinstance(node, list):
        return (tuple(sweep.end(values(side)) for side in node),)
    found = values(node)
    return found if isinstance(found[0], tuple) else (sweep.end(found),)


# Ties


def _untied(document: Document) -> Iterator[Document]:
    """Yield the document without ties, once for each joint value of the leaves that others are tied to."""
    fields: dict[str, set[str]] = {}
    for path, node in leaves(document):
        if isinstance(node, Same):
            name = root(document, label(path), node)[0]
            fields.setdefault(name, {_field(name)}).add(_field(label(path)))
    coupled = [name for name, used in fields.items() if _couples(used)]
    options = [values(root(document, name, Same(name))[1]) for name in coupled]
    if (count := prod(len(found) for found in options)) > MOST_TIED:
        raise InputError(
            f"for the exact cost of a space ties may couple at most {MOST_TIED:,} combinations of values, "
            f"but {', '.join(coupled)} have {count:,}"
        )
    for joint in product(*options):
        yield _without_ties(document, document, dict(zip(coupled, joint, strict=True)), "")


def _field(name: str) -> str:
    return name.rsplit(".", 1)[-1] if not name.startswith("resolution") else "resolution"


def _couples(fields: set[str]) -> bool:
    """Return whether a tie matters: fields of no cost, or with which every cost rises, may go alone."""
    return not (fields <= {*RISING, *COST_FREE, "resolution"})


def _without_ties(document: Document, node: Any, given: Document, name: str) -> Any:
    if isinstance(node, Mapping):
        children = ((key, child, f"{name}.{key}" if name else key) for key, child in node.items())
        return {key: _without_ties(document, child, given, path) for key, child, path in children}
    if isinstance(node, list):
        return [_without_ties(document, child, given, f"{name}.{i}") for i, child in enumerate(node)]
    name, node = root(document, name, node)
    return given.get(name, node)


# Floors


class _Floor(NamedTuple):
    """What a fit can take a base down to.

    Attributes:
        narrow: whether every width is at its least; else widths are the base's, because beta is 1.
        depth: what repeats are multiplied by.
    """

    narrow: bool
    depth: float
    resolution: Any

    def within(self, other: _Floor) -> bool:
        """Return whether each network of this floor costs no more than its counterpart of the other."""
        mine, others = (f if isinstance(f, tuple) else (f,) for f in (self.resolution, other.resolution))
        smaller = all(one <= two for one, two in zip(mine, others, strict=True))
        return self.narrow == other.narrow and self.depth <= other.depth and smaller


def _floors(domains: Document, document: Document) -> list[_Floor]:
    """Return the floors that may be the lowest, narrow ones first."""
    repeats = [min((r for r in values(row["repeats"]) if r), default=1) for row in document["stages"]]
    found = {
        _floor(chosen, resolution, narrow, max(repeats))
        for chosen in _coefficients({**document, "coefficients": domains}, repeats)
        for resolution in values(document["resolution"])
        for narrow in ((True, False) if chosen.beta == 1 else (True,))
    }
    lowest = [one for one in found if not any(other.within(one) for other in found - {one})]
    return sorted(lowest, reverse=True)


def _floor(chosen: Coefficients, resolution: Any, narrow: bool, most_repeats: int) -> _Floor:
    dims = len(resolution) if isinstance(resolution, tuple) else 2
    model = Network("", resolution, Stem(8), (Stage("mbconv", 8, 1),), Head(), dims=dims)
    lowest = ANY_RESOLUTION.clamp(scale(model, resolution=chosen.gamma**LOWEST_PHI)).resolution
    lowest = _lowered(lowest) if narrow else lowest
    # From 1 / repeats on a smaller multiplier changes nothing.
    return _Floor(narrow, max(chosen.alpha**LOWEST_PHI, 1 / most_repeats), lowest)


def _lowered(resolution: int | tuple[int, ...]) -> int | tuple[int, ...]:
    """Return the resolution at which `budget.fit` stops lowering it."""
    sides = resolution[-2:] if isinstance(resolution, tuple) else (resolution,)
    less = max(0, (min(sides) - SMALLEST_RESOLUTION) // RESOLUTION_STEP * RESOLUTION_STEP)
    if not isinstance(resolution, tuple):
        return resolution - less
    return (*resolution[:-2], *(side - less for side in sides))


def _coefficients(document: Document, repeats: Sequence[int]) -> Iterator[Coefficients]:
    """Yield the coefficients that may give the lowest floor.

    The most growth shrinks depth and resolution most, and what width leaves goes to resolution. Between
    depth and resolution those shares of depth count at which a stage just reaches a number of repeats.
    """
    (_, growths), (origin, depth), (width_origin, width) = (
        root(document, f"coefficients.{name}", document["coefficients"][name])
        for name in ("growth", "depth", "width")
    )
    growth, depths = float(max(values(growths))), {float(value) for value in values(depth)}
    if is_open(depth):
        steps = {log(r / fewer) / log(growth) / -LOWEST_PHI for r in repeats for fewer in range(1, r)}
        depths |= {step for step in steps if min(depths) < step < max(depths)}
    for share in sorted(depths):
        rest = share if width_origin == origin else float(min(values(width)))
        yield Coefficients.from_shares(share, (1 - share) * rest, growth)
