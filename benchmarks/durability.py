"""What a search costs besides its trainings: proposals, the record, storages, going on, memory.

    python benchmarks/durability.py --json durability.json
    python benchmarks/durability.py --storage postgresql://USER@HOST/DATABASE --storage sqlite:///s.db

Trainings are no-ops here; all else is the search's own: driver, decisions, samplers, record, storages.
Runs of thousands of trials are made up from a few candidates that were really drawn, with losses at random.

- `proposals`: processor milliseconds of a decision with so many results in the record; `fit` is what drawing
  one candidate and fitting it to its level takes, in any run.
- `storages`: wall milliseconds of one trial's write, and seconds until a run or study of so many trials is
  open; for the run folder that is all until its driver stands as it stood.
- `runs`: one driver and evaluators in threads; processor time of the driver's thread, memory on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from durability_made import NAME, Made, Memory, Telling, Threads, definition, outcome
from rich.console import Console
from rich.table import Table

from scalesearch.search.decisions import Decisions
from scalesearch.search.driver import Driver, Status
from scalesearch.search.storages.address import read_address
from scalesearch.search.storages.mirror import mirrored
from scalesearch.search.storages.target import Target
from scalesearch.search.store import RunStore
from scalesearch.search.study import Limits

COUNTS = (10, 1000, 5000)
SAMPLERS = ("surrogate", "tpe", "nsga2", "random")
TIMED = 40  # decisions of one figure
WRITTEN = 10  # trials of one figure


def milliseconds(calls: Sequence[float]) -> dict[str, float]:
    """Return median, least and most of times in seconds."""
    ms = [1e3 * call for call in calls]
    return {"median": statistics.median(ms), "least": min(ms), "most": max(ms), "n": len(ms)}


# Proposals


def proposals(made: Made, sampler: str, count: int) -> dict[str, Any]:
    """Time decisions of one worker after `count` results, and what is prepared while trainings run.

    The first, which loads, is left out.
    """
    results = {(t.number, 0): t for t in made.trials(count)}
    decisions = Decisions(definition(sampler, 1, made.seed), Memory(made.events(results.values())))
    decisions.restore(results)
    spent, prepared = [], []
    for turn in range(TIMED + 1):
        began = time.thread_time()
        decisions.prepare()
        prepared.append(time.thread_time() - began)
        began = time.thread_time()
        upcoming = decisions.upcoming(results)
        trial = None if upcoming is None else decisions.take(upcoming, results)
        if trial is None:
            raise RuntimeError("a decision was due, and there was none")
        if turn:
            spent.append(time.thread_time() - began)
        results[trial.number, 0] = replace(trial, outcome=outcome(trial.number, made.seed))
    beside = milliseconds(prepared)
    return {"sampler": sampler, "trials": count, **milliseconds(spent), "prepared": beside}


# Storages


def storages(made: Made, url: str, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Time writes to one storage as it grows, and how long opening its study takes then."""
    name = f"{NAME}-{time.time_ns()}"
    trials, found = made.trials(max(counts) + WRITTEN * len(counts)), []
    target = Target(read_address(url), name, definition("random", 1, made.seed))
    try:
        written = target.open([])
        for count in counts:
            start = max(count, written)
            for trial in trials[written:start]:
                target.write(trial)
            written = start + WRITTEN
            calls = [timed(partial(target.write, trial)) for trial in trials[start:written]]
            target.close()
            target = Target(read_address(url), name, definition("random", 1, made.seed))
            began = time.perf_counter()
            target.open(trials[:written])
            opened = time.perf_counter() - began
            found.append(
                {"storage": kind(url), "trials": count, "open_seconds": opened, **milliseconds(calls)}
            )
    finally:
        target.close()
    return found


