"""Whether a space holds a network, by which values, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scalesearch.architecture.document import STAGE_FIELDS
from scalesearch.architecture.domains import Choice, Range, Same, label
from scalesearch.architecture.network import Network, Stage
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import scale

if TYPE_CHECKING:
    from scalesearch.architecture.space import SearchSpace

Values = dict[str, Any]


class OutsideError(ValueError):
    """A network is not in a space; `depth` is how many stages fitted before one did not."""

    def __init__(self, reason: str, depth: int = 0) -> None:
        super().__init__(reason)
        self.depth = depth


@dataclass(frozen=True)
class Membership:
    """The answer to whether a space contains a network.

    Attributes:
        inside: whether it does. how: in words, or why not.
        values: by leaf, of the base; None outside.
        multipliers: (depth, width, resolution) that lead from the base to the network.
    """

    inside: bool
    how: str
    values: Values | None = None
    multipliers: tuple[float, float, float] = (1.0, 1.0, 1.0)


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


def skeleton(network: Network) -> Network:
    """Return what of a network a space chooses: stages merged, regularisation and classes at defaults."""
    head = replace(network.head, dropout=0.0)
    plain = replace(network, head=head, classes=1000, drop_path=0.0, norm_eps=1e-5, norm_momentum=0.1)
    return merged(plain)


def membership(space: SearchSpace, network: Network, base: Network, depth: float, width: float) -> Membership:
    """Answer `SearchSpace.contains`."""
    dims, resolution = space.document.get("dims", 2), space.document["resolution"]
    if network.dims != dims:
        return Membership(False, f"dims is {dims}, and not {network.dims}")
    if not isinstance(resolution, Choice | Range):
        base = replace(base, resolution=tuple(resolution) if isinstance(resolution, list) else resolution)
    grown = replace(scale(base, depth, width), resolution=network.resolution)
    if skeleton(grown) != skeleton(network):
        return Membership(False, f"depth {depth:g} and width {width:g} of the base give another network")
    try:
        values = encode(space.document, base)
    except OutsideError as error:
        return Membership(False, str(error))
    if skeleton(space.decode(values)) != skeleton(base):
        return Membership(False, "its values give another network")
    multipliers = (depth, width, network.input.size[-1] / base.input.size[-1])
    if multipliers == (1, 1, 1):
        return Membership(True, "a base of the space", values)
    table = "depth {:g}, width {:g}, resolution {:g}".format(*multipliers)
    return Membership(True, f"a base of the space under the table {table}", values, multipliers)


def encode(document: Mapping[str, Any], network: Network) -> Values:
    """Answer `SearchSpace.encode`; OutsideError says which field does not fit."""
    network = merged(network)
    values: Values = {}
    known: Values = {}
    _match(document["resolution"], _plain(network.resolution), "resolution", values, known)
    defaults = {"stem": type(network.stem)(channels=1), "head": type(network.head)()}
    for part, default in defaults.items():
        wanted = getattr(network, part)
        for name in _chosen(part):
            node = document.get(part, {}).get(name, _plain(getattr(default, name)))
            _match(node, _plain(getattr(wanted, name)), f"{part}.{name}", values, known)
    return values | _stages(document["stages"], network.stages, known)


def _chosen(part: str) -> tuple[str, ...]:
    return (
        ("channels", "kernel", "stride", "act", "pool") if part == "stem" else ("channels", "act", "hidden")
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _match(node: Any, value: Any, name: str, values: Values, known: Values) -> None:
    """Note the value of a leaf, or raise OutsideError where the leaf cannot have it."""
    known[name] = value
    if isinstance(node, Choice | Range):
        if not node.contains(value):
            raise OutsideError(f"{name} cannot be {value!r}: {_range(node)}")
        values[name] = value
        return
    if isinstance(node, Same):
        if known.get(node.leaf) != value:
            raise OutsideError(
                f"{name} is tied to {node.leaf}, but {value!r} is not {known.get(node.leaf)!r}"
            )
    elif node != value:
        raise OutsideError(f"{name} is {node!r}, and not {value!r}")


def _range(node: Choice | Range) -> str:
    if isinstance(node, Choice):
        return f"it is one of {', '.join(str(value) for value in node.values)}"
    return f"it is from {node.low} to {node.high}" + (f" in steps of {node.step}" if node.step else "")


def _stages(rows: list[Any], stages: tuple[Stage, ...], known: Values) -> Values:
    """Give each stage a row, in order; rows in between are absent. The deepest failure is reported."""

    def assign(row: int, stage: int) -> Values:
        if row == len(rows):
            if stage < len(stages):
                raise OutsideError(f"stage {stage + 1} finds no row of the space left", stage)
            return {}
        failures = []
        for attempt in (_present, _absent) if stage < len(stages) else (_absent,):
            try:
                values, used = attempt(rows, row, stages, stage, known)
                return values | assign(row + 1, stage + used)
            except OutsideError as error:
                failures.append(error)
        raise max(failures, key=lambda failure: failure.depth)

    return assign(0, 0)


def _present(
    rows: list[Any], row: int, stages: tuple[Stage, ...], stage: int, known: Values
) -> tuple[Values, int]:
    place, wanted = ("stages", row), stages[stage]
    options = dict(wanted.options)
    values: Values = {}
    try:
        for name in (*STAGE_FIELDS[:-1], *options):
            node = rows[row].get(name, _default(wanted, name))
            value = options[name] if name in options else getattr(wanted, name)
            _match(node, value, label((*place, name)), values, known)
    except OutsideError as error:
        raise OutsideError(f"stage {stage + 1}: {error}", stage) from error
    return values, 1


def _default(stage: Stage, name: str) -> Any:
    """Return what a row that does not state a field has there."""
    return OPERATORS[stage.operator].options.get(name, 1)


def _absent(
    rows: list[Any], row: int, _stages: tuple[Stage, ...], stage: int, known: Values
) -> tuple[Values, int]:
    place, repeats = ("stages", row), rows[row].get("repeats")
    values: Values = {}
    try:
        _match(repeats, 0, label((*place, "repeats")), values, known)
    except OutsideError as error:
        raise OutsideError(str(error), stage) from error
    # The operator is drawn before the repeats say that the stage is absent.
    operator = rows[row]["operator"]
    if isinstance(operator, Choice):
        values[label((*place, "operator"))] = operator.values[0]
    return values, 0
