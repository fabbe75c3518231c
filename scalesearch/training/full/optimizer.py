"""The optimizers of full trainings: SGD, AdamW, or Muon beside SGD, stepped as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD, AdamW, Optimizer

from scalesearch.training.full.recipe import FullRecipe
from scalesearch.training.optimizer import Muon, muon_groups

Group = dict[str, Any]  # `params` and their `weight_decay`, and `rate` or, for torch, `lr`

_MUON_ITERATIONS = 4


class _DecayedMuon(Muon):
    """Muon with decoupled weight decay: weights shrink by learning rate times decay before each step.

    That is as much as SGD's L2 term takes off them, whose gradient Muon's fixed length of updates would lose.
    """

    def __init__(self, groups: Mapping[Tensor, int], group: Group, momentum: float) -> None:
        super().__init__(groups, group["lr"], momentum, _MUON_ITERATIONS)
        for own in self.param_groups:
            own["weight_decay"] = group["weight_decay"]

    @torch.no_grad()
    def _update(self, group: Group) -> None:
        torch._foreach_mul_(group["params"], 1 - group["lr"] * group["weight_decay"])
        super()._update(group)


def _muon(model: nn.Module, groups: Iterable[Group], recipe: FullRecipe) -> list[Optimizer]:
    convolutions = muon_groups(model)
    made: list[Optimizer] = []
    rest: list[Group] = []
    for group in groups:
        own = {weight: convolutions[weight] for weight in group["params"] if weight in convolutions}
        others = [weight for weight in group["params"] if weight not in own]
        if own:
            made.append(_DecayedMuon(own, group, recipe.momentum))
        if others:
            rest.append({**group, "params": others})
    return [*made, _sgd(rest, recipe)] if rest else made


def _sgd(groups: list[Group], recipe: FullRecipe) -> Optimizer:
    nesterov = recipe.momentum > 0
    return SGD(groups, recipe.learning_rate, recipe.momentum, nesterov=nesterov, fused=True)


def _for_torch(group: Group, recipe: FullRecipe) -> Group:
    rate = recipe.learning_rate * group["rate"]
    return {"params": group["params"], "lr": rate, "weight_decay": group["weight_decay"]}


def _made(model: nn.Module, groups: list[Group], recipe: FullRecipe) -> list[Optimizer]:
    match recipe.optimizer:
        case "sgd":
            return [_sgd(groups, recipe)]
        case "adamw":
            return [AdamW(groups, recipe.learning_rate, recipe.betas, fused=True)]
        case "muon":
            return _muon(model, groups, recipe)
    raise ValueError(f"optimizer must be sgd, adamw or muon, but got {recipe.optimizer!r}")


class Optimizers:
    """The optimizers of one training, stepped and stored as one.

    Args:
        model: on its device.
        groups: all parameters that are trained, as `transfer.parameter_groups` gives them.
        recipe: names the optimizer and its schedule.
        scaler: of fp16 gradients; disabled for other types.
    """

    def __init__(self, model: nn.Module, groups: list[Group], recipe: FullRecipe, scaler: GradScaler) -> None:
        self.recipe, self._scaler = recipe, scaler
        self.parameters: list[Tensor] = [weight for group in groups for weight in group["params"]]
        self._all = _made(model, [_for_torch(group, recipe) for group in groups], recipe)
        self._tops = [[float(group["lr"]) for group in one.param_groups] for one in self._all]

    def set_rates(self, progress: float) -> float:
        """Set the learning rates to those at a share `progress` of the training; return their factor."""
        factor = self.recipe.rate(progress)
        for optimizer, tops in zip(self._all, self._tops, strict=True):
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["lr"] = top * factor
        return factor

    def update(self) -> None:
        """Take one step at the rates that are set, and clear the gradients.

        With fp16 a step whose gradients overflow is left out, and the scale is lowered (Micikevicius et al.
        2018, section 3.2).
        """
        for optimizer in self._all:
            self._scaler.unscale_(optimizer)
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        for optimizer in self._all:
            self._scaler.step(optimizer)
            optimizer.zero_grad()
        self._scaler.update()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return everything that continuing needs."""
        return [optimizer.state_dict() for optimizer in self._all]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Continue from what `state_dict` returned; the rates are set anew before each step."""
        for optimizer, state in zip(self._all, states, strict=True):
            optimizer.load_state_dict(state)
