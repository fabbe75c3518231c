"""The end of a run with --final-epochs: the deployed network itself is trained, and its result reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalesearch.cli.best import final_folder
from scalesearch.cli.definition import Request
from scalesearch.cli.studyfile import stored_source
from scalesearch.cli.train_request import TrainRequest
from scalesearch.cli.train_session import METRICS, TrainSession


def train_final(request: Request, folder: Path, number: int, stop_requested: Callable[[], bool]) -> int:
    """Train the deployed network of a run's best candidate in full, or go on; return the exit code."""
    asked = TrainRequest(
        network=f"{folder}:best",
        data=request.data or stored_source(folder),
        recipe=None,
        epochs=request.final_epochs,
        changes={},
        weights=None,
        freeze="none",
        resolution=None,
        seed=request.study.seed,
        device=request.device,
        loader_workers=None,
        out=str(final_folder(folder, number)),
        tensorboard=False,
    )
    _, code = TrainSession(asked).run(stop_requested)
    return code


def final_result(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what the full training of a candidate's deployed network gave; None before its end."""
    path = final_folder(folder, number) / METRICS
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if metrics["status"] != "complete":
        return None
    kept = {name: metrics["best"][name] for name in ("epoch", "report", "test")}
    return {"epochs": metrics["epochs"], **kept, "metrics": str(path.relative_to(folder))}
