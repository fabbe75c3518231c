"""timm's `arch_def` strings, for timm's training scripts and its zoo.

timm's builder reads strings such as `ir_r2_k5_s2_e6_c40_se0.25`: kind of block, repeats, kernel, stride,
expansion, channels, squeeze-and-excitation. What its classes cannot express exactly is refused with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from math import prod
from typing import Any, NamedTuple

from torch import Tensor, nn

from scalesearch.architecture.layers import Act, Conv, Gate, Layer, Residual, Sequence, Shape
from scalesearch.architecture.network import Block, Network

NEEDS = ("timm",)
_KINDS = {
    ("expand", "depthwise", "project"): "ir",
    ("depthwise", "project"): "ds",
    ("fused", "project"): "er",
    ("fused",): "cn",
    ("depthwise", "pointwise"): "dsa",
}
_ACTIVATIONS = {"relu": "nre", "relu6": "nr6", "hardswish": "nhs", "silu": "nsw"}
_WIDTH_STEP = 8  # timm rounds the width inside a block to a multiple of it
_REACH = 32  # MobileNetV3 of timm turns strides beyond it into dilation


class InexpressibleError(ValueError):
    """timm's builder has no way to say this network; the message is the reason."""


class Excitation(NamedTuple):
    """The functions in a block's squeeze-and-excitation, and whether `act` is that of the block, too."""

    act: str
    gate: str
    same: bool


@dataclass(frozen=True)
class Definition:
    """A network as timm's builder takes it.

    Attributes:
        family: the class, EfficientNet or MobileNetV3 (which has a hidden layer after the pooling).
        arch_def: for each stage its strings.
        arguments: of the class, as plain JSON; `act`, `norm` and `excitation` name what is made of them.
    """

    family: str
    arch_def: tuple[tuple[str, ...], ...]
    arguments: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def definition(network: Network) -> Definition:
    """Return the network in timm's terms; InexpressibleError says why there is none."""
    _check(network)
    excitations: set[Excitation] = set()
    stages, x = [], network.layers().layers[0][1].out(network.input)
    for stage in network.stages:
        words = []
        for block in stage.blocks(x.channels):
            word, excitation = _block(block, x, stage.stride, network.stem.act)
            words.append(word)
            excitations |= {excitation} if excitation else set()
            x = block.layer().out(x)
        stages.append(tuple(_repeated(words)))
    hidden = bool(network.head.hidden)
    widened = network.head.channels is not None
    # A head convolution with an activation of its own, or before a hidden layer, is a stage in timm.
    apart = widened and (hidden or network.head.act != network.stem.act)
    if apart:
        act = _act(network.head.act, network.stem.act)
        stages.append((_word("cn", 1, 1, 1, f"c{network.head.channels}", act),))
    return Definition(
        family="MobileNetV3" if hidden else "EfficientNet",
        arch_def=tuple(stages),
        arguments=_arguments(network, apart, _excitations(excitations)),
    )


def _arguments(network: Network, apart: bool, excitation: dict[str, str | None]) -> dict[str, Any]:
    head, blocks = network.head, network.blocks
    features = head.hidden or (0 if apart else head.channels) or 0
    own: dict[str, Any] = {"se_from_exp": False}
    if not head.hidden:
        strides = prod(stage.stride for stage in network.stages)
        own = {"stem_kernel_size": network.stem.kernel, "output_stride": max(_REACH, 2 * strides)}
    return {
        "num_classes": network.classes,
        "in_chans": network.in_channels,
        "stem_size": network.stem.channels,
        "num_features": features,
        "drop_rate": head.dropout,
        # A head that is a stage counts as one more block in timm's rule of stochastic depth.
        "drop_path_rate": network.drop_path * (blocks + apart) / blocks,
        "act": network.stem.act,
        "norm": {"eps": network.norm_eps, "momentum": network.norm_momentum},
        "excitation": excitation,
        **own,
    }


def _refuse_if(condition: bool, reason: str) -> None:
    if condition:
        raise InexpressibleError(reason)


def _check(network: Network) -> None:
    stem, hidden = network.stem, bool(network.head.hidden)
    strides = 2 * prod(stage.stride for stage in network.stages)
    _refuse_if(network.dims != 2, "timm's builder makes networks for images alone")
    _refuse_if(stem.stride not in (2, (2, 2)), f"timm's stems have stride 2, not {stem.stride}")
    _refuse_if(stem.pool, "timm's stems have no pooling")
    if hidden:
        _refuse_if(stem.kernel != 3, f"stems of timm's MobileNetV3 have a 3x3 kernel, not {stem.kernel}")
        _refuse_if(strides > _REACH, f"timm's MobileNetV3 reduces by at most {_REACH}, not {strides}")
        same = network.head.act == stem.act
        _refuse_if(not same, "the hidden layer of timm's MobileNetV3 has the activation of the stem")


