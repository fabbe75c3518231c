"""Many random candidates of a space at once, as arrays: drawn as `SearchSpace.draw` draws one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import log10, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalesearch.architecture.batch import Batch
from scalesearch.architecture.batch_scaling import Reals, valid_widths
from scalesearch.architecture.document import STAGE_FIELDS
from scalesearch.architecture.domains import Choice, Domain, Range
from scalesearch.architecture.kinds import FREE_OPTIONS, Numbering, head_kind, kinds_of, stage_kind, stem_kind
from scalesearch.architecture.network import Head, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.polynomials import Numbers
from scalesearch.architecture.space import Candidate, SearchSpace
from scalesearch.architecture.ties import root

MOST_STRUCTURES = 100_000
Drawn = Mapping[str, NDArray[Any]]


class NotArraysError(ValueError):
    """Arrays cannot hold a space: the structure of a part has too many forms."""


@dataclass(frozen=True, eq=False)
class Draws:
    """n random candidates.

    Attributes:
        drawn: by leaf, (n,) indices into the values of a Choice, or values of a Range.
        bases: their bases. alpha, beta, gamma: (n,) their coefficients.
    """

    space: SearchSpace
    drawn: Drawn
    bases: Batch
    alpha: Reals
    beta: Reals
    gamma: Reals

    def __len__(self) -> int:
        return len(self.bases)

    def values(self, row: int) -> dict[str, Any]:
        """Return one candidate's values by leaf, also of options that its operators do not take."""
        found = {}
        for name, domain in self.space.domains().items():
            value = self.drawn[name][row].item()
            found[name] = domain.values[value] if isinstance(domain, Choice) else value
        return found

    def candidate(self, row: int) -> Candidate:
        """Return one candidate."""
        values = self.values(row)
        return self.space.draw(lambda name, _domain: values[name])


@dataclass(frozen=True)
class _Leaf:
    """A field of the document, ties followed: the name and the node of the leaf that holds its value."""

    name: str
    node: Any

    @classmethod
    def at(cls, document: Mapping[str, Any], name: str, default: Any = None) -> _Leaf:
        node: Any = document
        *sections, field = name.split(".")
        for part in sections:
            node = node[int(part)] if isinstance(node, list) else node.get(part, {})
        node = node[int(field)] if isinstance(node, list) else node.get(field, default)
        return cls(name, node) if isinstance(node, list) else cls(*root(document, name, node))

    def options(self) -> tuple[Any, ...]:
        """Return every value that the leaf may have."""
        if isinstance(self.node, Choice):
            return tuple(tuple(v) if isinstance(v, list) else v for v in self.node.values)
        if isinstance(self.node, Range):
            step = self.node.step or (1 if self.node.whole else None)
            if step is None:
                raise NotArraysError(f"{self.name} may be any number in between: give its range a step")
            return tuple(self.node.low + step * index for index in range(len(self.node)))
        return (tuple(self.node) if isinstance(self.node, list) else self.node,)

    def indices(self, drawn: Drawn) -> Any:
        """Return (n,) indices into the options, or 0 for a plain value."""
        if isinstance(self.node, Choice):
            return drawn[self.name]
        if isinstance(self.node, Range):
            return np.rint((drawn[self.name] - self.node.low) / (self.node.step or 1)).astype(np.int64)
        return 0

    def numbers(self, drawn: Drawn, n: int) -> NDArray[Any]:
        """Return (n,) values; None counts as 0."""
        if isinstance(self.node, Range):
            return drawn[self.name]
        values = np.array([0 if value is None else value for value in self.options()])
        return np.broadcast_to(values[self.indices(drawn)], (n,))


class _Part:
    """Stem, head or a row of the stage table: which kind it has, from the values of some of its leaves."""

    def __init__(
        self, leaves: dict[str, _Leaf], kind: Callable[[dict[str, Any]], Any], of: Numbering
    ) -> None:
        self.leaves = list({leaf.name: leaf for leaf in leaves.values()}.values())
        self.counts = [len(leaf.options()) for leaf in self.leaves]
        if prod(self.counts) > MOST_STRUCTURES:
            raise NotArraysError(
                f"the structure of a part may have at most {MOST_STRUCTURES:,} forms in a map, but "
                f"{', '.join(leaf.name for leaf in self.leaves)} give {prod(self.counts):,}"
            )
        self.numbers = np.array([of[kind(_fields(leaves, joint))] for joint in self._joint()], dtype=np.int64)

    def _joint(self) -> Iterable[dict[str, Any]]:
        names = [leaf.name for leaf in self.leaves]
        for values in product(*(leaf.options() for leaf in self.leaves)):
            yield dict(zip(names, values, strict=True))

    def kinds(self, drawn: Drawn, n: int) -> Numbers:
        """Return (n,) kinds."""
        code = np.zeros(n, dtype=np.int64)
        for leaf, count in zip(self.leaves, self.counts, strict=True):
            code *= count
            code += leaf.indices(drawn)
        return self.numbers[code]


