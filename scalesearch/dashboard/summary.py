"""What the first screen says: the result of a run as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalesearch.search.records import TrialRecord

ENDINGS = {
    "trials": "ended: it has the trials that were asked for",
    "time": "ended: its time was over",
    "exhausted": "ended: its space gives nothing new",
    "stopped": "stopped; the same command continues",
}


@dataclass(frozen=True)
class Best:
    """The chosen network and the evidence for it.

    Attributes:
        trial: its record, whose deployed network is `trial.deployed`.
        classes: of the deployed network.
        realised: multipliers (depth, width, resolution) over the base network.
        coefficients: alpha, beta, gamma as drawn.
        accuracy: of the proxy, a fraction, on images by which nothing was chosen.
        interval: of the accuracy, 95 %. seeds: trainings behind both.
        ties: how many other candidates that were trained again lie inside the interval.
    """

    trial: TrialRecord
    classes: int
    realised: tuple[float, float, float]
    coefficients: tuple[float, float, float]
    accuracy: float
    interval: tuple[float, float]
    seeds: int
    ties: int


@dataclass(frozen=True)
class Summary:
    """One run in words and numbers; `best` is None as long as nothing is complete.

    Attributes:
        budget: multiply-accumulates that bound the deployed network. limits: what bounds it besides, by the
            name of the cost. exhausted: the search ended because its space gave nothing new.
        counts: trials by what became of them (complete, pruned, failed, repeated, interrupted).
        seconds: wall time, of a call that was killed none. versions: by library.
        state: whether the run goes on, or how it ended, in words.
    """

    budget: float
    limits: Mapping[str, float]
    exhausted: bool
    best: Best | None
    counts: Mapping[str, int]
    data: str
    train_images: int
    val_images: int
    fingerprint: str
    seconds: float
    versions: Mapping[str, str]
    state: str = ""


def ending_text(ending: str) -> str:
    """Return in words how a call ended."""
    return ENDINGS.get(ending, f"ended: {ending}")


def summary_from_report(report: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Summary:
    """Read the content of report.json, whose `best` may be null, together with the run's trials.

    Raises ValueError if the best trial is not among them.
    """
    data = report["data"]
    return Summary(
        budget=report["budget_flops"],
        limits=dict(report["limits"]),
        exhausted=report["ended_by"] == "exhausted",
        best=_best(report["best"], trials) if report["best"] is not None else None,
        counts=dict(report["trials"]),
        data=data["name"],
        train_images=data["train_images"],
        val_images=data["val_images"],
        fingerprint=data["fingerprint"],
        seconds=report["seconds"],
        versions=dict(report["versions"]),
        state=ending_text(report["ended_by"]) if report["ended_by"] is not None else "",
    )


def _best(best: Mapping[str, Any], trials: Sequence[TrialRecord]) -> Best:
    depth, width, resolution = (best["realised"][name] for name in ("depth", "width", "resolution"))
    alpha, beta, gamma = (best["coefficients"][name] for name in ("alpha", "beta", "gamma"))
    low, high = best["proxy_interval"]
    return Best(
        trial=_chosen(best["trial"], trials),
        classes=best["classes"],
        realised=(depth, width, resolution),
        coefficients=(alpha, beta, gamma),
        accuracy=best["proxy_accuracy"],
        interval=(low, high),
        seeds=best["proxy_seeds"],
        ties=len(best["ties"]),
    )


def _chosen(number: int, trials: Sequence[TrialRecord]) -> TrialRecord:
    for trial in trials:
        if trial.role == "search" and trial.number == number:
            return trial
    raise ValueError(f"the report's best is trial {number}, which is not among the {len(trials)} records")
