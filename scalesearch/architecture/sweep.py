"""The best cost of all bases of a document without ties, by a sweep over its stage table.

What the next part needs to know of those before it is the width that comes in and the spatial sides. So the
sweep keeps the best cost of every such state, row by row, and its work grows with rows times widths squared,
not with their product. One thing looks ahead: `with_valid_widths` raises a width to what the *next* stage's
operator needs. A raised state therefore carries that need as a promise, and only stages that really have the
need (not those that keep the width at stride 1) may follow it.

Widths are all tried, because cost does not always rise with them: a ShuffleNet block that keeps its width is
cheaper than one that narrows it, and 36 may stay where 32 is raised to 48. Of repeats and of what is named
in RISING one end is enough: each adds blocks, positions or weights and takes nothing away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.kinds import FREE_OPTIONS
from scalesearch.architecture.layers import Shape, per_dimension, window
from scalesearch.architecture.network import Head, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.polynomials import MEASURES, Numbers
from scalesearch.architecture.rounding import round_repeats
from scalesearch.architecture.states import Outputs, States, merged, outputs_of
from scalesearch.architecture.structure import SURELY_EXPANDED, Kind, Sides, costs, fits, is_open, values

RISING = ("kernel", "se")  # fields with which every cost rises
NEVER = 2**61  # above every cost
Fields = Mapping[str, Any]
Mask = NDArray[np.bool_]


Found = dict[Sides, States]


class _Parts(defaultdict[Sides, list[States]]):
    """States by the sides that they have, before states that are one are merged."""

    def __init__(self) -> None:
        super().__init__(list)

    def merged(self, bound: Numbers) -> Found:
        """Return the states by sides, each once."""
        return {sides: merged(parts, bound) for sides, parts in self.items()}


class Row(NamedTuple):
    """A row of the stage table.

    Attributes:
        repeats: the best number where the stage is present, or None where it cannot be.
        widths: by kind, in the order of `kinds`.
    """

    kinds: tuple[Kind, ...]
    widths: tuple[Numbers, ...]
    strides: tuple[int, ...]
    repeats: int | None
    absent: bool


class Sweep:
    """Finds the best cost of a document without ties.

    Attributes:
        sign: 1 for the least cost, -1 for the greatest.
        depth: what repeats are multiplied by. narrow: whether every width is at its least.
    """

    def __init__(
        self, document: Fields, classes: int, sign: int = 1, depth: float = 1, narrow: bool = False
    ) -> None:
        self.document, self.classes = document, classes
        self.sign, self.depth, self.narrow = sign, depth, narrow
        self.rows = [self._row(row) for row in document["stages"]]
        needs = [{kind.needed for kind in row.kinds} - {1} for row in self.rows]
        # By row, what widths before it may be raised for.
        self.needs = [sorted(set().union(*needs[index:])) for index in range(len(needs) + 1)]

    def best(self, resolution: int | Sides, bound: Numbers | None = None) -> Numbers:
        """Return (measure,) the best costs at a resolution, or NEVER where all are above the bound."""
        self.bound = np.full(len(MEASURES), NEVER) if bound is None else bound
        sides = per_dimension(resolution, self.document.get("dims", 2))
        found = self._stem(sides)
        for index, row in enumerate(self.rows):
            found = self._through(row, found, self.needs[index + 1])
        ends = [end for sides, states in found.items() for end in self._ends(sides, states)]
        return np.min([np.full(len(MEASURES), NEVER), *ends], axis=0)  # type: ignore[no-any-return]

    # What parts can be.

    def end(self, numbers: Iterable[Any]) -> Any:
        """Return the best of some numbers with which cost rises."""
        return min(numbers) if self.sign > 0 else max(numbers)

    def _options(self, section: Fields, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        names = [name for name in names if name in section]
        for joint in product(*(self._deciding(name, values(section[name])) for name in names)):
            yield dict(zip(names, joint, strict=True))

    def _deciding(self, name: str, every: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the values of a field among which the best is."""
        alike = every if name in RISING else [v for v in every if name == "expand" and v >= SURELY_EXPANDED]
        others = tuple(value for value in every if value not in alike)
        return (*others, self.end(alike)) if alike else others

    def _row(self, row: Fields) -> Row:
        repeats = values(row["repeats"])
        present = [number for number in repeats if number]
        kinds = tuple(dict.fromkeys(self._kinds(row)))
        return Row(
            kinds,
            tuple(self._widths(row["channels"], kind.own, kind.grid) for kind in kinds),
            values(row.get("stride", 1)),
            round_repeats(self.end(present) * self.depth) if present else None,
            0 in repeats,
        )

    def _kinds(self, row: Fields) -> Iterator[Kind]:
        for operator in values(row["operator"]):
            taken = OPERATORS[operator].options
            names = [name for name in row if name in taken and name not in FREE_OPTIONS]
            anything = row["expand"] if "expand" in names and is_open(row["expand"]) else None
            for fields in self._options(row, ("divisor", *names)):
                divisor = fields.pop("divisor", 8)
                fields |= {} if anything is None else {"expand": anything.low}
                yield Kind(operator, tuple(sorted((taken | fields).items())), divisor, anything)

    def _widths(self, node: Any, own: int, grid: int) -> Numbers:
        stated = [grid] if self.narrow else values(node)
        return np.unique(-(-np.array(stated, dtype=np.int64) // own) * own)

    # The steps.

    def _stem(self, sides: Sides) -> Found:
        section, found = self.document["stem"], _Parts()
        inputs = self.document.get("in_channels", 3)
        for fields in self._options(section, ("kernel", "stride", "pool", "divisor")):
            stem = Stem(channels=1, **fields)
            stated = self._widths(section["channels"], 1, stem.divisor)
            after = stem.layer().out(Shape(inputs, sides)).size
            outputs = outputs_of(stated, stem.divisor, self.needs[0])
            cost = costs(stem.layer(outputs.width), np.full(len(outputs.width), inputs), sides)
            found[after].append(outputs.states(self.sign * cost))
        return found.merged(self.bound)

    def _through(self, row: Row, found: Found, needs: Sequence[int]) -> Found:
        """Return the states after a row, whose widths may be raised for some needs."""
        parts = _Parts()
        for sides, states in found.items():
            if row.absent:
                parts[sides].append(states)
            for step in self._steps(row, sides):
                parts[step.after] += step.taken(states, needs)
        return parts.merged(self.bound)

    def _steps(self, row: Row, sides: Sides) -> Iterator[_Step]:
        if row.repeats is None:
            return
        for (kind, widths), stride in product(zip(row.kinds, row.widths, strict=True), row.strides):
            if fits(kind, stride, sides):
                yield _Step(kind, widths, stride, row.repeats, sides, self.sign)

    def _ends(self, sides: Sides, states: States) -> Iterator[Numbers]:
        """Yield the best costs of whole networks, by head."""
        states = states.where(states.promised == 1)
        for head in self._heads() if len(states.width) else ():
            cost = costs(head.layer(self.classes), states.width, sides)
            yield (states.cost + self.sign * cost).min(axis=1)

    def _heads(self) -> Iterator[Head]:
        section = self.document.get("head", {})
        divisors = values(section.get("divisor", Head().divisor))
        channels = _with_none(values(section.get("channels", Head().channels)), self.end)
        hidden = _with_none(values(section.get("hidden")), self.end)
        for wide, inner in product(channels, hidden):
            yield Head(self.end(divisors) if wide and self.narrow else wide, hidden=inner)


def _with_none(numbers: Sequence[int | None], end: Callable[[list[int]], int]) -> list[int | None]:
    """Return the best of the numbers, and None where it is among them."""
    present = [number for number in numbers if number]
    absent: list[int | None] = [None] if len(present) < len(numbers) else []
    return absent + ([end(present)] if present else [])


class _Step(NamedTuple):
    """A stage of one kind, stride and best number of repeats, entered at some sides."""

    kind: Kind
    widths: Numbers
    stride: int
    repeats: int
    sides: Sides
    sign: int

    @property
    def after(self) -> Sides:
        """The sides that it leaves."""
        return window(self.sides, 3, self.stride)

    def taken(self, states: States, needs: Sequence[int]) -> Iterator[States]:
        """Yield the states after the stage, not yet merged; `scaling.with_valid_widths` says which."""
        outputs = outputs_of(self.widths, self.kind.grid, needs)
        if self.kind.needed == 1 and not self.kind.widens:
            yield self._from_any(states.where(states.promised == 1), outputs)
            return
        entering, promised = states.stated[:, None], states.promised[:, None]
        free = (entering == self.widths) & (self.stride == 1)
        unraised = free | (entering % self.kind.needed == 0)
        allowed = np.where(promised == 1, unraised, ~free & (promised == self.kind.needed))
        widened = allowed & ~free & (self.widths <= states.width[:, None]) & self.kind.widens
        yield self._from_some(states, allowed & ~widened, outputs)
        yield self._widened(states.where(widened.any(axis=1)), needs)

    def _from_any(self, states: States, outputs: Outputs) -> States:
        """Return the states after a stage that takes every width."""
        width, of = np.unique(outputs.width, return_inverse=True)
        rows, columns = np.indices((len(states.width), len(width))).reshape(2, -1)
        cost = self._cost(states.width[rows], width, columns)
        cost = cost.reshape(len(MEASURES), -1, len(width)) + states.cost[:, :, None]
        return outputs.states(cost.min(axis=1, initial=NEVER)[:, of]).where(slice(None if len(rows) else 0))

    def _from_some(self, states: States, allowed: Mask, outputs: Outputs) -> States:
        """Return the states after a stage of the allowed pairs (state, stated width)."""
        allowed = allowed[:, outputs.column]
        rows, columns = np.nonzero(allowed)
        cost = np.full((len(MEASURES), *allowed.shape), NEVER)
        cost[:, rows, columns] = states.cost[:, rows] + self._cost(states.width[rows], outputs.width, columns)
        return outputs.states(cost.min(axis=1, initial=NEVER)).where(allowed.any(axis=0))

    def _widened(self, states: States, needs: Sequence[int]) -> States:
        """Return the states after a stage whose width must rise above what comes in."""
        own = self.kind.own
        outputs = outputs_of((states.width // own + 1) * own, self.kind.grid, needs)
        entering = states.where(outputs.column)
        every = np.arange(len(outputs.width))
        return outputs.states(entering.cost + self._cost(entering.width, outputs.width, every))

    def _cost(self, entering: Numbers, width: Numbers, columns: Numbers) -> Numbers:
        """Return (measure, n) costs of the stage from widths to `width[columns]`."""
        best = np.full((len(MEASURES), len(columns)), NEVER)
        for kind in self.kind.variants(np.concatenate([entering, width])):
            cost = kind.first(entering, width[columns], self.stride, self.sides)
            if self.repeats > 1:
                cost += (self.repeats - 1) * kind.keeping(width, self.after)[:, columns]
            np.minimum(best, self.sign * cost, out=best)
        return best