def _block(block: Block, x: Shape, stride: int, default: str) -> tuple[str, Excitation | None]:
    """Return a block's string without repeats, and its kind of squeeze-and-excitation.

    The string has the stage's stride also where the block has none: timm gives it to a stage's first alone.
    """
    layer = block.layer()
    parts = dict(_named(layer.body if isinstance(layer, Residual) else layer))
    gate = parts.pop("se", None)
    kind = _KINDS.get(tuple(parts))
    if kind is None:
        raise InexpressibleError(f"timm's builder has no {block.operator} block")
    stretched = block.stride != 1 and isinstance(layer, Residual) and layer.out(x) == x
    _refuse_if(stretched, f"a {block.operator} block has stride {block.stride} on a map of one pixel")
    _refuse_if(block.stride > 2, f"blocks of timm have stride 1 or 2, not {block.stride}")
    middle = parts.get("depthwise") or parts["fused"]
    conv, act = _conv(middle), _activation(middle)
    hidden = conv.channels
    words = [f"c{block.channels}", _act(act, default)]
    if kind in ("ir", "er"):
        _refuse_if(
            hidden % _WIDTH_STEP != 0,
            f"widths inside timm's blocks are multiples of {_WIDTH_STEP}, not {hidden}",
        )
        words.insert(0, f"e{_number(hidden / block.in_channels)}")
    if kind == "cn":
        words.append("skip")
    excitation = None
    if isinstance(gate, Gate):
        _refuse_if(kind == "cn", "timm's single convolutions have no squeeze-and-excitation")
        squeeze, excitation = _excitation(gate, act)
        words.append(f"se{_squeeze_ratio(block, hidden, squeeze)}")
    return _word(kind, None, conv.kernel, stride, *words), excitation


def _word(kind: str, repeats: int | None, kernel: Any, stride: int, *further: str) -> str:
    parts = (kind, *(() if repeats is None else (f"r{repeats}",)), f"k{kernel}", f"s{stride}", *further)
    return "_".join(part for part in parts if part)


def _repeated(words: list[str]) -> Iterator[str]:
    for word, same in groupby(words):
        kind, _, rest = word.partition("_")
        yield f"{kind}_r{len(list(same))}_{rest}"


def _named(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    return layer.layers if isinstance(layer, Sequence) else ()


def _conv(unit: Layer) -> Conv:
    conv = dict(_named(unit))["conv"]
    assert isinstance(conv, Conv), "a unit of convolution and norm has a convolution"
    return conv


def _activation(unit: Layer) -> str:
    act = dict(_named(unit))["act"]
    assert isinstance(act, Act), "the first convolutions of a block have an activation function"
    return act.name


def _act(act: str, default: str) -> str:
    if act == default:
        return ""
    _refuse_if(act not in _ACTIVATIONS, f"timm's strings have no word for the activation {act}")
    return _ACTIVATIONS[act]


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _excitation(gate: Gate, block_act: str) -> tuple[int, Excitation]:
    parts = dict(_named(gate.body))
    reduce, act, last = parts["reduce"], parts["act"], parts["gate"]
    assert isinstance(reduce, Conv), "an excitation begins with a convolution"
    assert isinstance(act, Act), "and has two activation functions"
    assert isinstance(last, Act), "and has two activation functions"
    return reduce.channels, Excitation(act.name, last.name, act.name == block_act)


def _squeeze_ratio(block: Block, hidden: int, squeeze: int) -> str:
    """Return the ratio from which timm's rule gives the squeeze: the operator's own where it does."""
    expand, stated = hidden / block.in_channels, dict(block.options)["se"]
    ratio = stated if round(hidden * (stated / expand)) == squeeze else squeeze / block.in_channels
    return _number(ratio)


def _excitations(found: set[Excitation]) -> dict[str, str | None]:
    """Return the functions of all squeeze-and-excitations; timm has one rule for a whole network.

    `act` is None where they have the activation of their blocks.
    """
    gates, acts = {one.gate for one in found}, {one.act for one in found}
    follow = all(one.same for one in found)
    _refuse_if(
        len(gates) > 1 or (len(acts) > 1 and not follow),
        "timm's networks have one kind of squeeze-and-excitation, not two",
    )
    return {"act": None if follow else acts.pop(), "gate": gates.pop() if gates else "sigmoid"}


def build(made: Definition) -> nn.Module:
    """Return timm's module of a definition; ImportError where timm is not installed."""
    from timm.layers import get_act_layer
    from timm.models._efficientnet_blocks import SqueezeExcite
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet
    from timm.models.mobilenetv3 import MobileNetV3

    family = {"EfficientNet": EfficientNet, "MobileNetV3": MobileNetV3}[made.family]
    arguments = dict(made.arguments)
    act, gate = arguments["excitation"]["act"], arguments.pop("excitation")["gate"]
    inside = {} if act is None else {"force_act_layer": get_act_layer(act)}
    module: nn.Module = family(
        decode_arch_def([list(stage) for stage in made.arch_def]),
        act_layer=get_act_layer(arguments.pop("act")),
        norm_layer=partial(nn.BatchNorm2d, **arguments.pop("norm")),
        se_layer=partial(SqueezeExcite, gate_layer=get_act_layer(gate), **inside),
        round_chs_fn=int,
        fix_stem=True,
        **arguments,
    )
    return module


def names(ours: Mapping[str, Tensor], module: nn.Module) -> dict[str, str]:
    """Return timm's name of each of our tensors. Both list the same tensors in the order of computation."""
    theirs = module.state_dict()
    assert [t.numel() for t in ours.values()] == [t.numel() for t in theirs.values()], "the same tensors"
    return dict(zip(ours, theirs, strict=True))


def load(module: nn.Module, ours: Mapping[str, Tensor], known: Mapping[str, str]) -> None:
    """Give timm's module our weights; a linear layer here may be a 1x1 convolution there."""
    theirs = module.state_dict()
    module.load_state_dict({known[name]: t.reshape(theirs[known[name]].shape) for name, t in ours.items()})
