"""The optimizers of short trainings: Muon for convolutions, Nesterov SGD for the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from inspect import unwrap
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
    if 1 in matrices.shape[-2:]:  # exact, and much faster
        return _unit(matrices)
    a, b, c = _QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = _unit(matrices.mT if tall else matrices)
    x = x.to(_product_type(x))
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def _unit(matrices: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.matrix_norm(matrices, keepdim=True)
    return matrices / (norms + 1e-12)


@cache
def _fast_bfloat16() -> bool:
    # Not in every torch that is allowed.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _product_type(x: Tensor) -> torch.dtype:
    # Half the precision is enough here (Jordan et al. 2024) and three to four times as fast where the
    # hardware multiplies bfloat16; small matrices cost more to convert than to multiply.
    fast = x.device.type == "cuda" or _fast_bfloat16()
    return torch.bfloat16 if fast and min(x.shape[-2:]) >= 64 else x.dtype


class _Uncompiled(Optimizer):
    """An optimizer that does not load torch's compiler, which takes 3.5 s of a core in every process.

    torch keeps its compiler away from these methods, and loads it for that; here nothing compiles them.
    """

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)


class _SGD(_Uncompiled, SGD):
    step = torch.no_grad()(unwrap(SGD.step))


class Muon(_Uncompiled):
    """Momentum whose update is orthogonalised (Jordan et al. 2024), for the weights of convolutions.

    A weight (out, in / groups, ...) is a block-diagonal matrix of `groups` blocks, each with out / groups
    rows; every block is orthogonalised by itself, so that a depthwise kernel's update has norm 1. The
    update is `lr` times that, times sqrt(max(1, rows / columns)), which keeps the size of the change of
    the outputs independent of the shape. Blocks of one shape are updated together, as a stack.
    """

    def __init__(
        self, groups: Mapping[Tensor, int], lr: float, momentum: float = 0.9, iterations: int = 4
    ) -> None:
        stacks: dict[tuple[int, int], list[Tensor]] = {}
        for weight, count in groups.items():
            stacks.setdefault((len(weight) // count, weight[0].numel()), []).append(weight)
        super().__init__(
            [{"params": weights, "block": block} for block, weights in stacks.items()],
            {"lr": lr, "momentum": momentum, "iterations": iterations},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all weights from their gradients; every weight needs one."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            self._update(group)

    def _update(self, group: dict[str, Any]) -> None:
        weights, (rows, columns) = group["params"], group["block"]
        gradients = torch.cat([weight.grad.reshape(-1, rows, columns) for weight in weights])
        # The stack's momentum is kept in the state of its first weight.
        state = self.state[weights[0]]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradients)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradients)
        nesterov = gradients.add_(momentum, alpha=group["momentum"])
        updates = orthogonalise(nesterov, group["iterations"])
        length = group["lr"] * max(1.0, rows / columns) ** 0.5
        on_device = isinstance(length, Tensor)  # then a tensor, which takes no part as `alpha`
        if on_device:
            updates = updates * length
        parts = torch.split(updates, [len(weight) // rows for weight in weights])
        changes = [part.reshape(weight.shape) for part, weight in zip(parts, weights, strict=True)]
        torch._foreach_add_(weights, changes, alpha=-1.0 if on_device else -length)


def muon_groups(model: nn.Module) -> dict[Tensor, int]:
    """Return the weights that Muon trains, with their groups: all convolutions but the stem's.

    The stem's three input channels are colours, not features: no direction is as good as another.
    """
    return {
        module.weight: module.groups
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not name.startswith("stem.")
    }


class Optimizers:
    """The two optimizers of a network, stepped and stored as one.

    Args:
        model: on its device.
        recipe: the learning rates follow its schedule.
        rates_on_device: keep the learning rates in tensors beside the weights, so that a recorded step
            reads them; their products round otherwise than those with plain numbers.

    Attributes:
        parameters: of SGD, whose gradients the recipe's guard clips.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, *, rates_on_device: bool = False) -> None:
        convolutions = muon_groups(model)
        self.parameters = [p for p in model.parameters() if p not in convolutions]
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in self.parameters if p.dim() == 1], "weight_decay": 0.0},
        ]
        self.recipe = recipe
        self._all: list[tuple[Optimizer, float]] = [
            (
                _SGD(groups, recipe.sgd_learning_rate, recipe.sgd_momentum, nesterov=True, fused=True),
                recipe.sgd_learning_rate,
            )
        ]
        if convolutions:
            muon = Muon(convolutions, recipe.muon_learning_rate, recipe.muon_momentum, recipe.muon_iterations)
            self._all.append((muon, recipe.muon_learning_rate))
        device = self.parameters[0].device
        self._rates = [torch.zeros((), device=device) for _ in self._all] if rates_on_device else []

    def set_rates(self, progress: float) -> None:
        """Set the learning rates to those at a share `progress` of the training."""
        factor = self.recipe.rate(progress)
        for index, (optimizer, top) in enumerate(self._all):
            rate: float | Tensor = top * factor
            if self._rates:
                rate = self._rates[index].fill_(rate)
            for group in optimizer.param_groups:
                group["lr"] = rate

    def update(self) -> None:
        """Take one step at the rates that are set, and clear the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        for optimizer, _ in self._all:
            optimizer.step()
            optimizer.zero_grad()

    def step(self, progress: float) -> None:
        """Take one step at a share `progress` of the training, and clear the gradients."""
        self.set_rates(progress)
        self.update()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return everything that continuing needs."""
        return [optimizer.state_dict() for optimizer, _ in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Continue from what `state_dict` returned; the rates are set anew before each step."""
        for (optimizer, _), state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)
