"""The optimizers of short trainings: Muon for dense and pointwise convolutions, Nesterov SGD for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from scalesearch.training.recipe import Recipe

# Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/: the quintic a s + b s^3 + c s^5 whose
# iteration lifts small singular values fastest; it ends within about [0.7, 1.2], which is near enough to 1.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, iterations: int) -> Tensor:
    """Return the nearest matrices with all singular values near 1, of shape (k, rows, columns).

    Newton-Schulz iteration X <- (a I + b X X^T + c (X X^T)^2) X from X of Frobenius norm 1.
    """
    if 1 in matrices.shape[-2:]:
        return matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-12)
    x = x.to(_product_type(x))
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


@cache
def _fast_bfloat16() -> bool:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch that is allowed
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _product_type(x: Tensor) -> torch.dtype:
    # Half the precision is enough here (Jordan et al. 2024) and three to four times as fast where the
    # hardware multiplies bfloat16; small matrices cost more to convert than to multiply.
    fast = x.device.type == "cuda" or _fast_bfloat16()
    return torch.bfloat16 if fast and min(x.shape[-2:]) >= 64 else x.dtype


import os

DW = bool(os.environ.get("DW"))


class Muon(Optimizer):
    """Momentum whose update is orthogonalised (Jordan et al. 2024), for weights of two or more axes.

    A weight (out, in, ...) is the matrix (out, in * ...). Its update is `lr` times a matrix with singular
    values near 1, times sqrt(max(1, out / in)), which keeps the size of the change of the outputs
    independent of the shape. Weights of one shape are updated together, as a stack.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.9, iterations: int = 4
    ) -> None:
        stacks: dict[tuple[int, ...], list[nn.Parameter]] = {}
        for parameter in params:
            # A weight with one input channel is depthwise: one matrix of a single row for each channel.
            rows = 1 if parameter.shape[1] == 1 else parameter.shape[0]
            stacks.setdefault(
                (rows, parameter.numel() // rows if rows > 1 else parameter[0].numel()), []
            ).append(parameter)
        groups = [{"params": stack, "rows": rows} for (rows, _), stack in stacks.items()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "iterations": iterations})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters from their gradients; every parameter needs one."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            self._update(group)

    def _update(self, group: dict[str, Any]) -> None:
        weights = group["params"]
        gradients = torch.cat(
            [weight.grad.reshape(-1, group["rows"], weight[0].numel()) for weight in weights]
        )
        # The stack's momentum is kept in the state of its first weight.
        state = self.state[weights[0]]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradients)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradients)
        nesterov = gradients.add_(momentum, alpha=group["momentum"])
        rows, columns = nesterov.shape[1:]
        length = group["lr"] * max(1.0, rows / columns) ** 0.5
        updates = orthogonalise(nesterov, group["iterations"])
        counts = [len(weight) // group["rows"] for weight in weights]
        for weight, update in zip(weights, updates.split(counts), strict=True):
            weight.add_(update.view(weight.shape), alpha=-length)


def takes_muon(name: str, module: nn.Module) -> bool:
    """Tell whether Muon trains the weight of the module called `name`.

    Depthwise kernels are no matrices, and the stem's three input channels have no hidden structure to keep.
    """
    return (
        isinstance(module, nn.Conv2d | nn.Conv3d)
        and (DW or module.in_channels > module.groups)
        and not name.startswith("stem.")
    )


class Optimizers:
    """The two optimizers of a network, stepped and stored as one.

    Attributes:
        parameters: of SGD, whose gradients the recipe's guard clips.
    """

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        dense = [m.weight for name, m in model.named_modules() if takes_muon(name, m)]
        chosen = {id(weight) for weight in dense}
        self.parameters = [p for p in model.parameters() if id(p) not in chosen]
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.recipe = recipe
        self._all: list[tuple[Optimizer, float]] = [
            (
                SGD(groups, recipe.sgd_learning_rate, recipe.sgd_momentum, nesterov=True, fused=True),
                recipe.sgd_learning_rate,
            )
        ]
        if dense:
            muon = Muon(dense, recipe.muon_learning_rate, recipe.muon_momentum, recipe.muon_iterations)
            self._all.append((muon, recipe.muon_learning_rate))

    def step(self, progress: float) -> None:
        """Take one step at a share `progress` of the training, and clear the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        rate = self.recipe.rate(progress)
        for optimizer, top in self._all:
            for group in optimizer.param_groups:
                group["lr"] = top * rate
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return everything that continuing needs."""
        return [optimizer.state_dict() for optimizer, _ in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Continue from what `state_dict` returned."""
        for (optimizer, _), state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)
