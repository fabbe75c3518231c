"""Repeated blocks become functions: what differs between blocks of one shape are their parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from scalesearch.architecture import layers as kinds
from scalesearch.architecture.layers import Layer, Shape
from scalesearch.architecture.network import Network
from scalesearch.handover.source_calls import (
    ACT,
    CHANNELS,
    NAMED,
    Argument,
    Call,
    Drop,
    Leaf,
    Name,
    Padding,
    Writer,
    leaves,
    mapped,
)
from scalesearch.handover.source_text import Repeat, annotation, identifier, literal

Vector = tuple[tuple[str, Any], ...]  # the annotations and values of one place in all blocks of a function


@dataclass(frozen=True)
class Block:
    """One block of the network: its operator, its call, and how many channels go in and come out.

    A shortcut around the whole block is not part of `call` but of `whole`, so that blocks with and
    without it are one function.
    """

    operator: str
    whole: Call
    entry: Shape
    end: Shape

    @property
    def call(self) -> Call:
        """The block without its shortcut."""
        call: Call = self.whole.arguments[0].value if self._has_shortcut else self.whole
        return call

    @property
    def _has_shortcut(self) -> bool:
        return self.whole.function == "Residual"

    def around(self, call: Call) -> Call:
        """Return another call in the block's shortcut, if it has one."""
        if not self._has_shortcut:
            return call
        body, *rest = self.whole.arguments
        return replace(self.whole, arguments=(replace(body, value=call), *rest))


class Function(NamedTuple):
    """A function of the file: it returns the module of one block."""

    name: str
    operator: str
    parameters: tuple[tuple[str, str], ...]
    body: Call


def stages(network: Network, writer: Writer) -> Iterator[list[Block]]:
    """Yield the blocks of each stage."""
    (_, stem), *rest, _ = network.layers().layers
    x = stem.out(network.input)
    for stage, (_, blocks) in zip(network.stages, rest, strict=True):
        found = []
        for _, layer in _layers(blocks):
            found.append(Block(stage.operator, writer.call(layer, x), x, layer.out(x)))
            x = found[-1].end
        yield found


def _layers(stage: Layer) -> tuple[tuple[str, Layer], ...]:
    if not isinstance(stage, kinds.Sequence):
        raise TypeError(f"a stage is a sequence of blocks, but got {type(stage).__name__}")
    return stage.layers


def _vector(values: Sequence[Any]) -> Vector:
    return tuple((annotation(value), value) for value in values)


def _kind(role: str) -> str:
    return "channels" if role in CHANNELS else role


def _words(path: tuple[str, ...]) -> list[str]:
    # A convolution is called by the part that it stands in.
    return [name for name in path if name not in ("conv", "norm", ACT)]


@dataclass(frozen=True)
class _Place:
    """One place of a function's body, and what stands there in each block."""

    path: tuple[str, ...]
    role: str
    values: tuple[Any, ...]

    @classmethod
    def of(cls, column: Sequence[Leaf]) -> _Place:
        return cls(column[0].path, column[0].role, tuple(leaf.value for leaf in column))

    @property
    def same(self) -> bool:
        return len(set(_vector(self.sizes))) == 1

    @property
    def sizes(self) -> tuple[Any, ...]:
        return tuple(v.value if isinstance(v, Padding) else v for v in self.values)

    @property
    def kernels(self) -> tuple[Any, ...] | None:
        """The kernels that a padding follows by formula, if it does."""
        kernels = tuple(v.kernel for v in self.values if isinstance(v, Padding))
        return kernels if kernels and all(isinstance(kernel, int) for kernel in kernels) else None

    @property
    def key(self) -> tuple[str, Vector]:
        return _kind(self.role), _vector(self.sizes)

    def names(self) -> Iterator[str]:
        """Yield what a parameter for this place could be called, the shortest first."""
        words = _words(self.path)
        if self.role not in CHANNELS or not words:
            yield self.role
        for count in range(1, len(words) + 1):
            yield "_".join((*words[-count:], "channels" if self.role in CHANNELS else self.role))


class _Parameters:
    """The parameters of one function: places with equal values in all blocks share one."""

    def __init__(self, blocks: Sequence[Block], places: Sequence[_Place], reserved: Collection[str]) -> None:
        entry = ("channels", _vector([block.entry.channels for block in blocks]))
        end = ("channels", _vector([block.end.channels for block in blocks]))
        self.reserved = reserved
        self.places: dict[tuple[str, Vector], _Place] = {}
        for place in sorted(places, key=lambda place: place.role == "groups"):  # they may share a width
            if self._varies(place):
                self.places.setdefault(place.key, place)
        self.names: dict[tuple[str, Vector], str] = {}
        for key, name in ((entry, "in_channels"), (end, "channels")):
            if key in self.places:
                self.names[key] = name
        named = set(self.names)
        others = [place for key, place in self.places.items() if key not in named]
        for place in others:
            self.names[place.key] = self._free(place, {next(o.names()) for o in others if o is not place})

    def _varies(self, place: _Place) -> bool:
        if place.role == "groups" and ("channels", place.key[1]) in self.places:
            return False
        formula = place.kernels is not None
        return place.role in CHANNELS or not (place.same or formula)

    def _free(self, place: _Place, contested: set[str]) -> str:
        names = [name for name in place.names() if name not in contested] or [*place.names()][-1:]
        taken = {*self.reserved, *self.names.values()}
        names += [f"{names[-1]}_{number}" for number in range(2, len(taken) + 3)]
        return next(name for name in (identifier(name, self.reserved) for name in names) if name not in taken)

    def at(self, place: _Place) -> Any:
        """Return what stands at a place of the body: a parameter, a formula of one, or the value itself."""
        if place.role == "groups" and place.same and place.values[0] == 1:
            return place.values[0]
        if place.role == "groups" and ("channels", place.key[1]) in self.names:
            return Name(self.names["channels", place.key[1]])
        if place.key in self.names:
            return Name(self.names[place.key])
        if place.same or place.kernels is None:
            return place.values[0]
        return Name(f"({self.names['kernel', _vector(place.kernels)]} - 1) // 2")

    def signature(self) -> tuple[tuple[str, str], ...]:
        """Return names and annotations."""
        types = {name: sorted({kind for kind, _ in key[1]}) for key, name in self.names.items()}
        return tuple((name, " | ".join(kinds)) for name, kinds in types.items())

    def call(self, function: str, number: int) -> Call:
        """Return the call that makes block `number`: its channels by position, the rest by name."""
        values = ((name, key[1][number][1]) for key, name in self.names.items())
        return Call(function, tuple(Argument(n, v, keyword=n not in CHANNELS) for n, v in values))


