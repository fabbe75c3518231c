"""The durable record of a run, and all that a panel, a table or a test sees of a trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scalesearch.architecture.budget import Budget, Fit
from scalesearch.architecture.document import to_document
from scalesearch.architecture.scaling import Coefficients
from scalesearch.outcome import Outcome

Arm = Literal["search", "control"]


@dataclass(frozen=True)
class Member:
    """A member of a candidate's family: the deployed network or the proxy, as a document with its cost.

    Attributes:
        flops: multiply-accumulates. binding: which cost was nearest to its limit. share: that cost over
            its limit, at most 1.
        realised: multipliers (depth, width, resolution) over the base after rounding and repair.
        clamped: the resolution hit a bound, so gamma is not identified.
        latency: predicted seconds of a forward pass, by the study's latency model, or None without one.
    """

    document: dict[str, Any]
    flops: int
    params: int
    activations: int
    binding: str
    share: float
    phi: float
    repair: tuple[str, ...]
    realised: tuple[float, float, float]
    clamped: bool
    latency: float | None = None

    @classmethod
    def of(cls, fit: Fit, budget: Budget, latency: float | None = None) -> Member:
        """Describe a network that was fitted to a budget."""
        cost = fit.network.cost()
        return cls(
            document=to_document(fit.network),
            flops=cost.flops,
            params=cost.params,
            activations=cost.activations,
            binding=budget.binding(fit.network),
            share=fit.share,
            phi=fit.phi,
            repair=fit.repair,
            realised=fit.realised,
            clamped=fit.clamped,
            latency=latency,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Member:
        """Read what `asdict` wrote."""
        return cls(**{**data, "repair": tuple(data["repair"]), "realised": tuple(data["realised"])})


@dataclass(frozen=True)
class TrialRecord:
    """One finished training of a candidate: what was proposed, what stood for it, and how it did.

    Attributes:
        number: of the candidate, counted from 0 in the order in which they were proposed.
        role: "search", or "final" for a re-training of the same candidate with a fresh seed.
        level: the level of the budget that the deployed network was fitted to, in multiply-accumulates.
        rung: which length of training, from 0. arm: "control" for random draws to compare the search with.
        params: what the sampler drew, by path in the space document.
        repeats: the number of the trial whose training answers this one, or None.
        started, finished: seconds since the epoch. worker: which evaluator, from 0.
        predicted_seconds: of the training, foretold when it began, or None.
    """

    number: int
    role: Literal["search", "final"]
    level: float
    rung: int
    params: dict[str, Any]
    coefficients: Coefficients
    deployed: Member
    proxy: Member
    outcome: Outcome
    key: str
    arm: Arm = "search"
    repeats: int | None = None
    started: float = 0.0
    finished: float = 0.0
    worker: int = 0
    predicted_seconds: float | None = None

    @property
    def complete(self) -> bool:
        """Whether the training ended and was scored."""
        return self.outcome.status == "complete"

    @property
    def pattern(self) -> str:
        """The operators of the deployed network's stages, in order."""
        return " ".join(stage["operator"] for stage in self.deployed.document["stages"])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrialRecord:
        """Read what `asdict` wrote."""
        outcome = dict(data["outcome"])
        outcome["curve"] = tuple(tuple(point) for point in outcome["curve"])
        return cls(
            **{
                **data,
                "coefficients": Coefficients(**data["coefficients"]),
                "deployed": Member.from_json(data["deployed"]),
                "proxy": Member.from_json(data["proxy"]),
                "outcome": Outcome(**outcome),
            }
        )
