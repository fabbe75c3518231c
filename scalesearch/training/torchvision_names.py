"""Torchvision's names of a network's parameters and buffers.

The names follow by rule from the description, so that every width and depth of a family has them. The
families and their rules: EfficientNet V1 and V2 number the parts of a block, MobileNetV3 does the same
with all blocks in one row, MobileNetV2 spreads the projection out, ShuffleNetV2 numbers each branch flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from scalesearch.architecture.layers import (
    Act,
    Concat,
    Conv,
    Gate,
    Layer,
    Linear,
    Norm,
    Residual,
    Sequence,
    Shape,
)
from scalesearch.architecture.network import Network, Stage
from scalesearch.errors import InputError

COUNTER = "num_batches_tracked"
_EXCITATION = {"reduce": "fc1", "expand": "fc2"}

Named = Iterator[tuple[str, str, Layer]]  # the name here, the name in torchvision, what has both


def _tensors(layer: Layer) -> tuple[str, ...]:
    match layer:
        case Norm():
            return ("weight", "bias", "running_mean", "running_var", COUNTER)
        case Linear() | Conv(bias=True):
            return ("weight", "bias")
        case Conv():
            return ("weight",)
    return ()


def _parts(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    if not isinstance(layer, Sequence):
        raise TypeError(f"a sequence of layers is needed, but got {type(layer).__name__}")
    return layer.layers


def _unit(unit: Layer, ours: str, theirs: str) -> Named:
    for position, (name, layer) in enumerate(_parts(unit)):
        yield f"{ours}.{name}", f"{theirs}.{position}", layer


def _body(block: Layer, x: Shape, ours: str) -> tuple[tuple[tuple[str, Layer], ...], str]:
    if not isinstance(block, Residual):
        raise TypeError(f"a residual block is needed, but got {type(block).__name__}")
    # A block that has its shortcut is built as a module around its body; one without is the body itself.
    return _parts(block.body), f"{ours}.body" if block.out(x) == x else ours


def _numbered(block: Layer, x: Shape, ours: str, theirs: str) -> Named:
    parts, ours = _body(block, x, ours)
    for position, (role, part) in enumerate(parts):
        here, there = f"{ours}.{role}", f"{theirs}.{position}"
        if isinstance(part, Gate):
            for name, layer in _parts(part.body):
                yield f"{here}.body.{name}", f"{there}.{_EXCITATION.get(name, name)}", layer
        else:
            yield from _unit(part, here, there)


def _spread(block: Layer, x: Shape, ours: str, theirs: str) -> Named:
    parts, ours = _body(block, x, ours)
    for position, (role, part) in enumerate(parts):
        # There, convolution, norm and activation are one module; the projection has no activation.
        whole = any(isinstance(layer, Act) for _, layer in _parts(part))
        for offset, (name, layer) in enumerate(_parts(part)):
            there = f"{position}.{offset}" if whole else str(position + offset)
            yield f"{ours}.{role}.{name}", f"{theirs}.{there}", layer


def _branches(block: Layer, _x: Shape, ours: str, theirs: str) -> Named:
    (role, concat), *_ = _parts(block)
    if not isinstance(concat, Concat):
        raise TypeError(f"branches are needed, but got {type(concat).__name__}")
    for number, branch in enumerate(concat.branches):
        here = f"{ours}.{role}.branches.{number}"
        flat = [entry for name, unit in _parts(branch) for entry in _unit(unit, f"{here}.{name}", "")]
        for position, (name, _, layer) in enumerate(flat):
            yield name, f"{theirs}.branch{number + 1}.{position}", layer


@dataclass(frozen=True)
class _Layout:
    """Where a family of torchvision keeps stem, blocks and head.

    Patterns know the number of the `stage` from 1 and the `next` one, the `position` of the block in it
    from 0, and the `index` of the block in the network from 1.
    """

    block: str
    inside: Callable[[Layer, Shape, str, str], Named]
    stem: str = "features.0"
    head: str = "features.{stage}"
    hidden: str | None = None
    classifier: str = "classifier.1"


_EFFICIENTNET = _Layout("features.{stage}.{position}.block", _numbered)
_MOBILENET_V2 = _Layout("features.{index}.conv", _spread, head="features.{index}")
_MOBILENET_V3 = _Layout(
    "features.{index}.block",
    _numbered,
    head="features.{index}",
    hidden="classifier.0",
    classifier="classifier.3",
)
_SHUFFLENET_V2 = _Layout("stage{next}.{position}", _branches, "conv1", "conv5", classifier="fc")

# By operator and by whether it has squeeze-and-excitation: torchvision's MBConv of EfficientNet always has
# it, its inverted residual of MobileNetV2 never.
_LAYOUTS = {
    ("mbconv", True): _EFFICIENTNET,
    ("fused_mbconv", False): _EFFICIENTNET,
    ("mbconv", False): _MOBILENET_V2,
    ("mobilenet_v3", True): _MOBILENET_V3,
    ("mobilenet_v3", False): _MOBILENET_V3,
    ("shufflenet_v2", False): _SHUFFLENET_V2,
}


def _kind(stage: Stage) -> tuple[str, bool]:
    return stage.operator, bool(dict(stage.options).get("se"))


def _in_words(kind: tuple[str, bool]) -> str:
    operator, squeezes = kind
    return f"{operator} with squeeze-and-excitation" if squeezes else operator


def _layout(network: Network) -> _Layout:
    if network.dims != 2:
        raise InputError(f"{network.name}: torchvision's names are for dims=2, but got dims={network.dims}")
    kinds = [_kind(stage) for stage in network.stages]
    for number, kind in enumerate(kinds, 1):
        if kind not in _LAYOUTS:
            raise InputError(
                f"{network.name}, stage {number}: torchvision has no counterpart of {_in_words(kind)}"
            )
    if len({_LAYOUTS[kind] for kind in kinds}) > 1:
        mixed = " and ".join(_in_words(kind) for kind in dict.fromkeys(kinds))
        raise InputError(f"{network.name}: torchvision has no network that mixes {mixed}")
    layout = _LAYOUTS[kinds[0]]
    if network.head.hidden and not layout.hidden:
        raise InputError(
            f"{network.name}: torchvision has no counterpart of {network.stages[0].operator} "
            f"with a hidden layer in the head, but hidden={network.head.hidden}"
        )
    return layout


def _named_layers(network: Network, layout: _Layout) -> Named:
    (_, stem), *stages, (_, head) = network.layers().layers
    yield from _unit(stem, "stem", layout.stem)
    x, index = stem.out(network.input), 1
    for number, (stage_name, stage) in enumerate(stages, 1):
        for position, (block_name, block) in enumerate(_parts(stage)):
            theirs = layout.block.format(stage=number, next=number + 1, position=position, index=index)
            yield from layout.inside(block, x, f"{stage_name}.{block_name}", theirs)
            x, index = block.out(x), index + 1
    linear = {"head.hidden": layout.hidden, "head.classifier": layout.classifier}
    after = layout.head.format(stage=len(stages) + 1, index=index)
    for ours, theirs, layer in _unit(head, "head", after):
        yield ours, linear.get(ours) or theirs, layer


def to_torchvision(network: Network) -> dict[str, str]:
    """Return torchvision's name of every parameter and buffer of `build(network)`, by its name there.

    The map is one-to-one and in the order of both state dicts. InputError where an operator, a mixture of
    operators or a head has no counterpart in torchvision.
    """
    return {
        f"{ours}.{tensor}": f"{theirs}.{tensor}"
        for ours, theirs, layer in _named_layers(network, _layout(network))
        for tensor in _tensors(layer)
    }