def record(made: Made, folder: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Time writes to the record in a run folder as it grows, and how long a driver takes to go on from it."""
    found = []
    for count in counts:
        path = folder / str(count)
        write_record(made, path, count)
        trials = made.trials(count + WRITTEN)
        began, cpu = time.perf_counter(), time.process_time()
        with RunStore(path) as store:
            driver = Driver(definition("surrogate", 1, made.seed), store, Threads(1))
            opened, spent = time.perf_counter() - began, time.process_time() - cpu
            if len(driver.searched) != count:
                raise RuntimeError(f"the record holds {count} trials, but {len(driver.searched)} came back")
            calls = [timed(partial(store.finish, trial)) for trial in trials[count:]]
        one = {"storage": "run folder", "trials": count, "open_seconds": opened, "open_cpu": spent}
        found.append({**one, **milliseconds(calls)})
    return found


def write_record(made: Made, path: Path, count: int) -> None:
    path.mkdir()
    lines = (json.dumps(event) + "\n" for event in made.events(made.trials(count)))
    (path / "record.jsonl").write_text("".join(lines), encoding="utf-8")


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def kind(url: str | None) -> str:
    return "run folder" if url is None else read_address(url).dialect


# One driver and many evaluators


def run(folder: Path, url: str | None, workers: int, trials: int, sampler: str, seed: int) -> dict[str, Any]:
    """Run a search of no-op trainings; memory is noted as it goes."""
    study, seen = definition(sampler, workers, seed), []

    def note(status: Status) -> None:
        if len(status.trials) * 10 >= trials * (len(seen) + 1):
            at = {"trials": len(status.trials), "megabytes": resident(), "cpu": time.thread_time()}
            seen.append({**at, "seconds": time.perf_counter() - began})

    began, cpu = time.perf_counter(), time.thread_time()
    with Telling(folder) as store:
        name = f"{NAME}-{time.time_ns()}"
        with mirrored(url, name, study, [], print) as store.add:
            Driver(study, store, Threads(workers), note).run(Limits(trials=trials))
            driven, spent = time.perf_counter() - began, time.thread_time() - cpu
    return {
        "storage": kind(url),
        "workers": workers,
        "trials": trials,
        "trials_a_second": trials / driven,
        "driver_share": spent / driven,
        "driver_ms_a_trial": 1e3 * spent / trials,
        "seconds": time.perf_counter() - began,
        "course": seen,
    }


def resident() -> float:
    """Return this process's memory in megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# Telling


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    made, console = Made(options.seed), Console(stderr=True)
    console.print(f"fit {1e3 * made.fit:.0f} ms")
    report: dict[str, Any] = {"fit_ms": 1e3 * made.fit, "proposals": [], "storages": [], "runs": []}
    for sampler in options.samplers.split(","):
        for count in options.counts:
            report["proposals"].append(proposals(made, sampler, count))
            console.print(report["proposals"][-1])
    report["storages"] += record(made, folder, options.counts)
    for url in options.storage:
        report["storages"] += storages(made, url, options.counts)
    console.print(report["storages"])
    for number, url in enumerate((None, *options.storage)):
        place = folder / f"run{number}"
        sizes = options.workers, options.trials, options.run_sampler, options.seed
        report["runs"].append(run(place, url, *sizes))
        console.print(report["runs"][-1])
    return report


def tables(report: dict[str, Any]) -> list[Table]:
    asks = Table(
        *("sampler", "trials", "ms a decision", "least", "most", "prepared, most"),
        title=f"fit {report['fit_ms']:.0f} ms",
    )
    for one in report["proposals"]:
        asks.add_row(one["sampler"], f"{one['trials']:,}", *words(one), words(one["prepared"])[-1])
    writes = Table("storage", "trials", "ms a write", "least", "most", "s to open")
    for one in report["storages"]:
        writes.add_row(one["storage"], f"{one['trials']:,}", *words(one), f"{one['open_seconds']:.2f}")
    runs = Table("storage", "evaluators", "trials", "trials/s", "driver share", "ms a trial", "MB on the way")
    for one in report["runs"]:
        memory = " ".join(f"{at['trials']}:{at['megabytes']:.0f}" for at in one["course"])
        figures = (
            f"{one['trials_a_second']:.1f}",
            f"{one['driver_share']:.2f}",
            f"{one['driver_ms_a_trial']:.1f}",
        )
        runs.add_row(one["storage"], str(one["workers"]), f"{one['trials']:,}", *figures, memory)
    return [asks, writes, runs]


def words(one: dict[str, float]) -> list[str]:
    return [f"{one[name]:.1f}" for name in ("median", "least", "most")]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--storage", action="append", default=[], metavar="URL", help="besides the run folder"
    )
    parser.add_argument("--samplers", default=",".join(SAMPLERS), help="by name, commas between")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="results in the record")
    parser.add_argument("--workers", type=int, default=32, help="no-op evaluators")
    parser.add_argument("--trials", type=int, default=COUNTS[-1], help="of each run")
    parser.add_argument("--run-sampler", default="random", help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options, began = parse(arguments), time.perf_counter()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        report = {"schema": 1, **measure(options, Path(folder))}
    loads = f"load {load:.1f} to {os.getloadavg()[0]:.1f}"
    report |= {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {loads}",
        "seconds": time.perf_counter() - began,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    console = Console()
    for table in tables(report):
        console.print(table)
    console.print(report["machine"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