def _fields(leaves: Mapping[str, _Leaf], joint: Mapping[str, Any]) -> dict[str, Any]:
    return {field: joint[leaf.name] for field, leaf in leaves.items()}


def _stage(fields: Mapping[str, Any]) -> Stage:
    own = {name: value for name, value in fields.items() if name in STAGE_FIELDS}
    taken = OPERATORS[fields["operator"]].options
    options = tuple((name, value) for name, value in fields.items() if name in taken)
    return stage_kind(Stage(**own, channels=1, repeats=1, options=options))


class Sampler:
    """Draws candidates of a space as arrays; raises NotArraysError where arrays cannot hold the space."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        document = self.document = {"coefficients": space.coefficients, **space.document}
        self.rows = range(len(document["stages"]))
        stems, heads, kinds = Numbering(), Numbering(), Numbering()
        stem = self._leaves("stem", ("kernel", "stride", "pool", "divisor"))
        head = self._leaves("head", ("channels", "hidden", "divisor"))
        self.stem = _Part(stem, lambda fields: stem_kind(Stem(channels=1, **fields)), stems)
        self.head = _Part(head, lambda fields: head_kind(Head(**fields)), heads)
        self.stages = [_Part(self._structure(row), _stage, kinds) for row in self.rows]
        strides = {
            1,
            *(value for row in self.rows for value in self._leaf(f"stages.{row}.stride", 1).options()),
        }
        self.kinds = kinds_of(
            tuple(stems),
            tuple(heads),
            tuple(kinds),
            tuple(sorted(strides)),
            self._plain("classes", 1000),
            self._plain("in_channels", 3),
            self._plain("dims", 2),
        )

    def _leaf(self, name: str, default: Any = None) -> _Leaf:
        return _Leaf.at(self.document, name, default)

    def _leaves(self, part: str, names: Iterable[str]) -> dict[str, _Leaf]:
        section = self.document.get(part, {})
        return {name: self._leaf(f"{part}.{name}") for name in names if name in section}

    def _structure(self, row: int) -> dict[str, _Leaf]:
        aside = ("channels", "repeats", "stride", *FREE_OPTIONS)
        names = (name for name in self.document["stages"][row] if name not in aside)
        return {name: self._leaf(f"stages.{row}.{name}") for name in names}

    def _plain(self, name: str, default: int) -> int:
        (value, *others) = self._leaf(name, default).options()
        if others:
            raise NotArraysError(f"{name} must be one value in a map, but is one of {1 + len(others)}")
        return int(value)

    def draw(self, rng: np.random.Generator, n: int) -> Draws:
        """Return n candidates, every leaf drawn evenly and on its own."""
        drawn = {name: _draw(domain, rng, n) for name, domain in self.space.domains().items()}

        def numbers(name: str, default: Any = None) -> NDArray[Any]:
            return self._leaf(name, default).numbers(drawn, n)

        codes = [part.kinds(drawn, n) for part in (self.stem, self.head, *self.stages)]
        codes += [numbers(f"stages.{row}.stride", 1) for row in self.rows]
        widths = [numbers("stem.channels"), numbers("head.channels", Head().channels)]
        widths += [numbers(f"stages.{row}.channels") for row in self.rows]
        repeats = [numbers(f"stages.{row}.repeats") for row in self.rows]
        bases = Batch(self.kinds, _whole(codes), _whole([*widths, *repeats, *self._sides(numbers)]))
        depth, rest, growth = (numbers(f"coefficients.{name}") for name in ("depth", "width", "growth"))
        width = (1 - depth) * rest
        resolution = np.maximum(0.0, 1 - depth - width)
        coefficients = growth**depth, growth ** (width / 2), growth ** (resolution / 2)
        return Draws(self.space, drawn, valid_widths(bases), *coefficients)

    def _sides(self, numbers: Callable[[str], NDArray[Any]]) -> list[NDArray[Any]]:
        if isinstance(self.document["resolution"], list):
            return [numbers(f"resolution.{index}") for index in range(self.kinds.dims)]
        return [numbers("resolution")] * self.kinds.dims


def _whole(arrays: list[NDArray[Any]]) -> Numbers:
    return np.stack(arrays).astype(np.int64, copy=False)


def _draw(domain: Domain, rng: np.random.Generator, n: int) -> NDArray[Any]:
    """Return n values of a Range, or indices into the values of a Choice, as `random_values` draws them."""
    if isinstance(domain, Choice):
        return rng.integers(len(domain.values), size=n, dtype=np.int16)
    if domain.log:
        drawn = 10 ** rng.uniform(log10(domain.low), log10(domain.high), n)
        return np.rint(drawn).astype(np.int64) if domain.whole else drawn
    if domain.step is None and not domain.whole:
        return rng.uniform(domain.low, domain.high, n)
    steps = rng.integers(len(domain), size=n, dtype=np.int32)
    return domain.low + (domain.step or 1) * steps
