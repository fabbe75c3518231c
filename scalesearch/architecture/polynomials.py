"""Costs as tables: what a block costs is a polynomial, found by running its layer rules.

At a fixed input width, every cost of a block is a sum of terms P * u^j: P is the number of positions that go
in, the number that come out, or 1; u is the output width in units of what the operator asks of it; j is 0,
1 or 2. The layer rules of `layers.py`, run on arrays, give the values at a few points; differences give the
coefficients, exactly; further points prove that the polynomial is the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd, lcm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.layers import Cost, Layer, Shape
from scalesearch.architecture.rounding import MixedError

Numbers = NDArray[np.int64]

MEASURES = ("flops", "params", "activations")
POSITIONS = ("in", "out", "one")
DEGREE = 2
COARSER = (1, 2, 4, 8)
INVALID = -(2**42)  # the cost of blocks that cannot be built


class NotPolynomialError(ValueError):
    """A rule's cost is no polynomial of the assumed form."""


class Rule(NamedTuple):
    """What a table holds an entry for.

    Attributes:
        layer: (in widths, out widths) -> Layer. stride: over all spatial dimensions.
        unit: out widths are multiples of it. divides: in widths are. equal: in and out width are the same.
    """

    layer: Callable[[Numbers, Numbers], Layer]
    stride: int
    unit: int = 1
    divides: int = 1
    equal: bool = False


class Term(NamedTuple):
    """Coefficients of one monomial of one measure; `values` is flat over entries and input widths."""

    measure: str
    positions: str
    degree: int
    values: Numbers


@dataclass(frozen=True, eq=False)
class Table:
    """The costs of some rules at the input widths 0, step, 2 * step, ...

    Attributes:
        columns: how many input widths. scale: what the coefficients were multiplied by to be whole.
        units: by entry, what the out widths are multiples of.
    """

    terms: tuple[Term, ...]
    step: int
    columns: int
    scale: int
    units: Numbers

    def add(
        self,
        total: Cost,
        entry: Numbers,
        channels: Numbers,
        positions: Mapping[str, Numbers],
        width: Numbers | None = None,
        measures: Sequence[str] = MEASURES,
    ) -> None:
        """Add costs, times the table's scale, to a total; all arrays are of one length.

        `positions` are those in and out, and how often the cost counts under "one". Without `width` the
        entries are of blocks that keep it.
        """
        index = entry * self.columns
        index += channels // self.step
        monomials = _Monomials({(where, 0): numbers for where, numbers in positions.items()}, width)
        for measure, where, degree, values in self.terms:
            if measure not in measures or where not in positions or (width is None and degree):
                continue
            term = values.take(index)
            term *= monomials[where, degree]
            amount: Any = getattr(total, measure)
            amount += term


class _Monomials(dict[tuple[str, int], Numbers]):
    """Positions times powers of the width, each made when it is first asked for."""

    def __init__(self, positions: Mapping[tuple[str, int], Numbers], width: Any) -> None:
        super().__init__(positions)
        self._width = width

    def __missing__(self, key: tuple[str, int]) -> Numbers:
        where, degree = key
        return self.setdefault(key, self[where, degree - 1] * self._width)


