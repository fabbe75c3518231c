"""Which search finds good networks with fewer trainings: samplers and early stopping on recorded trainings.

    python benchmarks/search.py --table studies/results/mixed/trainings.parquet --json search.json

Every method searches the same pools: bootstrap resamples of the recorded networks, one a seed, with one of
each network's recorded seeds. `short` trains all networks on the shortest recorded length; `long` measures
every method by the longest length against the images that it spent, halving (short trainings for all, long
ones for the best share) beside long trainings for all and short ones alone.

Methods that propose points of the space train the network most like a proposal (`replay_methods.py`); what
that alone does is seen from `random_nearest`. `surrogate` chooses among the networks themselves.

Simple regret is how far the network that a search would hand over lies above the best of its pool. Means have
percentile intervals over the seeds; p is that of a paired permutation test of signs against random order
(Phipson and Smyth 2010), two-sided. The pools overlap, so intervals and p speak of this table of networks.

`regressions` is Spearman's correlation of each model's left-out predictions with the recorded losses.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from processes import in_processes
from replay import (
    Floats,
    Method,
    Pool,
    Step,
    Table,
    View,
    incumbents,
    race,
    race_halving,
    read_table,
    regrets,
    resample,
)
from replay_methods import Chosen, ChosenNearest, Fitting, PlainOptuna, Random, Sampled, draw_cloud
from search_figures import RIVALS, first_at_most, interval, print_report, regressions, sign_test

from scalesearch.documents import load_recipe, load_space
from scalesearch.search.samplers import derived_seed
from scalesearch.search.surrogate import ACQUISITIONS, MODELS, Surrogate
from scalesearch.search.survey import read_survey

CHECKPOINTS = (10, 20, 40, 80)
SHARES = (0.25, 0.5, 1.0)  # of the images that half of a pool costs at full length: checkpoints of `long`
METHODS = ("random", "surrogate", "random_nearest", "surrogate_nearest", "tpe", "nsga2", "plain_optuna", "gp")
LONG = ("random", "tpe", "nsga2", "surrogate")
Maker = Callable[[View, int], Method]
Rule = Callable[[Method, Pool], list[Step]]


@dataclass(frozen=True)
class Plan:
    """What is replayed.

    Attributes:
        makers: the methods by name. trainings: how many each of those that are replayed may have.
        seeds: resamples. models: regressions by name. processes: that share the work, -1 for one a core.
    """

    makers: dict[str, Maker]
    trainings: dict[str, int]
    models: dict[str, Any]
    seeds: int
    seed: int
    processes: int = -1


def makers(fitting: Fitting, cloud: Floats, flops: float) -> dict[str, Maker]:
    """Return how each method is made for a pool and a seed."""

    def sampled(name: str) -> Maker:
        return lambda view, seed: Sampled(fitting, view, name, seed)

    def chosen(view: View, seed: int, surrogate: Surrogate | None = None) -> Chosen:
        return Chosen(view, surrogate or Surrogate(), np.random.default_rng(seed))

    def nearest(view: View, seed: int) -> ChosenNearest:
        return ChosenNearest(chosen(view, seed), cloud)

    def variant(model: str, acquisition: str) -> Maker:
        return lambda view, seed: chosen(view, seed, Surrogate(model=model, acquisition=acquisition))

    return {
        "random": lambda _view, seed: Random(seed),
        "surrogate": chosen,
        "surrogate_nearest": nearest,
        "random_nearest": sampled("random"),
        "tpe": sampled("tpe"),
        "nsga2": sampled("nsga2"),
        "gp": sampled("gp"),
        "plain_optuna": lambda view, seed: PlainOptuna(fitting, view, flops, seed),
        **{f"{m}_{a}": variant(m, a) for m in MODELS for a in ACQUISITIONS},
    }


def pools(table: Table, lengths: Sequence[int], plan: Plan) -> list[Pool]:
    """Return a resample for each seed."""
    rng = np.random.default_rng(plan.seed)
    return [resample(table, lengths, one) for one in rng.spawn(plan.seeds)]


def short(table: Table, images: int, plan: Plan) -> dict[str, Any]:
    """Replay every method with trainings of one length; regrets are (seeds, trainings)."""
    drawn = pools(table, [images], plan)
    smallest = min(len(pool) for pool in drawn)
    replays = [
        (name, plan.makers[name], pool, derived_seed(plan.seed, number), images, min(most, smallest))
        for name, most in plan.trainings.items()
        for number, pool in enumerate(drawn)
    ]
    rows = pd.DataFrame(in_processes(_raced, replays, plan.processes, "one length"))
    at = [n for n in CHECKPOINTS if n <= smallest]
    found = {name: _stacked(some) for name, some in rows.groupby("name", sort=False)}
    return {
        "images": images,
        "networks": len(table.having(images)),
        "pool": [min(map(len, drawn)), max(map(len, drawn))],
        "trainings": at,
        "methods": {name: summary(name, found, at, plan) for name in found},
    }


def _raced(name: str, make: Maker, pool: Pool, seed: int, images: int, trainings: int) -> dict[str, Any]:
    """Return the regrets of one method in one pool, and what its proposals took."""
    began = time.process_time()
    method = make(pool.view, seed)
    steps = race(method, pool.loss[images], images, trainings)
    milliseconds = 1e3 * (time.process_time() - began) / len(steps)
    loss, accuracy = regrets(incumbents(steps, pool), pool, images)
    asks = method.asks / len(steps)
    return {"name": name, "loss": loss, "accuracy": accuracy, "asks": asks, "milliseconds": milliseconds}


def _stacked(rows: pd.DataFrame) -> dict[str, Any]:
    loss = np.stack(rows["loss"])
    return {
        "loss": loss,
        "mean_loss": np.cumsum(loss, axis=1) / np.arange(1, loss.shape[1] + 1),
        "accuracy": np.stack(rows["accuracy"]),
        "asks_a_training": float(rows["asks"].mean()),
        "milliseconds_a_training": float(rows["milliseconds"].mean()),
    }


def summary(name: str, found: dict[str, Any], at: Sequence[int], plan: Plan) -> dict[str, Any]:
    """Return the figures of one method at numbers of trainings."""
    one, rivals = found[name], found.get("nsga2")
    reached = [n for n in at if n <= one["loss"].shape[1]]
    return {
        "asks_a_training": one["asks_a_training"],
        "milliseconds_a_training": one["milliseconds_a_training"],
        **{
            measure: [interval(one[measure][:, n - 1], plan.seed) for n in reached]
            for measure in ("loss", "accuracy")
        },
        "p_against_random": [against(name, found, "loss", n, plan.seed) for n in reached],
        "p_of_mean_regret": [against(name, found, "mean_loss", n, plan.seed) for n in reached],
        "mean_regret": [float(one["mean_loss"][:, n - 1].mean()) for n in reached],
        "trainings_to_nsga2": [
            first_at_most(one["loss"], float(rivals["loss"][:, n - 1].mean())) for n in reached
        ]
        if rivals
        else [],
    }


def against(name: str, found: dict[str, Any], measure: str, n: int, seed: int) -> float | None:
    """Return p of a method's difference from random order, paired by seed; None for random itself."""
    if name == "random" or "random" not in found:
        return None
    one, other = (found[which][measure][:, n - 1] for which in (name, "random"))
    return sign_test(one - other, seed)


