"""The inverted residual block and its fused form."""

from __future__ import annotations

from scalesearch.architecture.layers import Act, Conv, Gate, GlobalPool, Layer, Residual, Sequence, conv_unit
from scalesearch.architecture.rounding import at_least, round_channels, same, truncated


def squeeze_excite(channels: int, squeeze: int, act: str, gate: str = "sigmoid") -> Gate:
    """Squeeze-and-excitation (Hu et al. 2018, equations 2 to 4) with biased 1x1 convolutions."""
    return Gate(
        Sequence(
            (
                ("pool", GlobalPool(keep=True)),
                ("reduce", Conv(squeeze, bias=True)),
                ("act", Act(act)),
                ("expand", Conv(channels, bias=True)),
                ("gate", Act(gate)),
            )
        )
    )


def expanded(in_channels: int, expand: float) -> int:
    """Return the width inside an inverted residual block: in_channels * expand, to the nearest integer."""
    hidden: int = truncated(in_channels * expand + 0.5)
    return hidden


def _excitation(in_channels: int, hidden: int, se: float, act: str) -> tuple[tuple[str, Layer], ...]:
    # EfficientNet squeezes to a share of the block's *input* channels, not of the expanded ones.
    return (("se", squeeze_excite(hidden, at_least(1, truncated(in_channels * se)), act)),) if se else ()


def mbconv(
    in_channels: int,
    channels: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 6,
    se: float = 0.25,
    act: str = "silu",
    drop: float = 0.0,
) -> Layer:
    """Mobile inverted bottleneck (MobileNetV2, Sandler et al. 2018, table 1; EfficientNet adds `se`).

    1x1 expansion (left out where it would not widen), depthwise kernel x kernel, squeeze-and-excitation
    to se * in_channels (0: none), linear 1x1 projection; a shortcut where stride is 1 and in = out.
    """
    hidden = expanded(in_channels, expand)
    excitation = _excitation(in_channels, hidden, se, act)
    return _inverted_residual(in_channels, hidden, channels, stride, kernel, act, excitation, drop)


def mobilenet_v3(
    in_channels: int,
    channels: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 6,
    se: float = 0.25,
    act: str = "hardswish",
    drop: float = 0.0,
) -> Layer:
    """MobileNetV3 block (Howard et al. 2019, figure 4): `se` is a share of the *expanded* channels.

    The squeeze is rounded to a multiple of 8, with ReLU inside and the hard sigmoid as gate.
    """
    hidden = expanded(in_channels, expand)
    squeeze = round_channels(hidden * se, 8)
    excitation = (("se", squeeze_excite(hidden, squeeze, "relu", "hardsigmoid")),) if se else ()
    return _inverted_residual(in_channels, hidden, channels, stride, kernel, act, excitation, drop)


def _inverted_residual(
    in_channels: int,
    hidden: int,
    channels: int,
    stride: int,
    kernel: int,
    act: str,
    excitation: tuple[tuple[str, Layer], ...],
    drop: float,
) -> Layer:
    widen = () if same(hidden, in_channels) else (("expand", conv_unit(hidden, act=act)),)
    depthwise = ("depthwise", conv_unit(hidden, kernel, stride, groups=hidden, act=act))
    return Residual(Sequence((*widen, depthwise, *excitation, ("project", conv_unit(channels)))), drop)


def fused_mbconv(
    in_channels: int,
    channels: int,
    stride: int,
    *,
    kernel: int = 3,
    expand: float = 4,
    se: float = 0.0,
    act: str = "silu",
    drop: float = 0.0,
) -> Layer:
    """Fused-MBConv (EfficientNetV2, Tan and Le 2021, figure 2): expansion and depthwise in one convolution.

    With expand = 1 the block is that one convolution, and it keeps its activation before the shortcut.
    """
    hidden = expanded(in_channels, expand)
    if same(hidden, in_channels):
        fused = ("fused", conv_unit(channels, kernel, stride, act=act))
        return Residual(Sequence((fused, *_excitation(in_channels, channels, se, act))), drop)
    return Residual(
        Sequence(
            (
                ("fused", conv_unit(hidden, kernel, stride, act=act)),
                *_excitation(in_channels, hidden, se, act),
                ("project", conv_unit(channels)),
            )
        ),
        drop,
    )
