"""What a run has found: the report, the frame of trials, and the Optuna storage, all derived from records.

pandas and Optuna are loaded where they are written for: reading what a run has found needs neither.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesearch.search.records import TrialRecord
from scalesearch.search.selection import final_rung, ranked
from scalesearch.search.trust import Estimate, SeedNoise, estimates, ties

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
DOCUMENTS = ("params_drawn", "deployed_network", "proxy_network")  # columns of JSON text


def accuracies(trials: Iterable[TrialRecord], number: int) -> list[float]:
    """Return one candidate's reported accuracies: those of fresh seeds, else that of its search training.

    Only trainings of the final rung count where the candidate has any: others are not as long.
    """
    own = [t for t in trials if t.number == number and t.complete and t.outcome.report_accuracy is not None]
    rung = max((t.rung for t in own), default=0)
    finals = [t.outcome.report_accuracy for t in own if t.role == "final" and t.rung == rung]
    found = finals or [t.outcome.report_accuracy for t in own if t.rung == rung]
    return [accuracy for accuracy in found if accuracy is not None]


def best_estimates(
    trials: Sequence[TrialRecord], report_images: int, known: SeedNoise
) -> dict[int, Estimate]:
    """Estimate the accuracy of every candidate that was re-trained, or of the best one where none was."""
    top, rung = ranked(trials), final_rung(trials)
    retrained = {t.number for t in trials if t.role == "final" and t.complete and t.rung == rung}
    chosen = [t.number for t in top if t.number in retrained or t is top[0]]
    return estimates({number: accuracies(trials, number) for number in chosen}, report_images, known)


def finalists_of(trials: Sequence[TrialRecord], report_images: int, known: SeedNoise) -> list[dict[str, Any]]:
    """Describe the candidates that were trained again with fresh seeds, the most accurate first."""
    retrained = {t.number for t in trials if t.role == "final"}
    found = best_estimates(trials, report_images, known) if retrained else {}
    described = [
        {"trial": number, "accuracy": one.mean, "interval": [one.low, one.high], "seeds": one.n}
        for number, one in found.items()
        if number in retrained
    ]
    return sorted(described, key=lambda one: (-one["accuracy"], one["trial"]))


def best_of(trials: Sequence[TrialRecord], report_images: int, known: SeedNoise) -> dict[str, Any] | None:
    """Describe the best candidate, or None where no candidate of any level completed."""
    top = ranked(trials)
    if not top:
        return None
    best = top[0]
    found = best_estimates(trials, report_images, known)
    estimate = found[best.number]
    c, d = best.coefficients, best.deployed
    return {
        "trial": best.number,
        "pattern": best.pattern,
        "network": "best/network.yaml",
        "flops": d.flops,
        "params": d.params,
        "activations": d.activations,
        "latency": d.latency,
        "budget_share": d.share,
        "binding": d.binding,
        "classes": d.document.get("classes", 1000),
        "resolution": d.document["resolution"],
        "phi": d.phi,
        "repair": list(d.repair),
        "coefficients": {"alpha": c.alpha, "beta": c.beta, "gamma": c.gamma},
        "realised": dict(zip(("depth", "width", "resolution"), d.realised, strict=True)),
        "proxy_accuracy": estimate.mean,
        "proxy_interval": [estimate.low, estimate.high],
        "proxy_seeds": estimate.n,
        "proxy_val_loss": best.outcome.val_loss,
        "proxy": {
            "network": "best/proxy/network.yaml",
            "flops": best.proxy.flops,
            "params": best.proxy.params,
            "resolution": best.proxy.document["resolution"],
            "gamma_identified": not best.proxy.clamped,
        },
        "ties": sorted(ties(best.number, found)),
    }


def counts(trials: Iterable[TrialRecord], interrupted: int = 0, pruned: int = 0) -> dict[str, int]:
    """Count the candidates by how they ended; pruned ones are complete, but were not trained longer."""
    first = [t for t in trials if t.role == "search" and t.rung == 0]
    return {
        "complete": sum(t.complete and t.repeats is None for t in first),
        "pruned": pruned,
        "failed": sum(t.outcome.status == "failed" and t.repeats is None for t in first),
        "repeated": sum(t.repeats is not None for t in first),
        "interrupted": interrupted,
    }


def plan_of(trials: Iterable[TrialRecord]) -> dict[str, Any] | None:
    """Compare predicted with actual seconds of all trainings that were predicted, or None without any.

    Medians over search trainings and re-trainings; the ratio is actual over predicted, with its quartiles.
    """
    known = [t for t in trials if t.complete and t.repeats is None and t.predicted_seconds]
    if not known:
        return None
    pairs = [(t.outcome.seconds, t.predicted_seconds or 0.0) for t in known]
    low, ratio, high = np.quantile([actual / predicted for actual, predicted in pairs], (0.25, 0.5, 0.75))
    return {
        "predicted_seconds_per_trial": float(np.median([predicted for _, predicted in pairs])),
        "actual_seconds_per_trial": float(np.median([actual for actual, _ in pairs])),
        "ratio": float(ratio),
        "ratio_quartiles": [float(low), float(high)],
        "trainings": len(pairs),
    }


def frame(trials: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return one row a trial, nested fields as JSON text."""
    import pandas as pd

    return pd.DataFrame([_row(trial) for trial in trials])


def parquet(trials: Iterable[TrialRecord], *, documents: bool = True) -> bytes:
    """Return the frame as a Parquet file.

    Without `documents` it lacks the columns of choices and networks, which are most of it.
    """
    table, whole = io.BytesIO(), frame(trials)
    kept = whole if documents else whole.drop(columns=[*DOCUMENTS], errors="ignore")  # no trials, no columns
    kept.to_parquet(table, index=False, compression="zstd")
    return table.getvalue()


def _row(t: TrialRecord) -> dict[str, Any]:
    return {
        "number": t.number,
        "role": t.role,
        "arm": t.arm,
        "status": t.outcome.status,
        "reason": t.outcome.reason,
        "repeats": t.repeats,
        "level": t.level,
        "rung": t.rung,
        "pattern": t.pattern,
        "alpha": t.coefficients.alpha,
        "beta": t.coefficients.beta,
        "gamma": t.coefficients.gamma,
        "flops": t.deployed.flops,
        "params": t.deployed.params,
        "activations": t.deployed.activations,
        "latency": t.deployed.latency,
        "budget_share": t.deployed.share,
        "binding": t.deployed.binding,
        "phi": t.deployed.phi,
        "depth": t.deployed.realised[0],
        "width": t.deployed.realised[1],
        "resolution": t.deployed.realised[2],
        "repair": ",".join(t.deployed.repair),
        "proxy_flops": t.proxy.flops,
        "proxy_params": t.proxy.params,
        "proxy_activations": t.proxy.activations,
        "proxy_resolution": t.proxy.document["resolution"],
        "gamma_identified": not t.proxy.clamped,
        "val_accuracy": t.outcome.val_accuracy,
        "val_loss": t.outcome.val_loss,
        "report_accuracy": t.outcome.report_accuracy,
        "train_loss_last_quarter": t.outcome.train_loss_last_quarter,
        "images": t.outcome.images,
        "macs": t.outcome.macs,
        "seconds": t.outcome.seconds,
        "predicted_seconds": t.predicted_seconds,
        "peak_memory": t.outcome.peak_memory,
        "seed": t.outcome.seed,
        "worker": t.worker,
        "started": t.started,
        "finished": t.finished,
        "params_drawn": json.dumps(t.params),
        "deployed_network": json.dumps(t.deployed.document),
        "proxy_network": json.dumps(t.proxy.document),
    }
