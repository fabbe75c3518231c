"""Where search meets training: what a process that evaluates candidates builds for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from scalesearch.architecture.document import from_document
from scalesearch.outcome import Outcome
from scalesearch.search.engines import Evaluate, Job
from scalesearch.training.graph import Execution
from scalesearch.training.recipe import Recipe


def make_evaluate(
    data_folder: Path, recipe: Recipe, device: str, threads: int, execution: Execution
) -> Evaluate:
    """Return evaluate(job, should_stop, on_progress) for this process; imports torch, opens the data."""
    from scalesearch.training.augment import DeviceData
    from scalesearch.training.data import open_cached
    from scalesearch.training.loop import train
    from scalesearch.training.process import prepare_process

    prepare_process(threads)
    data = DeviceData.of(open_cached(data_folder), device)

    def evaluate(job: Job, should_stop: Callable[[], bool], on_progress: Callable[[int], None]) -> Outcome:
        return train(
            from_document(job.network),
            data,
            recipe,
            images=job.images,
            seed=job.seed,
            device=device,
            weights=Path(job.weights),
            checkpoint=Path(job.checkpoint),
            should_stop=should_stop,
            on_progress=on_progress,
            execution=execution,
        )

    return evaluate
