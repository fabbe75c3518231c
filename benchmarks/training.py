"""The engine against the usual loop, side by side: images a second, time outside the step, time to accuracy.

    SCALESEARCH_DATA=FOLDER python benchmarks/training.py --json training.json
    SCALESEARCH_DATA=FOLDER python benchmarks/training.py --quick

The engine runs one single-threaded process a core, all at once, and its rates are added up. The usual loop
is torchvision's: PIL images, RandomCrop, flip, ToTensor, Normalize, a DataLoader with two processes, NCHW
float32, SGD, batch 128, as many threads as cores. Networks, their resolution and data are the same for both.
Rounds go over all networks, engine and usual loop after one another, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context, set_start_method
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import make_proxy
from scalesearch.architecture.scaling import Coefficients
from scalesearch.documents import load as load_network
from scalesearch.documents import load_recipe
from scalesearch.training.augment import DeviceData, evaluation_batches
from scalesearch.training.build import build
from scalesearch.training.calibration import machine
from scalesearch.training.crew import Crew
from scalesearch.training.data import DataSet, load, open_cached
from scalesearch.training.loop import train
from scalesearch.training.process import usable_cores
from scalesearch.training.recipe import Recipe
from scalesearch.training.throughput import engine_rate, naive_rate, outside_share, usual_batches

NETWORKS = Path(__file__).parent / "networks"
FAMILIES = ("efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0")
SIDE, FLOPS = 32, 10e6
USUAL: dict[str, Any] = {"batch": 128, "loaders": 2}
LOOK_EVERY = 5000  # images after which the usual training is evaluated; its clock stands still then


def at_side(network: Network, recipe: Recipe, classes: int) -> Network:
    """Return the network's proxy of 10 million multiply-accumulates at 32 pixels, by the stride plan."""
    policy = replace(recipe.proxy, base_resolution=SIDE, min_resolution=SIDE)
    made = make_proxy(
        network, Coefficients(), policy, flops=FLOPS, classes=classes, data_resolution=SIDE
    ).network
    return replace(made, name=network.name)


def networks(recipe: Recipe, classes: int) -> list[Network]:
    """Return what is timed: published patterns at 32 pixels, and the fixed networks at their own side."""
    patterns = [at_side(load_network(name), recipe, classes) for name in FAMILIES]
    fixed = [load_network(path) for path in sorted(NETWORKS.glob("*.yaml"))]
    return [*patterns, *fixed]


def usual_process() -> ProcessPoolExecutor:
    """Return a process as a script of the usual kind has it: no allocator settings, torch's own threads."""
    return ProcessPoolExecutor(1, get_context("spawn"), _as_script)


def _as_script() -> None:
    # A spawned process would start the loader's by spawning, which copies the whole data set to each.
    set_start_method("fork" if sys.platform == "linux" else None, force=True)
    torch.set_num_threads(usable_cores())


def spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "low": min(values), "high": max(values), "n": len(values)}


