"""Which values of a space's leaves give a network: a search for the rows that hold its stages.

A base's stages stand in the order of the space's rows; rows in between are absent, and neighbouring rows
may hold a stage together. Dead ends are remembered, so that the work grows with rows times stages and not
with the number of ways to leave rows out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

from scalesearch.architecture.domains import Choice, Range, Same, words
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS, any_width
from scalesearch.architecture.raising import rises, settled, values_between
from scalesearch.architecture.ties import root, tied_to

Values = dict[str, Any]
_UNKNOWN = object()


class OutsideError(ValueError):
    """A network is not in a space; the message names field, rule and value."""


def merged(network: Network) -> Network:
    """Return the network with neighbouring stages joined where the second continues the first."""
    stages: list[Stage] = []
    for stage in network.stages:
        last = stages[-1] if stages else None
        if last and stage == replace(last, stride=1, repeats=stage.repeats):
            stages[-1] = replace(last, repeats=last.repeats + stage.repeats)
        else:
            stages.append(stage)
    return replace(network, stages=tuple(stages))


def encode(document: Mapping[str, Any], network: Network) -> Values:
    """Answer `SearchSpace.encode`; OutsideError says which field does not fit."""
    return _Encoder(document, network).values()


class _At(NamedTuple):
    """Where the search stands.

    Attributes:
        placed: how many of the stage's repeats earlier rows hold.
        bound: what ties between rows hold already, as (leaf, value).
        width: channels that come in, as the rows so far state them, and what they are raised in multiples
            of; None where no operator of the network asks anything of a width.
    """

    row: int
    stage: int
    placed: int
    bound: frozenset[tuple[str, Any]]
    width: tuple[int, int] | None


class _Encoder:
    def __init__(self, document: Mapping[str, Any], network: Network) -> None:
        self.document, self.rows = document, document["stages"]
        self.network = merged(network)
        self.stages = self.network.stages
        self.numbers = _numbers(network, self.network)
        self.tied = tied_to(document)
        self.raised = any(OPERATORS[stage.operator].multiple is not any_width for stage in self.stages)
        # The first search takes stages as they stand and says why they do not fit; the second one divides
        # stages between rows, and raises widths as drawing a base does.
        self.exact = True
        self.fixed: Values = {}
        self.dead: set[_At] = set()
        self.seen: dict[Any, tuple[Values, list[str]]] = {}
        self.rank, self.reason = (-1, 0), ""

    def values(self) -> Values:
        stem: Values = {}
        misfits = self._sections()
        wanted = self.network.stem.channels
        self.reason = self._match("stem.channels", self.document["stem"]["channels"], wanted, stem)
        if misfits or (self.reason and not self.raised):
            raise OutsideError("; ".join(filter(None, (self.reason, *misfits))))
        fixed = self.fixed
        start = _At(0, 0, 0, frozenset(), None)
        starts = [] if self.reason else [(True, start, stem)]
        starts += self._raised_starts() if self.raised else [(False, start, stem)]
        for self.exact, start, chosen in starts:
            self.fixed = fixed | chosen
            self.dead.clear()
            self.seen.clear()
            found = self._place(start)
            if found is not None:
                return self._completed(found | self.fixed)
        raise OutsideError(self.reason)

    def _sections(self) -> list[str]:
        """Match what stands outside the stage table; return what does not fit."""
        network, document = self.network, self.document
        pairs = [("dims", document.get("dims", 2), network.dims)]
        pairs += [("in_channels", document.get("in_channels", 3), network.in_channels)]
        pairs += [("resolution", document["resolution"], _plain(network.resolution))]
        for part, default, names in (
            ("stem", Stem(channels=1), ("kernel", "stride", "act", "pool")),
            ("head", Head(), ("channels", "act", "hidden")),
        ):
            section, wanted = document.get(part, {}), getattr(network, part)
            for name in names:
                node = section.get(name, _plain(getattr(default, name)))
                pairs.append((f"{part}.{name}", node, _plain(getattr(wanted, name))))
        return [text for name, node, value in pairs if (text := self._match(name, node, value, self.fixed))]

    def _match(self, name: str, node: Any, value: Any, new: Values, known: Values | None = None) -> str:
        """Note the value of a leaf in `new`; return why the leaf cannot have it, or nothing."""
        if isinstance(node, list) and isinstance(value, list) and len(node) == len(value):
            pairs = enumerate(zip(node, value, strict=True))
            found = (self._match(f"{name}.{i}", part, wanted, new, known) for i, (part, wanted) in pairs)
            return next(filter(None, found), "")
        origin, domain = root(self.document, name, node)
        held = new.get(origin, _UNKNOWN)
        if held is _UNKNOWN:
            held = (known or self.fixed).get(origin, _UNKNOWN)
        if held is not _UNKNOWN:
            other = node.leaf if isinstance(node, Same) else "others"
            return "" if held == value else f"{name} is tied to {other}, but {value!r} is not {held!r}"
        if not isinstance(domain, Choice | Range):
            return "" if domain == value else f"{name} is {domain!r}, and not {value!r}"
        if not domain.contains(value):
            return f"{name} cannot be {value!r}: {words(domain)}"
        new[origin] = value
        return ""

    def _raised_starts(self) -> Iterator[tuple[bool, _At, Values]]:
        stem, wanted, needed = self.document["stem"], self.network.stem.channels, self._needed(0)
        divisor, chosen = self._own("stem.divisor", stem.get("divisor", 8), self.network.stem.divisor)
        block = Stage("mbconv", wanted, 1, divisor=divisor)
        for width, values in self._widths("stem.channels", stem["channels"], block, needed, (), self.fixed):
            if width == wanted or rises(width, wanted, needed):
                yield False, _At(0, 0, 0, frozenset(), (width, divisor)), values | chosen

    def _place(self, at: _At) -> Values | None:
        """Return the values of the rows from here on, or None where the remaining stages do not fit."""
        if at.row == len(self.rows):
            return self._ended(at)
        if at not in self.dead:
            for values, following in self._steps(at):
                rest = self._place(following)
                if rest is not None:
                    return values | rest
            self.dead.add(at)
        return None

    def _ended(self, at: _At) -> Values | None:
        if at.stage < len(self.stages):
            if not at.placed:
                self._note(at.stage, 3, f"stage {self.numbers[at.stage]} finds no row of the space left")
            return None
        if at.width and at.width[0] != self.stages[-1].channels:
            return None
        return dict(at.bound)

    def _steps(self, at: _At) -> Iterator[tuple[Values, _At]]:
        """Yield what the row can be: the stage, as much of it as the row can hold first, or absent."""
        known = self.fixed | dict(at.bound)
        if at.stage < len(self.stages):
            yield from self._present(at, known)
        values: Values = {}
        text = self._match(f"stages.{at.row}.repeats", self.rows[at.row]["repeats"], 0, values, known)
        if not text:
            following = at._replace(row=at.row + 1, bound=self._bound(at, values))
            yield self._any_operator(at.row) | values, following
        elif at.stage == len(self.stages):
            self._note(at.stage, 1, f"no stage is left for a row that must be there: {text}")

    def _any_operator(self, row: int) -> Values:
        # The operator is drawn before the repeats say that the stage is absent.
        operator = self.rows[row]["operator"]
        return {f"stages.{row}.operator": operator.values[0]} if isinstance(operator, Choice) else {}

    def _present(self, at: _At, known: Values) -> Iterator[tuple[Values, _At]]:
        place, row, stage = f"stages.{at.row}", self.rows[at.row], self.stages[at.stage]
        key = (at.row, at.stage, at.placed > 0, at.bound)
        if key not in self.seen:
            self.seen[key] = self._fields(at, known)
        fields, misfits = self.seen[key]
        left = stage.repeats - at.placed
        if self.exact:
            self._explain(at, known, misfits)
        if misfits:
            return
        for repeats, chosen in self._repeats(f"{place}.repeats", row["repeats"], left, fields, known):
            ended = repeats == left
            for width, channels in self._channels(at, ended, fields | chosen, known):
                values = fields | chosen | channels
                yield (
                    values,
                    _At(
                        at.row + 1,
                        at.stage + ended,
                        0 if ended else at.placed + repeats,
                        self._bound(at, values),
                        width,
                    ),
                )

    def _bound(self, at: _At, values: Values) -> frozenset[tuple[str, Any]]:
        if not self.tied:
            return at.bound
        return at.bound.union((name, values[name]) for name in self.tied if name in values)

    def _fields(self, at: _At, known: Values) -> tuple[Values, list[str]]:
        """Match the stage's fields with the row's, repeats and raised channels aside."""
        place, row, stage = f"stages.{at.row}", self.rows[at.row], self.stages[at.stage]
        wanted = {"operator": stage.operator, "stride": 1 if at.placed else stage.stride}
        if at.width is None:
            wanted["channels"] = stage.channels
        wanted |= dict(stage.options)
        defaults = OPERATORS[stage.operator].options
        values: Values = {}
        misfits = []
        for name, value in wanted.items():
            node = row[name] if name in row else defaults.get(name, 1)
            if text := self._match(f"{place}.{name}", node, value, values, known):
                misfits.append(text)
        return values, misfits

    def _explain(self, at: _At, known: Values, misfits: list[str]) -> None:
        """Note why the row does not hold the whole stage as it is."""
        place, row, stage = f"stages.{at.row}", self.rows[at.row], self.stages[at.stage]
        repeats = self._match(f"{place}.repeats", row["repeats"], stage.repeats, {}, known)
        texts = [*misfits, repeats] if repeats else misfits
        if texts:
            self._note(at.stage, len(texts), f"stage {self.numbers[at.stage]}: {'; '.join(texts)}")

    def _note(self, stage: int, misfits: int, text: str) -> None:
        """Keep the reason that fits most: the most stages before it, then the fewest fields amiss."""
        if self.exact and (stage, -misfits) > self.rank:
            self.rank, self.reason = (stage, -misfits), text

    def _repeats(
        self, name: str, node: Any, left: int, new: Values, known: Values
    ) -> Iterator[tuple[int, Values]]:
        """Yield the repeats that a row can hold of those left, the most first."""
        origin, domain = root(self.document, name, node)
        held = new.get(origin, known.get(origin, None if isinstance(domain, Choice | Range) else domain))
        if held is not None:
            yield from [(held, {})] if held == left or (0 < held < left and not self.exact) else []
            return
        values = domain.values if isinstance(domain, Choice) else range(int(domain.low), int(domain.high) + 1)
        for repeats in sorted((value for value in values if 0 < value <= left), reverse=True):
            if domain.contains(repeats) and (repeats == left or not self.exact):
                yield repeats, {origin: repeats}

    def _channels(
        self, at: _At, ended: bool, new: Values, known: Values
    ) -> Iterator[tuple[tuple[int, int] | None, Values]]:
        """Yield the widths of the row that become the stage's when all are raised to what operators need."""
        name, row, stage = f"stages.{at.row}", self.rows[at.row], self.stages[at.stage]
        divisor, chosen = self._own(f"{name}.divisor", row.get("divisor", 8), stage.divisor)
        if at.width is None:
            yield None, chosen
            return
        before = self.stages[at.stage - (not at.placed)] if at.stage or at.placed else self.network.stem
        block = replace(stage, stride=1 if at.placed else stage.stride, repeats=1, divisor=divisor)
        needed = self._needed(at.stage + 1) if ended else 1
        near = (at.width[0], at.width[0] - block.multiple)
        offered = self._widths(f"{name}.channels", row["channels"], block, needed, near, known | new)
        outcomes: set[int] = set()
        for width, values in offered:
            came, goes = settled(*at.width, replace(block, channels=width))
            if came == before.channels and (goes == stage.channels or rises(goes, stage.channels, needed)):
                outcomes.add(goes)
                yield (goes, block.multiple), values | chosen
            # What comes after sees no more of a width than whether it equals the next one.
            if len(outcomes) == 3 and not self.tied:
                return

    def _needed(self, stage: int) -> int:
        """Return what a stage's operator needs the channels that come in to be a multiple of."""
        if stage == len(self.stages):
            return 1
        return OPERATORS[self.stages[stage].operator].input_multiple(dict(self.stages[stage].options))

    def _widths(
        self, name: str, node: Any, block: Stage, needed: int, near: tuple[int, ...], known: Values
    ) -> Iterator[tuple[int, Values]]:
        """Yield a leaf's widths that raising may turn into the block's, the largest first."""
        origin, domain = root(self.document, name, node)
        held = known.get(origin, None if isinstance(domain, Choice | Range) else domain)
        if held is not None:
            yield held, {}
            return
        # The others of a tie may need any width, and raise it by more.
        reach = block.channels if origin in self.tied else block.multiple * (needed + 1)
        found = set(values_between(domain, block.channels - reach, block.channels))
        for below in near:
            found |= set(values_between(domain, 0, min(below, block.channels))[-1:])
        for width in sorted(found, reverse=True):
            yield width, {origin: width}

    def _own(self, name: str, node: Any, value: Any) -> tuple[Any, Values]:
        """Return what a leaf that a network is not compared by has: the network's own value if it can."""
        origin, domain = root(self.document, name, node)
        if not isinstance(domain, Choice | Range):
            return domain, {}
        chosen = self.fixed.get(origin, value if domain.contains(value) else domain.samples()[0])
        return chosen, {origin: chosen}

    def _completed(self, values: Values) -> Values:
        """Add the leaves that a network is not compared by, and those that only absent stages hold."""
        network, document = self.network, self.document
        aside = {name: getattr(network, name) for name in ("classes", "drop_path")}
        norm = {"eps": network.norm_eps, "momentum": network.norm_momentum}
        head = {name: getattr(network.head, name) for name in ("dropout", "divisor")}
        sections: list[tuple[str, Mapping[str, Any], dict[str, Any]]] = [
            ("", document, aside),
            ("norm.", document.get("norm", {}), norm),
            ("head.", document.get("head", {}), head),
            ("stem.", document["stem"], {"divisor": network.stem.divisor}),
        ]
        for prefix, section, own in sections:
            for name in own.keys() & section.keys():
                _, chosen = self._own(prefix + name, section[name], own[name])
                values = chosen | values
        for name in self.tied - values.keys():
            _, domain = root(document, "", Same(name))
            if isinstance(domain, Choice | Range):
                values[name] = domain.samples()[0]
        return values


def _numbers(network: Network, joined: Network) -> list[int]:
    """Return for each of the joined stages the number under which `show` prints its first part."""
    starts = [0, *accumulate(stage.repeats for stage in network.stages)]
    ends = [0, *accumulate(stage.repeats for stage in joined.stages)]
    return [starts.index(end) + 1 for end in ends]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
