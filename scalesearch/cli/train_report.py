"""What a training is reported as: metrics.json, the facts of its models, and lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scalesearch.cli.provenance import notice, versions
from scalesearch.cli.words import duration_text
from scalesearch.training.calibration import machine
from scalesearch.training.data import DataSet
from scalesearch.training.full.evaluate import Score
from scalesearch.training.full.result import Trained
from scalesearch.training.full.task import Task

BEST, LAST = "best", "last"


def make_report(
    task: Task, key: Mapping[str, Any], trained: Trained, origin: str, threads: int
) -> dict[str, Any]:
    """Return the content of metrics.json; its keys are stable, paths are relative to it.

    `key` is what tells the training from others, `origin` where the network comes from, in words.
    """
    cost = task.network.cost()
    return {
        "schema": 1,
        "status": trained.status,
        "reason": trained.reason,
        "notice": notice({"demonstration": task.data.demonstration, "name": task.data.name}),
        "network": {
            "name": task.network.name,
            "origin": origin,
            "resolution": list(task.network.input.size),
            "classes": task.network.classes,
            "params": cost.params,
            "flops": cost.flops,
            "activations": cost.activations,
        },
        "data": _data(task.data),
        "recipe": key["recipe"],
        "seed": task.seed,
        "weights": _weights(task, trained),
        "freeze": task.freeze,
        "processes": key["processes"],
        "epochs": len(trained.rows),
        "steps": trained.steps,
        "best": _best(trained),
        "last": _last(trained),
        "seconds": round(trained.seconds, 1),
        "images_per_second": round(trained.images / trained.seconds, 1) if trained.seconds else None,
        "peak_memory": trained.peak_memory,
        "machine": machine(str(task.device)) | {"threads": threads},
        "versions": versions(),
    }


def _data(data: DataSet) -> dict[str, Any]:
    splits = {"train": data.train, "select": data.select, "report": data.report, "test": data.test}
    return {
        "name": data.name,
        "fingerprint": data.fingerprint,
        "demonstration": data.demonstration,
        "resolution": data.resolution,
        "classes": list(data.classes),
        "images": {name: len(split) for name, split in splits.items() if split is not None},
        "left_out": dict(data.left_out),
    }


def _weights(task: Task, trained: Trained) -> dict[str, Any] | None:
    """Return where the first weights came from; None where they were drawn at random."""
    if task.weights is None:
        return None
    return {"source": trained.source, "loaded": len(trained.loaded), "left_out": list(trained.left_out)}


def _described(score: Score | None) -> dict[str, Any] | None:
    return None if score is None else score.described()


def _best(trained: Trained) -> dict[str, Any] | None:
    if trained.best is None:
        return None
    scores = {"select": trained.select, "report": trained.report, "test": trained.test}
    described = {name: _described(score) for name, score in scores.items()}
    return {"epoch": trained.best, "model": BEST, **described}


def _last(trained: Trained) -> dict[str, Any] | None:
    if not trained.rows:
        return None
    row = trained.rows[-1]
    kept = LAST if trained.last is not None else None
    return {"epoch": row["epoch"], "model": kept, "select_accuracy": row["select_accuracy"]}


def facts(report: Mapping[str, Any], which: str) -> dict[str, Any]:
    """Return what whoever uses a model should know: the report, with the accuracies of this model alone."""
    known = {name: value for name, value in report.items() if name not in ("schema", BEST, LAST, "network")}
    own = {name: value for name, value in report[which].items() if name != "model"}
    return {"origin": report["network"]["origin"], **known, **own}


def found_text(report: Mapping[str, Any]) -> str:
    """Return what came of a training in a line or two."""
    best = report["best"]
    if best is None:
        return "no epoch was finished, so there is no best one"
    text = f"best: epoch {best['epoch']} of {report['recipe']['epochs']}, chosen by {_score(best['select'])}"
    for name, what in (("report", "validation images that nothing was chosen by"), ("test", "test images")):
        if best[name] is not None:
            text += f"\n  {_score(best[name], what)}"
    speed = f"{report['images_per_second']:,.0f} images/s" if report["images_per_second"] else "no images"
    return f"{text}\n  {duration_text(report['seconds'])}, {speed} with evaluations"


def _score(score: Mapping[str, Any], what: str = "validation images") -> str:
    low, high = score["interval"]
    return f"{score['accuracy']:.2%} of {score['images']:,} {what} [{low:.2%}, {high:.2%}]"


def epoch_text(row: Mapping[str, Any], epochs: int) -> str:
    """Return a row of the log as a line."""
    return (
        f"epoch {row['epoch']} of {epochs}: {row['side']} px, training loss {row['train_loss']:.4f}, "
        f"validation loss {row['select_loss']:.4f}, {row['select_accuracy']:.2%} right, "
        f"{row['images_per_second']:,.0f} images/s"
    )
