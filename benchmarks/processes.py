"""Independent pieces of a benchmark, spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def in_processes(
    work: Callable[..., T], calls: Sequence[tuple[Any, ...]], processes: int, what: str
) -> list[T]:
    """Return the results of independent calls, in their order.

    Args:
        work: that is done.
        calls: its arguments, of each call; closures among them are sent, too.
        processes: how many; -1 for one a core.
        what: stands beside the bar of progress.
    """
    results = Parallel(n_jobs=processes, return_as="generator")(delayed(work)(*call) for call in calls)
    console = Console(stderr=True)
    return list(track(results, what, total=len(calls), console=console, transient=True))
