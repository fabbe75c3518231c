"""The checks that an export must pass before it is said to be one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scalesearch.architecture.layers import Cost
from scalesearch.architecture.network import Network

BATCHES = (1, 3)
SEED = 20_190_611  # of the images by which forms are compared: noise, since every form must agree on anything
SMALLEST = 1e-30  # logits below it are too near to what float32 flushes to zero to be compared

# The largest difference of two forms' logits, as a share of the largest logit. The same operations in the
# same order give the same bits; other libraries fuse and reorder sums.
TOLERANCES = {"network.py": 0.0, "network.pt2": 1e-5, "network.onnx": 1e-4, "timm.json": 1e-5}


class CheckFailedError(RuntimeError):
    """A form does not do what the network does, or the network gives nothing to compare."""


@dataclass(frozen=True)
class Agreement:
    """How far a form's logits are from the network's.

    Attributes:
        form: the file. batch: images at once.
        difference, tolerance: the largest difference as a share of the largest logit, and what is allowed.
    """

    form: str
    batch: int
    difference: float
    tolerance: float


Logits = Callable[[Tensor], Tensor]


def images(network: Network, batch: int) -> Tensor:
    """Return noise (batch, in_channels, *size), the same each time."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(batch, network.in_channels, *network.input.size, generator=generator)


def references(module: nn.Module, network: Network) -> dict[int, Tensor]:
    """Return the network's own logits for each number of images; CheckFailedError where they say nothing."""
    with torch.no_grad():
        found = {batch: module.eval()(images(network, batch)) for batch in BATCHES}
    for logits in found.values():
        if not bool(logits.isfinite().all()):
            raise CheckFailedError("the network's logits must be finite to be compared, but some are not")
        if float(logits.abs().max()) < SMALLEST:
            raise CheckFailedError(
                f"the network's logits must be above {SMALLEST:g} to be compared, but all are below"
            )
    return found


def agreements(
    form: str, logits: Logits, network: Network, expected: dict[int, Tensor]
) -> tuple[Agreement, ...]:
    """Compare a form with the network's own logits; CheckFailedError where they differ too much."""
    found = []
    for batch, reference in expected.items():
        given = logits(images(network, batch))
        if given.shape != reference.shape:
            raise CheckFailedError(
                f"{form} must give logits of the shape {tuple(reference.shape)}, not {tuple(given.shape)}"
            )
        difference = float((given - reference).abs().max() / reference.abs().max())
        if not difference <= TOLERANCES[form]:
            raise CheckFailedError(
                f"{form} must agree with the network within {TOLERANCES[form]:g} of the largest logit, "
                f"but differs by {difference:.2g} on {batch} images"
            )
        found.append(Agreement(form, batch, difference, TOLERANCES[form]))
    return tuple(found)


def counted(module: nn.Module, network: Network) -> Cost:
    """Count what convolutions and linear layers give, in a pass of one image on the CPU.

    Equal to torch's own counter (tests/test_export.py), which loads torch's compiler, as a pass on the meta
    device does: 4 s of a core.
    """
    flops: list[int] = []
    activations: list[int] = []

    def note(part: nn.Conv2d | nn.Conv3d | nn.Linear, _inputs: object, output: Tensor) -> None:
        flops.append(output.numel() * part.weight[0].numel())
        if not isinstance(part, nn.Linear):
            activations.append(output.numel())

    parts = (part for part in module.modules() if isinstance(part, nn.Conv2d | nn.Conv3d | nn.Linear))
    hooks = [part.register_forward_hook(note) for part in parts]
    with torch.no_grad():
        module.eval()(torch.zeros(1, network.in_channels, *network.input.size))
    for hook in hooks:
        hook.remove()
    params = sum(parameter.numel() for parameter in module.parameters())
    return Cost(sum(flops), params, sum(activations))


def check_cost(module: nn.Module, network: Network) -> None:
    """Raise CheckFailedError where an exported module costs other than the network."""
    found, expected = counted(module, network), network.cost()
    if found != expected:
        raise CheckFailedError(f"network.py must cost what the network does, {expected}, but costs {found}")