def speeds(
    chosen: list[Network], recipe: Recipe, folder: Path, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure the images a second of both loops in turn, and the engine's share of time outside the step."""
    rows: list[dict[str, list[float]]] = [{"engine": [], "usual": [], "outside": []} for _ in chosen]
    options: dict[str, Any] = {"seconds": seconds, "folder": folder}
    with Crew(usable_cores(), 1) as crew, usual_process() as usual:
        for _ in range(rounds):
            for network, row in zip(chosen, rows, strict=True):
                row["engine"].append(sum(crew.all(engine_rate, network, recipe=recipe, **options)))
                row["usual"].append(usual.submit(naive_rate, network, **options, **USUAL).result())
                row["outside"] += crew.all(outside_share, network, recipe=recipe, **options)
    return [_speed_row(network, row) for network, row in zip(chosen, rows, strict=True)]


def _speed_row(network: Network, row: dict[str, list[float]]) -> dict[str, Any]:
    ratios = [one / other for one, other in zip(row["engine"], row["usual"], strict=True)]
    measured = {name: spread(values) for name, values in [*row.items(), ("ratio", ratios)]}
    return {
        "name": network.name,
        "resolution": network.input.size[0],
        **asdict(network.cost()),
        **measured,
    }


def engine_training(network: Network, folder: Path, recipe: Recipe, images: int, seed: int) -> dict[str, Any]:
    """Train once with the engine; seconds leave evaluation out."""
    data = DeviceData.of(open_cached(folder))
    last = {"wall": 0.0, "cpu": 0.0}
    wall, cpu = time.perf_counter(), time.process_time()

    def note(_seen: int) -> None:
        last.update(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)

    outcome = train(network, data, recipe, images=images, seed=seed, on_progress=note)
    if outcome.val_accuracy is None or outcome.report_accuracy is None:
        raise RuntimeError(f"the training failed: {outcome.reason}")
    accuracy = (outcome.val_accuracy + outcome.report_accuracy) / 2
    return {"seed": seed, "images": images, "seconds": last["wall"], "cpu": last["cpu"], "accuracy": accuracy}


@torch.no_grad()
def _accuracy(model: torch.nn.Module, network: Network, data: DeviceData) -> float:
    images = torch.cat([data.select_images, data.report_images])
    labels = torch.cat([data.select_labels, data.report_labels])
    model.eval()
    right = sum(
        int((model(x.contiguous()).argmax(1) == y).sum())
        for x, y in evaluation_batches(images, labels, network.input.size, data)
    )
    model.train()
    return right / len(labels)


def usual_training(network: Network, folder: Path, target: float, patience: float) -> list[dict[str, float]]:
    """Train as usual (Adam, rate 0.001) until `target` is reached or `patience` seconds are over.

    Returns accuracy against images, seconds and CPU-seconds, those of the loader's processes left out.
    """
    dataset: DataSet = open_cached(folder)
    data = DeviceData.of(dataset)
    torch.manual_seed(0)
    model = build(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    curve: list[dict[str, float]] = []
    images, wall, cpu = 0, time.perf_counter(), time.process_time()
    for x, y in usual_batches(network, dataset, USUAL["batch"], USUAL["loaders"]):
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(x), y))
        optimizer.step()
        images += len(y)
        if images // LOOK_EVERY == len(curve):
            continue
        seen = {"images": images, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        curve.append({**seen, "accuracy": _accuracy(model, network, data)})
        if curve[-1]["accuracy"] >= target or seen["seconds"] >= patience:
            return curve
        wall, cpu = time.perf_counter() - seen["seconds"], time.process_time() - seen["cpu"]
    return curve


def to_accuracy(
    network: Network, folder: Path, recipe: Recipe, options: argparse.Namespace
) -> dict[str, Any]:
    """Train with the engine, one training a core at once, and as usual until the engine's accuracy."""
    with Crew(usable_cores(), 1) as crew:
        arguments = network, folder, recipe, options.images
        engine = [
            one for seed in range(options.seeds) for one in crew.all(engine_training, *arguments, seed)[:1]
        ]
    target = median(one["accuracy"] for one in engine)
    shown = replace(network, resolution=SIDE)
    with usual_process() as usual:
        curve = usual.submit(usual_training, shown, folder, target, options.patience).result()
    return {"network": network.name, "target": target, "engine": engine, "usual": curve}


def _shown(measured: dict[str, Any], form: str) -> str:
    middle, low, high = (format(measured[key], form) for key in ("median", "low", "high"))
    return f"{middle} [{low}, {high}]"


def print_speeds(rows: list[dict[str, Any]], console: Console) -> None:
    names = "network", "px", "MFLOPs", "M acts", "engine", "usual loop", "ratio", "outside the step"
    table = Table(box=None, pad_edge=False, title="images per second, median [least, most]")
    for name in names:
        table.add_column(name, no_wrap=True)
    for row in rows:
        cost = str(row["resolution"]), f"{row['flops'] / 1e6:.1f}", f"{row['activations'] / 1e6:.2f}"
        rates = (_shown(row[key], form) for key, form in (("engine", ",.0f"), ("usual", ",.0f")))
        table.add_row(row["name"], *cost, *rates, _shown(row["ratio"], ".1f"), _shown(row["outside"], ".1%"))
    console.print(table)


def print_accuracy(found: dict[str, Any], console: Console) -> None:
    engine, last = found["engine"], found["usual"][-1]
    seconds = spread([one["seconds"] for one in engine])
    reached = last["accuracy"] >= found["target"]
    console.print(
        f"{found['network']}: engine {found['target']:.1%} in {_shown(seconds, '.1f')} s of one core "
        f"(n = {len(engine)} seeds, one training a core at once); usual loop {last['accuracy']:.1%} after "
        f"{last['seconds']:.0f} s of {usable_cores()} cores and {last['images']:,} images"
        + (f": {last['seconds'] / seconds['median']:.1f} times as long" if reached else ", not reached"),
        highlight=False,
        markup=False,
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("SCALESEARCH_DATA"), help="as in `scalesearch run`")
    parser.add_argument("--recipe", default="proxy")
    parser.add_argument("--rounds", type=int, help="default 5, quick 2")
    parser.add_argument("--seconds", type=float, help="of each measurement; default 3, quick 1")
    parser.add_argument("--images", type=int, help="of the engine's trainings; default 20000, quick 4000")
    parser.add_argument("--seeds", type=int, help="of the engine's trainings; default 3, quick 1")
    parser.add_argument("--patience", type=float, help="seconds of the usual training; default 900, quick 60")
    parser.add_argument("--network", default="mbconv", help="of benchmarks/networks/, trained to an accuracy")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    options = parser.parse_args()
    for name, full, quick in (
        ("rounds", 5, 2),
        ("seconds", 3.0, 1.0),
        ("images", 20_000, 4000),
        ("seeds", 3, 1),
        ("patience", 900.0, 60.0),
    ):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


def main() -> None:
    options, console, started = parse(), Console(), time.perf_counter()
    console.width = max(console.width, 120)  # figures are the point: cut none
    os.environ.pop("OMP_NUM_THREADS", None)  # both loops set their threads themselves
    data, recipe = load(options.data), load_recipe(options.recipe)
    load_before = os.getloadavg()[0]
    chosen = networks(recipe, len(data.classes))
    rows = speeds(chosen, recipe, data.folder, options.rounds, options.seconds)
    fixed = load_network(NETWORKS / f"{options.network}.yaml")
    found = to_accuracy(fixed, data.folder, recipe, options)
    result = {
        "schema": 1,
        "machine": machine("cpu"),
        "load_before": load_before,
        "data": data.name,
        "rounds": options.rounds,
        "seconds_each": options.seconds,
        "speeds": rows,
        "geometric_mean_ratio": math.exp(sum(math.log(row["ratio"]["median"]) for row in rows) / len(rows)),
        "to_accuracy": found,
        "seconds": time.perf_counter() - started,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    cpu = result["machine"]
    console.print(
        f"{cpu['cpu']}, {cpu['cores']} cores, torch {cpu['torch']}, load before {load_before:.1f}; "
        f"n = {options.rounds} rounds of {options.seconds:g} s",
        highlight=False,
        markup=False,
    )
    print_speeds(rows, console)
    print_accuracy(found, console)


if __name__ == "__main__":
    main()
