"""The depthwise separable block of MobileNetV1."""

from __future__ import annotations

from scalesearch.architecture.layers import Layer, Sequence, conv_unit


def depthwise_separable(
    in_channels: int, channels: int, stride: int, *, kernel: int = 3, act: str = "relu"
) -> Layer:
    """Depthwise and pointwise convolution (Howard et al. 2017, figure 3), without a shortcut."""
    return Sequence(
        (
            ("depthwise", conv_unit(in_channels, kernel, stride, groups=in_channels, act=act)),
            ("pointwise", conv_unit(channels, act=act)),
        )
    )
