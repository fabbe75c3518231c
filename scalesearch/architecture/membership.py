"""Whether a space holds a network, by which values, and why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scalesearch.architecture.domains import Choice, Range, Same
from scalesearch.architecture.encoding import OutsideError, Values, encode, merged
from scalesearch.architecture.network import Network
from scalesearch.architecture.rounding import RESOLUTION_STEP
from scalesearch.architecture.scaling import scale

if TYPE_CHECKING:
    from scalesearch.architecture.space import SearchSpace


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


def skeleton(network: Network) -> Network:
    """Return what of a network a space chooses: stages merged, regularisation and classes at defaults."""
    head = replace(network.head, dropout=0.0)
    plain = replace(network, head=head, classes=1000, drop_path=0.0, norm_eps=1e-5, norm_momentum=0.1)
    return merged(plain)


def membership(space: SearchSpace, network: Network, base: Network, depth: float, width: float) -> Membership:
    """Answer `SearchSpace.contains`."""
    dims = space.document.get("dims", 2)
    if network.dims != dims:
        return Membership(False, f"dims is {dims}, and not {network.dims}")
    base = replace(base, resolution=_nearest(space.document["resolution"], base))
    if reason := _other_shape(network, base):
        return Membership(False, reason)
    if not grows_into(base, network, depth, width):
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


def grows_into(base: Network, network: Network, depth: float, width: float) -> bool:
    """Return whether the network is the base under a table, at any resolution."""
    grown = base if depth == width == 1 else scale(base, depth, width)
    return skeleton(replace(grown, resolution=network.resolution)) == skeleton(network)


def _nearest(node: Any, base: Network) -> int | tuple[int, ...]:
    """Return the resolution of the space that is nearest to the base's: the family has all the others."""
    if not isinstance(node, list):
        own = list(base.resolution) if isinstance(base.resolution, tuple) else base.resolution
        side: int | list[int] = _nearest_value(node, own)
        return tuple(side) if isinstance(side, list) else side
    sides: list[int] = []
    for part, wanted in zip(node, base.input.size, strict=True):
        tied = isinstance(part, Same) and part.leaf.startswith("resolution.")
        sides.append(sides[int(part.leaf.split(".")[1])] if tied else _nearest_value(part, wanted))
    return tuple(sides)


def _nearest_value(node: Any, wanted: Any) -> Any:
    if not isinstance(node, Choice | Range):
        return node
    if node.contains(wanted):
        return wanted
    values = node.values if isinstance(node, Choice) else range(int(node.low), int(node.high) + 1)
    return min(
        (value for value in values if node.contains(value)), key=lambda value: _distance(value, wanted)
    )


def _distance(value: Any, wanted: Any) -> float:
    ours, theirs = (one[-1] if isinstance(one, list) else one for one in (value, wanted))
    return float(abs(ours - theirs))


def _other_shape(network: Network, base: Network) -> str:
    """Return why no one factor leads from the base's resolution to the network's, or nothing."""
    ours, theirs = base.input.size, network.input.size
    if network.dims == 3 and ours[0] != theirs[0]:
        return f"resolution has {ours[0]} frames, and not {theirs[0]}"
    factor = theirs[-1] / ours[-1]
    first = 1 if network.dims == 3 else 0
    if any(abs(a * factor - b) >= RESOLUTION_STEP for a, b in zip(ours[first:], theirs[first:], strict=True)):
        return f"resolution is {base.resolution!r} times one factor, and not {network.resolution!r}"
    return ""