def tabulate(rules: Sequence[Rule], dims: int, step: int, columns: int) -> Table:
    """Return the table of rules over the input widths 0, step, ..., (columns - 1) * step.

    Entry 0 is the absent part; rule i is entry i + 1.
    Raises NotPolynomialError where a rule is none of the assumed form.
    """
    widths = np.arange(columns, dtype=np.int64) * step
    found = [_coefficients(rule, dims, widths) for rule in rules]
    scale = lcm(*(entry.denominator for entry in found))
    shape = (len(rules) + 1, len(MEASURES), len(POSITIONS), DEGREE + 1, columns)
    all_ = np.zeros(shape, dtype=np.int64)
    for index, entry in enumerate(found, 1):
        all_[index] = entry.numerators * (scale // entry.denominator)
    terms = [
        Term(measure, positions, degree, np.ascontiguousarray(all_[:, m, p, degree]).ravel())
        for m, measure in enumerate(MEASURES)
        for p, positions in enumerate(POSITIONS)
        for degree in range(DEGREE + 1)
        if all_[:, m, p, degree].any()
    ]
    units = np.array([1, *(entry.unit for entry in found)])
    return Table(tuple(terms), step, columns, scale, units)


class _Entry(NamedTuple):
    numerators: Numbers  # (measure, positions, degree, width)
    denominator: int
    unit: int  # the out widths that they hold for are multiples of it


def _coefficients(rule: Rule, dims: int, widths: Numbers) -> _Entry:
    """Return a rule's coefficients; where it rounds widths down, for every second, fourth, ... width only."""
    for coarser in COARSER:
        try:
            return _entry(rule._replace(unit=coarser * rule.unit), dims, widths)
        except NotPolynomialError:
            if coarser == COARSER[-1]:
                raise
    raise AssertionError


def _entry(rule: Rule, dims: int, widths: Numbers) -> _Entry:
    valid = np.flatnonzero((widths > 0) & (widths % (rule.unit if rule.equal else rule.divides) == 0))
    ins = widths[valid]
    first = ins // rule.unit + 1
    points = (0,) if rule.equal else (0, 1, 2)
    values = _values(rule, ins, [first + point for point in points], _sizes(rule.stride, dims))
    numerators, denominator = _monomials(_by_positions(values, rule.stride), first, rule)
    _prove(rule, ins, first, numerators, denominator, dims)
    whole = np.zeros((len(MEASURES), len(POSITIONS), DEGREE + 1, len(widths)), dtype=np.int64)
    whole[:, POSITIONS.index("one"), 0] = INVALID
    whole[..., valid] = numerators
    return _Entry(whole, denominator, rule.unit)


def _sizes(stride: int, dims: int) -> tuple[tuple[int, ...], ...]:
    """Return three sizes from which the terms of the positions in, of those out and of neither follow."""
    rest = (1,) * (dims - 2)
    return (stride, 1, *rest), (stride, 2, *rest), (2 * stride, 1, *rest)


def _values(rule: Rule, ins: Numbers, units: Sequence[Numbers], sizes: Sequence[tuple[int, ...]]) -> Numbers:
    """Return (measure, size, point, width): what the layer rules give, run once over everything."""
    shape = (len(sizes), len(units), len(ins))
    every_in = np.broadcast_to(ins, shape).ravel()
    every_out = every_in if rule.equal else np.broadcast_to(np.stack(units) * rule.unit, shape).ravel()
    sides = [np.repeat(side, len(units) * len(ins)) for side in zip(*sizes, strict=True)]
    try:
        cost = rule.layer(every_in, every_out).cost(Shape(every_in, tuple(sides)))  # type: ignore[arg-type]
    except MixedError:  # a rule that asks whether two widths are equal gets one width at a time
        if len(ins) == 1:
            raise
        columns = [slice(i, i + 1) for i in range(len(ins))]
        return np.concatenate([_values(rule, ins[c], [u[c] for u in units], sizes) for c in columns], axis=-1)
    whole = [np.broadcast_to(getattr(cost, name), every_in.shape) for name in MEASURES]
    return np.array(whole, dtype=np.int64).reshape(len(MEASURES), *shape)


def _by_positions(values: Numbers, stride: int) -> Numbers:
    """Turn values (measure, size, point, width) into coefficients (measure, positions, point, width)."""
    small, wide, tall = np.moveaxis(values, 1, 0)
    if stride == 1:
        outside = tall - small
        return np.stack([np.zeros_like(outside), outside, small - outside], axis=1)
    inside, left = np.divmod(wide - small, stride)
    outside = tall - wide
    if left.any():
        raise NotPolynomialError("costs must be sums of whole multiples of positions in and out")
    return np.stack([inside, outside, small - stride * inside - outside], axis=1)


def _monomials(values: Numbers, first: Numbers, rule: Rule) -> tuple[Numbers, int]:
    """Turn values (measure, positions, point, width) at first, first + 1, first + 2 units into monomials."""
    if rule.equal:
        numerators = np.concatenate([values, np.zeros_like(values), np.zeros_like(values)], axis=2)
        return numerators, 1
    v0, v1, v2 = np.moveaxis(values, 2, 0)
    slope, bend = v1 - v0, v2 - 2 * v1 + v0
    unit = rule.unit
    numerators = np.stack(
        [
            (2 * v0 - 2 * slope * first + bend * first * (first + 1)) * unit**2,
            (2 * slope - bend * (2 * first + 1)) * unit,
            bend,
        ],
        axis=2,
    )
    common = gcd(int(np.gcd.reduce(numerators, axis=None)), 2 * unit**2)
    return numerators // common, 2 * unit**2 // common


def _prove(
    rule: Rule, ins: Numbers, first: Numbers, numerators: Numbers, denominator: int, dims: int
) -> None:
    """Raise NotPolynomialError where the rule and its polynomial differ at points that did not make it."""
    for further, sides in ((3, (3, 5)), (29, (6, 1))):
        units = first + further
        size = tuple(rule.stride * side for side in (*sides, 1)[:dims])
        outs = ins if rule.equal else units * rule.unit
        inside, outside = int(np.prod(size)), int(np.prod([side // rule.stride for side in size]))
        powers = np.stack([outs**0, outs, outs**2])
        positions = np.array([inside, outside, 1])
        predicted = np.einsum("mpdw,p,dw->mw", numerators, positions, powers)
        if not np.array_equal(predicted, denominator * _values(rule, ins, [units], [size])[:, 0, 0]):
            raise NotPolynomialError(
                "the cost of a block must be a polynomial of degree 2 in its output width (in multiples of "
                f"{rule.unit}), but that of {rule.layer} is not"
            )