def long(table: Table, lengths: Sequence[int], plan: Plan, eta: int) -> dict[str, Any]:
    """Replay early stopping against images; regrets are at the longest length."""
    drawn = pools(table, lengths, plan)
    first, last = lengths[0], lengths[-1]
    smallest = min(len(pool) for pool in drawn)
    budgets = sorted({max(1, int(share * smallest / 2)) * last for share in SHARES})
    rules = {
        f"all on {first:,}": partial(_flat, images=first),
        f"all on {last:,}": partial(_flat, images=last),
        "halving": partial(race_halving, lengths=lengths, eta=eta, images=budgets[-1]),
    }
    replays = [
        (f"{name}, {rule}", plan.makers[name], replayed, pool, derived_seed(plan.seed, number), last, budgets)
        for name in LONG
        if name in plan.trainings
        for rule, replayed in rules.items()
        for number, pool in enumerate(drawn)
    ]
    found: dict[str, list[Floats]] = {}
    for name, regret in in_processes(_spent, replays, plan.processes, "several lengths"):
        found.setdefault(name, []).append(regret)
    base = f"random, all on {last:,}"
    return {
        "lengths": list(lengths),
        "networks": len(table.having(*lengths)),
        "pool": [smallest, max(map(len, drawn))],
        "images": budgets,
        "methods": {
            name: {
                "loss": [interval(np.array(rows)[:, i], plan.seed) for i in range(len(budgets))],
                "p_against_random": [
                    None if name == base else sign_test(difference, plan.seed)
                    for difference in (np.array(rows) - np.array(found[base])).T
                ]
                if base in found
                else [],
            }
            for name, rows in found.items()
        },
    }


