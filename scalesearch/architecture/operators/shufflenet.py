"""The units of the ShuffleNets."""

from __future__ import annotations

from scalesearch.architecture.layers import Concat, Layer, Sequence, Shuffle, conv_unit


def shufflenet_v2(
    in_channels: int, channels: int, stride: int, *, kernel: int = 3, act: str = "relu"
) -> Layer:
    """ShuffleNetV2 unit (Ma et al. 2018, figure 3c and 3d).

    Stride 1 with equal channels splits them: one half passes, the other goes through pointwise, depthwise,
    pointwise. Otherwise both branches see the whole input and each gives half of the output.
    """
    if channels % 2:
        raise ValueError(f"shufflenet_v2 needs an even number of channels, but got {channels}")
    half = channels // 2
    right = Sequence(
        (
            ("pointwise", conv_unit(half, act=act)),
            ("depthwise", conv_unit(half, kernel, stride, groups=half)),
            ("project", conv_unit(half, act=act)),
        )
    )
    if stride == 1 and in_channels == channels:
        body = Concat((Sequence(), right), split=True)
    else:
        left = Sequence(
            (
                ("depthwise", conv_unit(in_channels, kernel, stride, groups=in_channels)),
                ("project", conv_unit(half, act=act)),
            )
        )
        body = Concat((left, right))
    return Sequence((("branches", body), ("shuffle", Shuffle(2))))
