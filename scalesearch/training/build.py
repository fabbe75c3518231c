"""The torch interpreter of a network: one case a layer kind."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesearch.architecture import layers as kinds
from scalesearch.architecture.layers import Layer, Shape, padding, per_dimension
from scalesearch.architecture.network import Network


class VideoAveragePool(nn.AvgPool3d):
    """Average pooling that pads first: torch's own refuses a map below its window before it pads."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, t, h, w) to what symmetric zero padding and the windows give; padding counts."""
        frames, height, width = per_dimension(self.padding, 3)
        padded = F.pad(x, (width, width, height, height, frames, frames))
        return F.avg_pool3d(padded, self.kernel_size, self.stride)


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "hardsigmoid": nn.Hardsigmoid,
}
_CONVS: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Conv3d)
_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS: dict[str, tuple[type[nn.Module], ...]] = {
    "max": (nn.MaxPool2d, nn.MaxPool3d),
    "average": (nn.AvgPool2d, VideoAveragePool),
}


class DropPath(nn.Module):
    """Stochastic depth: drops the whole tensor of single samples (Huang et al. 2016, equation 5)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Zero each sample of `x` (n, ...) with the rate, scale the others by 1 / (1 - rate)."""
        if not self.training:
            return x
        keep = 1 - self.rate
        mask = torch.empty((x.shape[0], *(1,) * (x.dim() - 1)), dtype=x.dtype, device=x.device)
        scaled: Tensor = x * mask.bernoulli_(keep).div_(keep)
        return scaled


class Residual(nn.Module):
    """x + drop(body(x))."""

    def __init__(self, body: nn.Module, drop: float) -> None:
        super().__init__()
        self.body = body
        self.drop = DropPath(drop) if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, ...) to the same shape."""
        added: Tensor = x + self.drop(self.body(x))
        return added


class Gate(nn.Module):
    """x * body(x), one factor a channel."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, ...) to the same shape."""
        gated: Tensor = x * self.body(x)
        return gated


class Concat(nn.Module):
    """Concatenates its branches' channels; with `split` each branch sees its own share of the input."""

    def __init__(self, branches: list[nn.Module], split: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, ...) to (n, sum of the branches' channels, ...)."""
        count = len(self.branches)
        inputs = x.chunk(count, dim=1) if self.split else (x,) * count
        return torch.cat([branch(part) for branch, part in zip(self.branches, inputs, strict=True)], dim=1)


class Shuffle(nn.Module):
    """Channel shuffle with g groups: (g, c / g) transposed."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, ...) to the same shape with its channels interleaved."""
        n, c, *size = x.shape
        return x.view(n, self.groups, c // self.groups, *size).transpose(1, 2).reshape(n, c, *size)


class GlobalPool(nn.Module):
    """The mean over all positions."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self.keep = keep

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, c, ...) to (n, c) or, with `keep`, to (n, c, 1, ...)."""
        return x.mean(dim=tuple(range(2, x.dim())), keepdim=self.keep)


class _Builder:
    """Turns layers into modules; knows what is the same for the whole network."""

    def __init__(self, network: Network) -> None:
        self.dims = network.dims
        self.eps, self.momentum = network.norm_eps, network.norm_momentum

    def _dimensional(self, classes: tuple[type[nn.Module], ...]) -> type[nn.Module]:
        return classes[self.dims - 2]

    def module(self, layer: Layer, x: Shape) -> nn.Module:
        """Return the module of `layer` for an input of shape `x`; an unknown kind raises TypeError."""
        match layer:
            case kinds.Sequence(layers=named):
                return self._sequence(named, x)
            case kinds.Conv():
                return self._conv(layer, x)
            case kinds.Norm():
                return self._dimensional(_NORMS)(x.channels, eps=self.eps, momentum=self.momentum)
            case kinds.Act(name=name):
                return _ACTIVATIONS[name]()
            case kinds.Residual(body=body, drop=drop):
                inner = self.module(body, x)
                return Residual(inner, drop) if body.out(x) == x else inner
            case kinds.Gate(body=body):
                return Gate(self.module(body, x))
            case kinds.Concat(branches=branches, split=split):
                return Concat([self.module(branch, layer.share(x)) for branch in branches], split)
            case kinds.Shuffle(groups=groups):
                return Shuffle(groups)
            case kinds.Pool(kind=kind, stride=stride):
                windows = layer.windows(self.dims)
                return self._dimensional(_POOLS[kind])(windows, stride, padding(windows, self.dims))
            case kinds.GlobalPool(keep=keep):
                return GlobalPool(keep)
            case kinds.Dropout(rate=rate):
                return nn.Dropout(rate)
            case kinds.Linear(channels=channels):
                return nn.Linear(x.channels, channels)
        raise TypeError(f"no torch module for the layer kind {type(layer).__name__}")

    def _sequence(self, named: tuple[tuple[str, Layer], ...], x: Shape) -> nn.Module:
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for name, layer in named:
            modules[name] = self.module(layer, x)
            x = layer.out(x)
        return nn.Sequential(modules)

    def _conv(self, layer: kinds.Conv, x: Shape) -> nn.Module:
        layer.out(x)  # raises where groups do not divide
        return self._dimensional(_CONVS)(
            x.channels,
            layer.channels,
            layer.kernel,
            layer.stride,
            padding(layer.kernel, self.dims),
            groups=layer.groups,
            bias=layer.bias,
        )


def initialise(module: nn.Module) -> None:
    """Initialise in place: He's normal by fan-out for convolutions, N(0, 0.01) for the classifier.

    Source: He et al. 2015, equation 10 (fan-out form), as EfficientNet and torchvision use it. Batch norm
    keeps torch's ones and zeros: zeroing the last one of a block costs accuracy in short trainings. On the
    meta device there is nothing to initialise.
    """
    if any(weight.is_meta for weight in module.parameters()):  # torch would load its compiler for nothing
        return
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
        elif isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.01)
        if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def build(network: Network) -> nn.Module:
    """Return the network as a torch module: (n, in_channels, *size) float -> (n, classes) logits.

    Names of parameters follow the description, e.g. `s1.b0.body.expand.conv.weight`. Weights are
    initialised from torch's global generator; seed it for a repeatable start.
    """
    module = _Builder(network).module(network.layers(), network.input)
    initialise(module)
    return module