def _generalised(
    name: str, blocks: Sequence[Block], reserved: Collection[str]
) -> tuple[Function, list[Call]]:
    places = [_Place.of(column) for column in zip(*(leaves(b.call) for b in blocks), strict=True)]
    parameters = _Parameters(blocks, places, reserved)
    ahead = iter(places)
    body = mapped(blocks[0].call, lambda _leaf: parameters.at(next(ahead)))
    function = Function(name, blocks[0].operator, parameters.signature(), body)
    return function, [parameters.call(name, number) for number in range(len(blocks))]


def _parts(call: Call) -> tuple[str, ...]:
    return tuple(a.name for a in call.arguments) if call.function == NAMED else ()


def _function_names(shapes: Sequence[list[Block]], reserved: Collection[str]) -> list[str]:
    """Name the functions of one operator after the parts that they lack, or after what they change."""
    parts = [_parts(blocks[0].call) for blocks in shapes]
    every = dict.fromkeys(part for own in parts for part in own)
    lacking = ["".join(f"_without_{part}" for part in every if part not in own) for own in parts]
    names: list[str] = []
    for blocks, lacks in zip(shapes, lacking, strict=True):
        changes = lacking.count(lacks) > 1 and any(block.entry != block.end for block in blocks)
        wanted = f"{blocks[0].operator}{lacks}{'_transition' if changes else ''}"
        name, number = identifier(wanted, reserved), 1
        while name in names:
            number += 1
            name = identifier(f"{wanted}_{number}", reserved)
        names.append(name)
    return names


def factored(blocks: Sequence[Block], reserved: Collection[str]) -> tuple[list[Function], list[Call]]:
    """Return the functions that a network needs, and each block as a call of one of them.

    Blocks share a function where operator and tree are the same up to numbers and activation functions.
    `reserved` are the names that the file has for other things.
    """
    shapes: dict[str, dict[Call, list[int]]] = {}
    for number, block in enumerate(blocks):
        skeleton = mapped(block.call, lambda _leaf: None)
        shapes.setdefault(block.operator, {}).setdefault(skeleton, []).append(number)
    functions: list[Function] = []
    calls: dict[int, Call] = {}
    for groups in shapes.values():
        taken = {*reserved, *(function.name for function in functions)}
        alike = [[blocks[number] for number in numbers] for numbers in groups.values()]
        for name, numbers, own in zip(_function_names(alike, taken), groups.values(), alike, strict=True):
            function, made = _generalised(name, own, reserved)
            functions.append(function)
            calls |= {
                number: block.around(call) for number, block, call in zip(numbers, own, made, strict=True)
            }
    return functions, [calls[number] for number in range(len(blocks))]


def repeated(calls: Sequence[Call]) -> list[Call | Repeat]:
    """Return a stage's calls with those in a row that differ at most in stochastic depth as one line."""
    found: list[Call | Repeat] = []
    for _, group in groupby(enumerate(calls), key=_but_for_its_number):
        run = [call for _, call in group]
        found += run if len(run) == 1 else [_repeat(run)]
    return found


def _drops(call: Call) -> list[Drop]:
    return [leaf.value for leaf in leaves(call) if isinstance(leaf.value, Drop)]


def _but_for_its_number(numbered: tuple[int, Call]) -> Call:
    number, call = numbered
    if len({drop.index for drop in _drops(call)}) > 1:  # one variable could not stand for them all
        return call
    return _with_drops(call, lambda drop: replace(drop, index=drop.index - number))


def _repeat(run: list[Call]) -> Repeat:
    if len(set(run)) == 1:
        return Repeat(run[0], "_", 0, len(run))
    start = _drops(run[0])[0].index
    element = _with_drops(run[0], lambda drop: Name(f"{literal(drop.rate)} * index / {literal(drop.count)}"))
    return Repeat(element, "index", start, start + len(run))


def _with_drops(call: Call, change: Callable[[Drop], Any]) -> Call:
    changed: Call = mapped(
        call, lambda leaf: change(leaf.value) if isinstance(leaf.value, Drop) else leaf.value
    )
    return changed
