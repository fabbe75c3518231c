"""Random networks of all operators: what a latency model is learnt from, whatever space is searched later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from scalesearch.architecture.budget import Budget, UnfitError, fit
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import Coefficients, with_valid_widths

T = TypeVar("T")

FLOPS = 3e6, 4e8  # of a network, drawn evenly in logarithm
CHANNELS = 16, 400  # of a stage, before its network is fitted to its cost
SIDES = (20, 24, 32, 48, 64, 96, 128, 160, 224)
ACTIVATIONS = ("relu", "relu6", "silu", "hardswish")
OPTIONS: dict[str, tuple[Any, ...]] = {
    "kernel": (3, 5, 7),
    "expand": (1, 2, 3, 4, 6),
    "se": (0.0, 0.25),
    "groups": (2, 3, 4),
}
CLASSES = (10, 100, 1000)


def sample(count: int, seed: int = 0) -> list[Network]:
    """Return `count` random networks; every operator stands first in equally many of them."""
    rng = np.random.default_rng(seed)
    found: list[Network] = []
    firsts = list(OPERATORS)
    while len(found) < count:
        drawn = _draw(rng, firsts[len(found) % len(firsts)])
        budget = Budget(float(np.exp(rng.uniform(*np.log(FLOPS)))))
        try:
            fitted = fit(drawn, Coefficients(), budget).network
        except UnfitError:
            continue
        found.append(replace(fitted, name=f"sample_{len(found)}"))
    return found


def _draw(rng: np.random.Generator, first: str) -> Network:
    act = _one(rng, ACTIVATIONS)
    stem = Stem(_one(rng, (16, 24, 32)), stride=_one(rng, (1, 2)), act=act)
    head = Head(_one(rng, (None, 256, 640, 1280)), act=act)
    operators = [first, *(_one(rng, tuple(OPERATORS)) for _ in range(int(rng.integers(1, 6))))]
    stages = tuple(_stages(rng, operators, act))
    return with_valid_widths(Network("sample", _one(rng, SIDES), stem, stages, head, _one(rng, CLASSES)))


def _stages(rng: np.random.Generator, operators: list[str], act: str) -> Iterator[Stage]:
    offered = OPTIONS | {"act": (act,)}
    for operator in operators:
        taken = (name for name in OPERATORS[operator].options if name in offered)
        options = tuple((name, _one(rng, offered[name])) for name in taken)
        channels = 8 * round(float(np.exp(rng.uniform(*np.log(CHANNELS)))) / 8)
        yield Stage(operator, channels, _one(rng, (1, 2, 3)), _one(rng, (1, 2)), options)


def _one(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]