def _spent(
    name: str, make: Maker, rule: Rule, pool: Pool, seed: int, length: int, budgets: Sequence[int]
) -> tuple[str, Floats]:
    return name, at_images(rule(make(pool.view, seed), pool), pool, length, budgets)


def _flat(method: Method, pool: Pool, images: int) -> list[Step]:
    return race(method, pool.loss[images], images, len(pool))


def at_images(steps: Sequence[Step], pool: Pool, length: int, budgets: Sequence[int]) -> Floats:
    """Return the regret in loss, at one length, of what a search holds once it spent each of the budgets."""
    spent = np.cumsum([step.images for step in steps])
    held = np.searchsorted(spent, budgets, side="right") - 1
    best = incumbents(steps, pool)
    return regrets([best[max(0, at)] for at in held], pool, length)[0]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="trainings.parquet of a survey")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--methods", help="by name, commas between; gp takes minutes", default=",".join(METHODS)
    )
    parser.add_argument("--trainings", type=int, default=CHECKPOINTS[-1], help="of each replay at most")
    parser.add_argument("--gp-trainings", type=int, default=20, help="of gp, whose asks take seconds")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=-1, help="that share the work; -1: one a core")
    parser.add_argument("--eta", type=int, default=3)
    parser.add_argument("--space", default="mixed", help="that the networks were drawn from")
    parser.add_argument("--recipe", default="proxy", help="that they were trained by")
    parser.add_argument("--resolution", type=int, default=32, help="pixels a side of the data")
    parser.add_argument("--budget-flops", type=float, default=2e9, help="that they were fitted to")
    parser.add_argument("--candidates", type=int, default=512, help="random ones for surrogate_nearest")
    return parser.parse_args(arguments)


def planned(options: argparse.Namespace, frame: pd.DataFrame) -> Plan:
    names, first = options.methods.split(","), json.loads(frame["network"].iloc[0])
    space, policy = load_space(options.space), load_recipe(options.recipe).proxy
    fitting = Fitting(space, policy, first["classes"], options.resolution)
    count = options.candidates if "surrogate_nearest" in names else 0
    cloud = draw_cloud(fitting, count, options.seed)
    trainings = {name: options.gp_trainings if name == "gp" else options.trainings for name in names}
    methods, models = makers(fitting, cloud, options.budget_flops), {**MODELS, **RIVALS}
    return Plan(methods, trainings, models, options.seeds, options.seed, options.processes)


def reported(table: Table, plan: Plan, eta: int) -> dict[str, Any]:
    """Return every figure of a replay; early stopping is replayed where there is more than one length."""
    lengths = sorted(table.outcomes)
    report: dict[str, Any] = {
        "schema": 1,
        "networks": len(table.view.params),
        "seeds": plan.seeds,
        "seed": plan.seed,
        "regressions": regressions(table, lengths[0], plan.seed, plan.models, plan.processes),
        "short": short(table, lengths[0], plan),
    }
    if len(lengths) > 1:
        report["long"] = long(table, [lengths[0], lengths[-1]], plan, eta)
    return report


def main() -> int:
    options = parse()
    began = time.perf_counter()
    frame = read_survey(options.table)
    table = read_table(frame)
    report = reported(table, planned(options, frame), options.eta)
    report |= {
        "table": options.table.name,
        "trainings": len(frame),
        "seconds": time.perf_counter() - began,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print_report(report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
