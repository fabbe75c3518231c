"""The end of a run with --final-epochs: the deployed network itself is trained, and its result reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scalesearch.cli.best import final_folder, longest_final, stored_metrics
from scalesearch.cli.definition import Request
from scalesearch.cli.studyfile import stored_source
from scalesearch.cli.train_request import TrainRequest
from scalesearch.cli.train_session import METRICS, TrainSession


def train_final(
    request: Request, folder: Path, number: int, epochs: int, stop_requested: Callable[[], bool]
) -> int:
    """Train the deployed network of a run's best candidate in full, or go on; return the exit code."""
    asked = TrainRequest(
        network=f"{folder}:best",
        data=request.data or stored_source(folder),
        recipe=None,
        epochs=epochs,
        changes={},
        weights=None,
        freeze="none",
        resolution=None,
        seed=request.study.seed,
        device=request.device,
        loader_workers=None,
        out=str(final_folder(folder, number, epochs)),
        tensorboard=False,
    )
    _, code = TrainSession(asked).run(stop_requested)
    return code


def final_result(folder: Path, number: int) -> dict[str, Any] | None:
    """Return what the longest full training of a candidate's deployed network gave, or None."""
    trained = longest_final(folder, number)
    metrics = None if trained is None else stored_metrics(trained)
    if trained is None or metrics is None:
        return None
    kept = {name: metrics["best"][name] for name in ("epoch", "report", "test")}
    path = (trained / METRICS).relative_to(folder)
    return {"epochs": metrics["epochs"], **kept, "metrics": str(path)}
