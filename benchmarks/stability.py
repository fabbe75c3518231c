"""One recipe for every candidate: random networks of a space trained briefly, and what went wrong counted.

    SCALESEARCH_DATA=FOLDER python benchmarks/stability.py --json stability.json

Draws candidates as a search does (a random point, fitted to the budget's levels in turn, its proxy by the
recipe's policy), trains each on few images with the whole schedule, and counts trainings that failed, losses
that were not finite, and losses that ended above those of a network that knows nothing (ln of the number of
classes) by more than 0.5.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scalesearch.architecture.budget import Budget, UnfitError
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.network import Network
from scalesearch.documents import load_recipe, load_space, load_study
from scalesearch.outcome import Outcome
from scalesearch.training.augment import DeviceData
from scalesearch.training.data import load
from scalesearch.training.loop import train
from scalesearch.training.process import prepare_process
from scalesearch.training.recipe import Recipe

MARGIN = 0.5  # nats above ln(classes) from which on a loss counts as diverged
JUDGED = 250  # validation images of each half: what is looked for is divergence, not accuracy


def candidates(space: str, recipe: Recipe, budget: float, seed: int, data: DeviceData) -> Iterator[Network]:
    """Yield the proxies of random candidates that fit the levels of the default study in turn."""
    found, levels = load_space(space), load_study("default").levels
    rng, side = np.random.default_rng(seed), data.train_images.shape[-1]
    turn = 0
    while True:
        level = budget * levels[turn % len(levels)]
        candidate = found.draw(random_values(rng))
        try:
            candidate.deployed(Budget(level))
            proxy = candidate.proxy(
                recipe.proxy, recipe.proxy.flops_at(level, budget), data.classes, side
            ).network
        except UnfitError:
            continue  # a search draws anew, too
        turn += 1
        yield proxy


def verdict(outcome: Outcome, classes: int) -> str:
    """Return what a training ended as: sound, failed, non-finite, diverged, or diverged on validation."""
    if outcome.status != "complete":
        return "non-finite" if "non-finite" in (outcome.reason or "") else "failed"
    train_loss, val_loss = outcome.train_loss_last_quarter, outcome.val_loss
    assert train_loss is not None
    assert val_loss is not None
    limit = math.log(classes) + MARGIN
    if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
        return "non-finite"
    if train_loss > limit:
        return "diverged"
    return "diverged on validation" if val_loss > limit else "sound"


def describe(number: int, network: Network, outcome: Outcome, classes: int) -> dict[str, Any]:
    """Return a row of the JSON output."""
    cost = network.cost()
    return {
        "number": number,
        "verdict": verdict(outcome, classes),
        "reason": outcome.reason,
        "operators": sorted({stage.operator for stage in network.stages}),
        "act": network.stem.act,
        "resolution": network.input.size[0],
        **asdict(cost),
        "train_loss": outcome.train_loss_last_quarter,
        "val_loss": outcome.val_loss,
        "val_accuracy": outcome.val_accuracy,
        "seconds": outcome.seconds,
    }


def run(options: argparse.Namespace, data: DeviceData, recipe: Recipe) -> list[dict[str, Any]]:
    """Train all candidates, one after another."""
    drawn = candidates(options.space, recipe, options.budget_flops, options.seed, data)
    rows = []
    for number in track(range(options.candidates), console=Console(stderr=True)):
        network = next(drawn)
        outcome = train(network, data, recipe, images=options.images, seed=options.seed + number)
        rows.append(describe(number, network, outcome, data.classes))
    return rows


def quantiles(values: Sequence[float]) -> str:
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{middle:.3g} [{low:.3g}, {high:.3g}], worst {max(values):.3g}"


def print_rows(rows: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    console = Console()
    console.print(
        f"{summary['candidates']} random candidates of {summary['space']} on {summary['data']}, "
        f"{summary['images']} images each, "
        f"recipe {summary['recipe']}, torch {torch.__version__}, {summary['cpu_seconds']:.0f} CPU-seconds "
        f"({summary['seconds']:.0f} s)",
        highlight=False,
    )
    verdicts = Counter(row["verdict"] for row in rows)
    table = Table("with", "trained", *verdicts, box=None, pad_edge=False)
    groups = sorted({name for row in rows for name in (*row["operators"], row["act"])})
    for group in groups:
        members = [row for row in rows if group in (*row["operators"], row["act"])]
        counts = Counter(row["verdict"] for row in members)
        table.add_row(group, str(len(members)), *(str(counts[name]) for name in verdicts))
    table.add_row("all", str(len(rows)), *(str(count) for count in verdicts.values()))
    console.print(table)
    for name in ("train_loss", "val_loss"):
        finite = [row[name] for row in rows if row[name] is not None]
        if finite:
            console.print(f"{name}: median [5 %, 95 %] {quantiles(finite)}", highlight=False, markup=False)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--images", type=int, default=1280, help="training images a candidate")
    parser.add_argument("--data", default=os.environ.get("SCALESEARCH_DATA"), help="as in `scalesearch run`")
    parser.add_argument("--space", default="mixed")
    parser.add_argument("--recipe", default="proxy")
    parser.add_argument("--budget-flops", type=float, default=2e9, help="multiply-accumulates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all rows to this file")
    return parser.parse_args()


def main() -> int:
    options = parse()
    prepare_process(1)
    dataset = load(options.data)
    data = DeviceData.of(dataset)
    data = replace(
        data,
        select_images=data.select_images[:JUDGED],
        select_labels=data.select_labels[:JUDGED],
        report_images=data.report_images[:JUDGED],
        report_labels=data.report_labels[:JUDGED],
    )
    cpu, wall = time.process_time(), time.perf_counter()
    rows = run(options, data, load_recipe(options.recipe))
    summary = {
        "schema": 1,
        "candidates": len(rows),
        "images": options.images,
        "data": dataset.name,
        "space": options.space,
        "recipe": options.recipe,
        "budget_flops": options.budget_flops,
        "seed": options.seed,
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - wall,
        "verdicts": Counter(row["verdict"] for row in rows),
    }
    if options.json:
        options.json.write_text(json.dumps({**summary, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print_rows(rows, summary)
    return 0 if all(row["verdict"] == "sound" for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
