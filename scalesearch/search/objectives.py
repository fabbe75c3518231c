"""What a search optimises: objectives by name, measured from a trial's record alone.

All are known before a training but the accuracy, and rewards fold several into one figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scalesearch.search.records import TrialRecord
from scalesearch.search.samplers import Direction


@dataclass(frozen=True)
class Objective:
    """One figure of a trial that a search makes as small or as large as it can.

    Attributes:
        name: what the figure is called where it is written. unit: what it counts.
        measure: from a complete trial and the budget of the run, in multiply-accumulates.
        learned: the figure needs a training; costs do not.
        log: a sampler is told the logarithm, as levels of a budget are shares of each other.
    """

    name: str
    unit: str
    direction: Direction
    measure: Callable[[TrialRecord, float], float]
    learned: bool = False
    log: bool = False


def _accuracy(trial: TrialRecord, _budget: float) -> float:
    return math.nan if trial.outcome.val_loss is None else trial.outcome.val_loss


def _share_correct(trial: TrialRecord) -> float:
    return math.nan if trial.outcome.val_accuracy is None else trial.outcome.val_accuracy


def _flops(trial: TrialRecord, _budget: float) -> float:
    return trial.deployed.flops


def _params(trial: TrialRecord, _budget: float) -> float:
    return trial.deployed.params


def _activations(trial: TrialRecord, _budget: float) -> float:
    return trial.deployed.activations


def _latency(trial: TrialRecord, _budget: float) -> float:
    """Return the predicted seconds of the deployed network, by the study's latency model."""
    return math.nan if trial.deployed.latency is None else trial.deployed.latency


def _training_time(trial: TrialRecord, _budget: float) -> float:
    """Return the activations of the network that is trained: they set its seconds more than FLOPs do.

    Predicted seconds would say the same of one machine, but a run on another would propose other networks,
    and not every trial has a prediction.
    """
    return trial.proxy.activations


def _mnasnet(trial: TrialRecord, budget: float) -> float:
    """Return ACC * (FLOPs / T)^w with w = -0.07 on either side of T (Tan et al. 2019, equations 2 and 3)."""
    reward: float = _share_correct(trial) * (_flops(trial, budget) / budget) ** -0.07
    return reward


def _efficientnet_v2(trial: TrialRecord, budget: float) -> float:
    """Return A * S^-0.07 * P^-0.05: accuracy, training time and parameters (Tan and Le 2021, section 3.2)."""
    cheapness: float = _training_time(trial, budget) ** -0.07 * _params(trial, budget) ** -0.05
    return _share_correct(trial) * cheapness


# "accuracy" is judged by the validation loss, which is finer than accuracy on a few thousand images.
OBJECTIVES: dict[str, Objective] = {
    "accuracy": Objective("validation loss", "nats", "minimize", _accuracy, learned=True),
    "flops": Objective("FLOPs", "multiply-accumulates", "minimize", _flops, log=True),
    "params": Objective("parameters", "parameters", "minimize", _params, log=True),
    "activations": Objective("activations", "elements an image", "minimize", _activations, log=True),
    "latency": Objective("predicted latency", "seconds", "minimize", _latency, log=True),
    "training_time": Objective(
        "activations in training", "elements an image", "minimize", _training_time, log=True
    ),
    "mnasnet": Objective("MnasNet's reward", "share correct", "maximize", _mnasnet, learned=True),
    "efficientnet_v2": Objective(
        "EfficientNetV2's reward", "weighted product", "maximize", _efficientnet_v2, learned=True
    ),
}

DEFAULT = ("accuracy", "flops")


def check_objectives(names: Sequence[str]) -> None:
    """Raise ValueError unless names are known, each stands once, and one of them needs a training."""
    for name in names:
        if name not in OBJECTIVES:
            raise ValueError(f"an objective is one of {', '.join(OBJECTIVES)}, but got {name!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"an objective stands once, but got {', '.join(names)}")
    learned = [name for name, objective in OBJECTIVES.items() if objective.learned]
    if not set(names) & set(learned):
        raise ValueError(
            f"one of the objectives is {', '.join(learned[:-1])} or {learned[-1]}, "
            f"but got {', '.join(names) or 'none'}"
        )


def directions(names: Sequence[str]) -> list[Direction]:
    """Return the direction of each objective."""
    return [OBJECTIVES[name].direction for name in names]


def measured(names: Sequence[str], trial: TrialRecord, budget: float) -> list[float] | None:
    """Return the figures of a trial, in their units; None where it failed or one of them is not finite.

    `budget` is the run's, in multiply-accumulates.
    """
    if not trial.complete:
        return None
    values = [float(OBJECTIVES[name].measure(trial, budget)) for name in names]
    return values if all(math.isfinite(value) for value in values) else None


def told(names: Sequence[str], trial: TrialRecord, budget: float) -> list[float] | None:
    """Return what a sampler is told of a trial: `measured`, with costs as logarithms."""
    values = measured(names, trial, budget)
    if values is None:
        return None
    pairs = zip(names, values, strict=True)
    return [math.log10(value) if OBJECTIVES[name].log else value for name, value in pairs]
