"""Zero-cost scores: what one batch, or none, tells of an untrained network; higher is better in all.

Each score takes a module from `build`, a batch of images (n, c, *size) float, normalised as for training,
their labels (n,) int64, and a generator of the CPU for what it draws itself. It works on a copy of the
module, in which dropout and stochastic depth are off. Batch norm normalises by the batch's statistics
where a loss is differentiated, as it does in a training's first step; what else it does is said there.

One seed's score is one draw: average over two or three seeds before ranking.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from itertools import takewhile

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scalesearch.architecture.network import Network
from scalesearch.errors import InputError
from scalesearch.training.augment import stream_seed
from scalesearch.training.build import Gate, GlobalPool, Residual, build
from scalesearch.training.steps import INITIAL

Score = Callable[[nn.Module, Tensor, Tensor, torch.Generator], float]
_Kinds = tuple[type[nn.Module], ...]

_ACTIVATIONS: _Kinds = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_WEIGHTED = (nn.Conv2d, nn.Conv3d, nn.Linear)
_NOISE = 5  # what a random stream is for, beside those of a training in `steps.py`

_CORRELATION_FLOOR = 1e-5  # k of jacob_cov
_PERTURBATION = 0.01  # alpha of the Zen-score
# ZiCo's published runs use two batches. The ratio's density then falls with its square only, so that its
# mean is infinite and a few weights decide; four batches make it finite.
_ZICO_BATCHES = 4


def _norms(model: nn.Module) -> list[nn.BatchNorm2d | nn.BatchNorm3d]:
    return [part for part in model.modules() if isinstance(part, _NORMS)]


def _weights(model: nn.Module) -> list[Tensor]:
    return [part.weight for part in model.modules() if isinstance(part, _WEIGHTED)]


def _replace(model: nn.Module, kinds: _Kinds, new: Callable[[nn.Module], nn.Module]) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kinds):
                setattr(parent, name, new(child))


def _drop(_part: nn.Module) -> nn.Module:
    return nn.Identity()


def _copy(model: nn.Module) -> nn.Module:
    """Return a copy whose batch norms use, and remember, the statistics of the last batch alone."""
    copied = copy.deepcopy(model).requires_grad_().eval()
    for norm in _norms(copied):
        norm.train()
        norm.momentum = 1.0
    return copied


@torch.no_grad()
def _hold_statistics(copied: nn.Module, images: Tensor) -> nn.Module:
    """Make batch norm use the statistics of `images`, as constants: no image's output depends on others."""
    copied(images)
    return copied.eval()


