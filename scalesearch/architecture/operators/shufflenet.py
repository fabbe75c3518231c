"""The units of the ShuffleNets."""

from __future__ import annotations

from scalesearch.architecture.layers import Act, Concat, Layer, Pool, Residual, Sequence, Shuffle, conv_unit
from scalesearch.architecture.rounding import anywhere, same


def shufflenet_v1(
    in_channels: int,
    channels: int,
    stride: int,
    *,
    kernel: int = 3,
    groups: int = 3,
    first_grouped: bool = True,
    act: str = "relu",
) -> Layer:
    """ShuffleNet unit (Zhang et al. 2018, figure 2b and 2c).

    Grouped 1x1 to a quarter of the output's width, channel shuffle, depthwise, grouped 1x1. Stride 1 with
    equal channels adds the shortcut; otherwise the branch gives channels - in_channels, beside the input
    average-pooled. `first_grouped` = False leaves the first 1x1 of a stride unit ungrouped: the paper's
    rule for stage 2, whose input has few channels.
    """
    bottleneck = channels // 4
    if anywhere(bottleneck % groups != 0):
        raise ValueError(
            f"shufflenet_v1 needs a quarter of its channels to be a multiple of groups={groups}, "
            f"but got {channels} channels"
        )
    shortcut = stride == 1 and same(in_channels, channels)
    added = channels if shortcut else channels - in_channels
    if anywhere(added <= 0) or anywhere(added % groups != 0):
        raise ValueError(
            f"shufflenet_v1 with groups={groups} and a stride or a change of width needs channels above "
            f"in_channels by a multiple of groups, but got {in_channels} to {channels}"
        )
    reduce_groups = groups if shortcut or first_grouped else 1
    branch = Sequence(
        (
            ("reduce", conv_unit(bottleneck, groups=reduce_groups, act=act)),
            ("shuffle", Shuffle(groups)),
            ("depthwise", conv_unit(bottleneck, kernel, stride, groups=bottleneck)),
            ("expand", conv_unit(added, groups=groups)),
        )
    )
    # Videos pool two frames, as the published 3D code does; it has no padding for a third.
    shortcut_pool = Pool("average", 3, stride, frames=2 if stride == 2 else None)
    merged: Layer = Residual(branch) if shortcut else Concat((branch, shortcut_pool))
    return Sequence((("merge", merged), ("act", Act(act))))


def shufflenet_v2(
    in_channels: int, channels: int, stride: int, *, kernel: int = 3, act: str = "relu"
) -> Layer:
    """ShuffleNetV2 unit (Ma et al. 2018, figure 3c and 3d).

    Stride 1 with equal channels splits them: one half passes, the other goes through pointwise, depthwise,
    pointwise. Otherwise both branches see the whole input and each gives half of the output.
    """
    if anywhere(channels % 2 != 0):
        raise ValueError(f"shufflenet_v2 needs an even number of channels, but got {channels}")
    half = channels // 2
    right = Sequence(
        (
            ("pointwise", conv_unit(half, act=act)),
            ("depthwise", conv_unit(half, kernel, stride, groups=half)),
            ("project", conv_unit(half, act=act)),
        )
    )
    if stride == 1 and same(in_channels, channels):
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
