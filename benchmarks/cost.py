"""How fast networks are costed, fitted to a budget and drawn, side by side with other counters.

    pip install '.[benchmarks]' && python benchmarks/cost.py [--json FILE] [--quick]

Every figure is a median over rounds with the lowest and highest; the counters take turns within a round, so
that what else the machine does hits all of them. All count EfficientNet-B0 at 224 pixels, batch 1. Those that
run the network get it built; building is not timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from scalesearch import build, load
from scalesearch.architecture.batch_fit import fit_all
from scalesearch.architecture.sampling import Sampler
from scalesearch.documents import load_space

BUDGET = 2e9
Timer = Callable[[], float]


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def counters() -> dict[str, Callable[[], object]]:
    """Return what counts B0, by name; each call is one count from scratch."""
    import torch
    from fvcore.nn import FlopCountAnalysis
    from ptflops import get_model_complexity_info
    from thop import profile
    from torch.utils.flop_counter import FlopCounterMode
    from torchinfo import summary

    network = load("efficientnet_b0")
    model, image = build(network).eval(), torch.zeros(1, 3, 224, 224)

    def flop_counter_mode() -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(image)
        return counter.get_total_flops() // 2

    def with_fvcore() -> float:
        with torch.no_grad():
            return FlopCountAnalysis(model, image).unsupported_ops_warnings(False).total()

    def with_ptflops() -> float:
        found = get_model_complexity_info(
            model, (3, 224, 224), as_strings=False, print_per_layer_stat=False, backend="pytorch"
        )
        return found[0]

    return {
        "scalesearch": lambda: network.cost().flops,
        "torch FlopCounterMode": flop_counter_mode,
        "fvcore": with_fvcore,
        "ptflops": with_ptflops,
        "torchinfo": lambda: summary(model, (1, 3, 224, 224), verbose=0, device="cpu").total_mult_adds,
        "thop": lambda: profile(model, (image,), verbose=False)[0],
    }


def count_b0(rounds: int) -> list[dict]:
    calls = counters()
    found: dict[str, list[float]] = {name: [] for name in calls}
    values = {}
    for _ in range(rounds):
        for name, call in calls.items():
            repeats = 200 if name == "scalesearch" else 1
            with contextlib.redirect_stdout(io.StringIO()):
                values[name] = call()
                found[name].append(seconds(lambda c=call, n=repeats: [c() for _ in range(n)]) / repeats)
    own = statistics.median(found["scalesearch"])
    return [
        {
            "what": name,
            "flops": int(values[name]),
            **spread(times),
            "times_slower": statistics.median(times) / own,
        }
        for name, times in found.items()
    ]


def spread(times: list[float]) -> dict[str, float]:
    return {"median": statistics.median(times), "low": min(times), "high": max(times), "n": len(times)}


def draw_own(n: int) -> None:
    """Give this process candidates of its own."""
    global own
    own = Sampler(load_space("mixed")).draw(np.random.default_rng(os.getpid()), n)


def fit_own(_turn: int) -> int:
    fits = fit_all(own.bases, own.alpha, own.beta, own.gamma, {"flops": BUDGET})
    assert (fits.share <= 1).all()
    return len(own)


def many(rounds: int, n: int) -> list[dict]:
    """Return candidates of the default space per second: costed, drawn and costed, fitted to the budget."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, initializer=draw_own, initargs=(n // 8,)) as pool:
        return timed_in_turn(rounds, n, lambda: list(pool.map(fit_own, range(cores))), cores)


def timed_in_turn(rounds: int, n: int, fit_in_all: Callable[[], object], cores: int) -> list[dict]:
    sampler, rng = Sampler(load_space("mixed")), np.random.default_rng(0)
    draws = sampler.draw(rng, n)
    fitted = n // 8
    few = draws.bases[:fitted], draws.alpha[:fitted], draws.beta[:fitted], draws.gamma[:fitted]
    singles = [draws.candidate(row) for row in range(20)]
    jobs: dict[str, tuple[int, Callable[[], object]]] = {
        "costed": (n, draws.bases.cost),
        "drawn and costed": (n, lambda: sampler.draw(rng, n).bases.cost()),
        "fitted, one process": (fitted, lambda: fit_all(*few, {"flops": BUDGET})),
        "fitted, one process a core": (fitted * cores, fit_in_all),
        "costed one by one": (20, lambda: [c.base.cost() for c in singles]),
        "fitted one by one": (20, lambda: [c.deployed(_budget()) for c in singles]),
    }
    for _, job in jobs.values():  # tables and caches
        job()
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (count, job) in jobs.items():
            found[name].append(count / seconds(job))
    return [{"what": name, **spread(rates)} for name, rates in found.items()]


def _budget() -> object:
    from scalesearch.architecture.budget import Budget

    return Budget(BUDGET)


def machine() -> str:
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{os.cpu_count()} cores, {platform.machine()}, {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and candidates")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)  # fvcore names every drop path that an evaluation does not call
    rounds, n = (2, 100_000) if options.quick else (7, 500_000)
    load_before = os.getloadavg()[0]
    networks, rates = count_b0(rounds), many(rounds, n)
    print(f"{machine()}; load {load_before:.1f} before\n")
    print(f"{'EfficientNet-B0 counted by':<28}{'median ms':>12}{'low':>10}{'high':>10}{'ratio':>9}   FLOPs")
    for row in networks:
        ms = [f"{row[key] * 1e3:.3f}" for key in ("median", "low", "high")]
        counted = f"{row['times_slower']:>9,.0f}   {row['flops']:,}"
        print(f"{row['what']:<28}{ms[0]:>12}{ms[1]:>10}{ms[2]:>10}{counted}")
    print(f"\n{'candidates per second':<28}{'median':>12}{'low':>12}{'high':>12}   n = {rounds} rounds")
    for row in rates:
        print(f"{row['what']:<28}{row['median']:>12,.0f}{row['low']:>12,.0f}{row['high']:>12,.0f}")
    if options.json:
        figures = {"machine": machine(), "load": load_before, "b0": networks, "candidates_per_second": rates}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