def _gradients(copied: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    """Return the gradient of the mean cross entropy by each convolution's and linear layer's weight."""
    loss = F.cross_entropy(copied(images), labels)
    return torch.autograd.grad(loss, _weights(copied))


def grad_norm(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum over layers l of ||dL/dw_l||, L the batch's cross entropy.

    Source: Abdelfattah et al. 2021, section 3.2. Weights of convolutions and linear layers.
    """
    return float(sum(gradient.norm() for gradient in _gradients(_copy(model), images, labels)))


def snip(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum over weights w of |w dL/dw|, L the batch's cross entropy.

    Source: connection sensitivity of Lee et al. 2019 (without its normalisation), summed over the network
    by Abdelfattah et al. 2021, section 3.2. Weights of convolutions and linear layers.
    """
    copied = _copy(model)
    pairs = zip(_weights(copied), _gradients(copied, images, labels), strict=True)
    return float(sum((weight.detach() * gradient).abs().sum() for weight, gradient in pairs))


def _linearised(model: nn.Module) -> nn.Module:
    linear = copy.deepcopy(model).eval().double().requires_grad_()
    _replace(linear, (Gate, *_NORMS, *_ACTIVATIONS), _drop)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.abs_()
    return linear


def synflow(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return log sum over w of |w| dR/d|w|, R = 1^T (product over layers of |w_l|) 1, in float64.

    Source: Tanaka et al. 2020, section 6, summed over the network by Abdelfattah et al. 2021, section 3.2;
    the logarithm keeps the order. R is the output for one image of ones when every weight is positive and
    the network linear. Batch norm is removed, since with a batch's statistics it takes the weights' scale,
    all that R measures, out again. Activation functions become the identity, which they are for large
    inputs (ReLU6, which is not, would end the flow), and gates become their limit 1. Of the images the
    shape alone matters.
    """
    linear = _linearised(model)
    weights = _weights(linear)
    ones = torch.ones(1, *images.shape[1:], dtype=torch.float64, device=images.device)
    flows = torch.autograd.grad(linear(ones).sum(), weights)
    total = torch.stack([(w.detach() * flow).sum() for w, flow in zip(weights, flows, strict=True)]).sum()
    return float(total.log())


def naswot(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return log det K, K_ij the number of units whose pre-activations have equal sign for images i and j.

    Source: Mellor et al. 2021, section 3 (K_ij = N_A - d_H(c_i, c_j)). A unit is one element of the input
    of any activation function, gates included: for ReLU the sign is the published code word, and it is as
    well defined for SiLU. -inf where two images have the same signs everywhere.
    """
    copied, n = _copy(model), len(images)
    kernel = torch.zeros(n, n, dtype=torch.float64, device=images.device)

    def count(_part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        signs = (inputs[0].flatten(1) > 0).float() * 2 - 1
        kernel.add_((signs @ signs.T + signs.shape[1]) / 2)

    for part in copied.modules():
        if isinstance(part, _ACTIVATIONS):
            part.register_forward_pre_hook(count)
    with torch.no_grad():
        copied(images)
    return float(torch.linalg.slogdet(kernel).logabsdet)


def jacob_cov(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return -sum over i of log(v_i + k) + 1 / (v_i + k), k = 1e-5.

    v are the eigenvalues of the correlation matrix (n, n) of the rows J_i = d(sum of logits of image i) /
    d(image i). Source: Mellor et al. 2020 (first version of "Neural architecture search without training",
    section 3); Abdelfattah et al. 2021, section 3.2.

    Batch norm's statistics are the batch's, held constant. Differentiated through, as published, they make
    J a mix of all images, and zero where batch norm without activation or shortcut comes before the
    pooling. -inf where an image moves no logit.
    """
    fixed = _hold_statistics(_copy(model), images)
    x = images.detach().clone().requires_grad_()
    (rows,) = torch.autograd.grad(fixed(x).sum(), x)
    correlation = torch.corrcoef(rows.flatten(1).double())
    if correlation.isnan().any():
        return -math.inf
    eigenvalues = torch.linalg.eigvalsh(correlation) + _CORRELATION_FLOOR
    return -float((eigenvalues.log() + 1 / eigenvalues).sum())


def _log_inverse_variation(gradients: Tensor) -> float:
    """Return log sum of E|g| / std(g) over one layer's weights; `gradients` is (batches, *weight)."""
    deviation = gradients.std(0, correction=0)
    moves = deviation > 0
    if not moves.any():  # a layer behind a dead ReLU, such as a narrow squeeze's, has nothing to say
        return 0.0
    return float((gradients.abs().mean(0)[moves] / deviation[moves]).sum().log())


def zico(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return the sum over layers l of log sum over w in l of E|g_w| / std(g_w), g_w = dL/dw of a batch.

    Source: Li et al. 2023, definition of ZiCo, with the standard deviation of the signed gradient as in
    the authors' code. The images are cut into four batches. Weights whose gradient is the same in all of
    them (zero, as a rule) are left out, as there.
    """
    copied = _copy(model)
    batches = zip(images.tensor_split(_ZICO_BATCHES), labels.tensor_split(_ZICO_BATCHES), strict=True)
    gradients = [_gradients(copied, x, y) for x, y in batches]
    return sum(_log_inverse_variation(torch.stack(layer)) for layer in zip(*gradients, strict=True))


def _plain_features(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """Return a copy up to the global pooling, without shortcuts and gates, with weights from N(0, 1)."""
    *body, head = _copy(model).children()
    last = takewhile(lambda part: not isinstance(part, GlobalPool), head.children())
    features = nn.Sequential(*body, *last)
    _replace(features, (Residual,), lambda residual: residual.get_submodule("body"))
    _replace(features, (Gate,), _drop)
    with torch.no_grad():
        for weight in _weights(features):
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return features


def _log_scale(model: nn.Module) -> float:
    """Return the sum over batch norms of log s, s^2 the mean over channels of the variance they divide by."""
    return sum(float(norm.get_buffer("running_var").mean().log()) / 2 for norm in _norms(model))


@torch.no_grad()
def zen(model: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
    """Return log E ||f(x) - f(x + 0.01 e)|| + sum over batch norms of log s; x, e and weights from N(0, 1).

    Source: Lin et al. 2021, algorithm 1. f gives the map before the global pooling. Shortcuts are taken
    out, as there, and so are gates, which its networks do not have. Batch norm keeps deep maps finite, and
    the second term gives back the scale s that it divides by. That is meant for blocks one after the other:
    branches beside each other (the ShuffleNets) count each. Of the images shape and number alone matter.
    """
    features = _plain_features(model, generator)
    x, e = (torch.randn(images.shape, generator=generator).to(images.device) for _ in range(2))
    # Both maps by the statistics of x: those of two batches differ by more than the perturbation may.
    fixed = _hold_statistics(features, x)
    change = (fixed(x) - fixed(x + _PERTURBATION * e)).flatten(1).norm(dim=1).mean()
    return float(change.log()) + _log_scale(fixed)


SCORES: dict[str, Score] = {
    "grad_norm": grad_norm,
    "snip": snip,
    "synflow": synflow,
    "naswot": naswot,
    "jacob_cov": jacob_cov,
    "zico": zico,
    "zen": zen,
}


def _check(network: Network, names: Iterable[str], images: Tensor, labels: Tensor) -> None:
    for name in names:
        if name not in SCORES:
            raise InputError(f"a zero-cost score is one of {', '.join(SCORES)}, but got {name!r}")
    expected = (network.in_channels, *network.input.size)
    if images.shape[1:] != expected or labels.shape != images.shape[:1]:
        raise ValueError(
            f"the scores need images (n, {', '.join(map(str, expected))}) and labels (n,), "
            f"but got {tuple(images.shape)} and {tuple(labels.shape)}"
        )
    if len(images) < 2 * _ZICO_BATCHES:
        raise ValueError(f"the scores need at least {2 * _ZICO_BATCHES} images, but got {len(images)}")


def scores(
    network: Network,
    names: Iterable[str],
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> dict[str, float]:
    """Return zero-cost scores of a network by name; higher is better in all of them, -inf for a dead one.

    The same arguments give the same scores, each of them whichever others are asked for; torch's global
    generators are left as they were.

    Args:
        network: scored at its own resolution, with the weights that a training with `seed` starts from.
        names: keys of SCORES.
        images: (n, in_channels, *size) float, normalised, of the network's size; n at least 8.
        labels: (n,) int64.
        seed: of the weights and of the scores' own noise.
        device: where the network is scored.

    Raises:
        InputError: a name is not among SCORES.
        ValueError: the batch does not fit the network or is too small.
    """
    names = tuple(names)
    _check(network, names, images, labels)
    device = torch.device(device)
    with torch.random.fork_rng(devices=[]):  # modules are initialised by the CPU's generator
        torch.default_generator.manual_seed(stream_seed(seed, INITIAL, 0))
        model = build(network).to(device)
    images, labels = images.to(device), labels.to(device)
    noise = stream_seed(seed, _NOISE, 0)
    return {n: SCORES[n](model, images, labels, torch.Generator().manual_seed(noise)) for n in names}
