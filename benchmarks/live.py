"""Whether guided search is ahead of random draws in runs that trained for real, and by how much.

    python benchmarks/live.py live/* --write studies/results/live     # folders of runs of studies/live.yaml
    python benchmarks/live.py --table studies/results/live/trials.parquet

Each run has both arms at equal cost. After n trainings an arm holds its lowest validation loss; differences
are the control's less the search's, so above 0 the search is ahead. Intervals are percentiles over the runs
(mean of resampled runs); p exchanges the arms within each run, and compares the mean of their best tenths.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from replay import Floats
from rich.console import Console
from rich.table import Table
from search_figures import first_at_most, interval

from scalesearch.errors import InputError
from scalesearch.search.comparison import exchanged_arms

COLUMNS = ["run", "number", "arm", "status", "level", "pattern", "flops", "params", "activations"]
TRAINED = ["proxy_flops", "val_accuracy", "val_loss", "images", "seconds", "seed", "started", "finished"]


def read_runs(folders: Sequence[Path]) -> pd.DataFrame:
    """Return the search trainings of runs as one table, by run and number."""
    tables = []
    for run, folder in enumerate(folders):
        trials = pd.read_parquet(folder / "trials.parquet")
        trials = trials[(trials["role"] == "search") & (trials["rung"] == 0)]
        tables.append(trials.assign(run=run).sort_values("number")[COLUMNS + TRAINED])
    return pd.concat(tables, ignore_index=True)


def arms(table: pd.DataFrame) -> tuple[list[Floats], list[Floats]]:
    """Return the losses of the search and of the control of each run, in order of proposal, equally many.

    A failed training counts as the worst of all.
    """
    loss = table["val_loss"].fillna(table["val_loss"].max())
    found = [
        [rows.to_numpy() for _, rows in loss[table["arm"] == arm].groupby(table["run"])]
        for arm in ("search", "control")
    ]
    n = min(len(losses) for arm in found for losses in arm)
    if not n or len(found[0]) != len(found[1]):
        raise InputError("every run needs trainings of both arms: was it made with --control?")
    return tuple([losses[:n] for losses in arm] for arm in found)  # type: ignore[return-value]


def figures(table: pd.DataFrame, seed: int = 0) -> dict[str, Any]:
    """Return what the arms hold after numbers of trainings, and how sure the difference is."""
    search, control = map(np.array, arms(table))
    n = search.shape[1]
    at = sorted({count for count in (10, 20) if count < n} | {n})
    return {
        "schema": 1,
        "runs": len(search),
        "trainings": n,
        "failed": int((table["status"] != "complete").sum()),
        "after": [_after(count, search, control, seed) for count in at],
    }


def _after(count: int, search: Floats, control: Floats, seed: int) -> dict[str, Any]:
    first, second = search[:, :count], control[:, :count]
    top = max(1, count // 10)
    lead, p = exchanged_arms(list(np.hstack([first, second])), top, seed=seed)
    return {
        "trainings": count,
        "search": interval(first.min(1), seed),
        "control": interval(second.min(1), seed),
        "difference": interval(second.min(1) - first.min(1), seed),
        "mean_of_all": interval(second.mean(1) - first.mean(1), seed),
        "top": top,
        "top_difference": lead,
        "p": p,
        "control_needs": first_at_most(np.minimum.accumulate(control, axis=1), float(first.min(1).mean())),
    }


def print_figures(found: dict[str, Any]) -> None:
    """Print them as a table."""
    heads = ("trainings", "search", "random draws", "difference", "p (best tenth)", "random draws need")
    table = Table(title=f"lowest validation loss after n trainings an arm, {found['runs']} runs")
    for head in heads:
        table.add_column(head, justify="right")
    for one in found["after"]:
        shown = (one[name] for name in ("search", "control", "difference"))
        words = [f"{f['mean']:.4f} ({f['low']:.4f} to {f['high']:.4f})" for f in shown]
        needed = one["control_needs"] or "more"
        table.add_row(str(one["trainings"]), *words, f"{one['p']:.2g}", str(needed))
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of runs with a control arm")
    parser.add_argument("--table", type=Path, help="trials.parquet that an earlier call wrote")
    parser.add_argument("--write", type=Path, help="folder for trials.parquet and live.json")
    options = parser.parse_args()
    if bool(options.runs) == bool(options.table):
        parser.error("give folders of runs, or --table")
    table = pd.read_parquet(options.table) if options.table else read_runs(options.runs)
    found = figures(table)
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        table.to_parquet(options.write / "trials.parquet", index=False)
        (options.write / "live.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print_figures(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
