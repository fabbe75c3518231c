"""What every panel of a page may know besides the trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reference:
    """A published network at its exact cost.

    It has no accuracy: a number trained otherwise is never drawn beside the search's.

    Attributes:
        flops: multiply-accumulates. params, activations: where they are known.
    """

    name: str
    flops: int
    params: int | None = None
    activations: int | None = None


@dataclass(frozen=True)
class Finalist:
    """A candidate that was trained again with fresh seeds: its accuracy, a fraction, with a 95 % interval.

    Attributes:
        number: of the candidate. accuracy: mean on images by which nothing was chosen. seeds: trainings.
    """

    number: int
    accuracy: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Context:
    """The same facts for all panels of a page.

    Attributes:
        budget: multiply-accumulates of the deployed network, or None where there is none.
        limits: what bounds it besides, by the name of the cost.
        best: the number of the chosen trial.
        rungs: training images at each rung.
        finalists: candidates with repeated trainings.
        evidence: what report.json says under that key, or None.
        surveys: reports of recorded surveys by the command that made them: law, coefficients, trust, compare.
    """

    budget: float | None = None
    references: tuple[Reference, ...] = ()
    best: int | None = None
    rungs: tuple[int, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    evidence: Mapping[str, Any] | None = None
    surveys: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)


NOTHING_KNOWN = Context()
