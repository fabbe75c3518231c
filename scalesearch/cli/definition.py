"""From what the command line asks for to what a search is, and the name of its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scalesearch import documents
from scalesearch.architecture.latency import LatencyModel
from scalesearch.architecture.space import SearchSpace
from scalesearch.cli.engines import HERE, Place
from scalesearch.cli.words import COSTS, number
from scalesearch.errors import InputError
from scalesearch.search.store import load_trials
from scalesearch.search.study import Definition, Study
from scalesearch.search.trust import SeedNoise
from scalesearch.search.warm_start import best_values, values_of
from scalesearch.training.data import DataSet
from scalesearch.training.recipe import Recipe

RUNS = Path("runs")
OPTIONS = {"flops": "--budget-flops", "params": "--max-params", "activations": "--max-activations"}
LATENCY = "latency"
# What a study's results do not depend on, or what is stored resolved.
FREE = ("time", "lag", "dashboard", "description")


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        budgets: multiply-accumulates, largest first; one is divided by the study's levels, several are the
            levels themselves. bounds: further limits by the name of the cost, or latency in seconds.
        latency_model: the device whose latency is predicted, a model's file, or None for where trainings run.
        time: of this call, in seconds. out: the run folder. compile: train compiled networks.
        place: the engine that trainings run on.
        storage: the URL of an Optuna storage that the trials are copied to.
        forms: in which the best network is exported. final_epochs: how long it is trained at the end.
        foreign: the space is not the study's own, so what the study starts from need not be in it.
    """

    study: Study
    budgets: tuple[float, ...]
    bounds: Mapping[str, float]
    data: str | None
    trials: int | None
    time: float | None
    device: str
    workers: int
    out: str | None
    compile: bool = False
    foreign: bool = False
    place: Place = HERE
    storage: str | None = field(default=None, repr=False)  # it may hold a password
    forms: tuple[str, ...] = ("network",)
    final_epochs: int | None = None
    latency_model: str | None = None

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels that trials are fitted to, turn by turn, in multiply-accumulates."""
        if len(self.budgets) > 1:
            return self.budgets
        return tuple(level * self.budgets[0] for level in self.study.levels)

    @property
    def needs_latency(self) -> bool:
        """Whether latency is limited, optimised, or asked to be recorded."""
        asked = self.latency_model is not None
        return asked or LATENCY in self.bounds or LATENCY in self.study.objectives


Starts = tuple[dict[str, Any], ...]  # values by leaf


def warm_starts(request: Request, space: SearchSpace) -> tuple[Starts, tuple[str, ...]]:
    """Return the candidates that the study starts from, and the names that are left out of them.

    Raises InputError for a name that there is not, or that the study's own space does not hold.
    """
    found: list[dict[str, Any]] = []
    left_out = []
    for name in request.study.warm_start:
        of_run = Path(name).is_dir() and name not in documents.known_networks()
        source = load_trials(name) if of_run else documents.load(name)
        try:
            values = best_values(space, source) if isinstance(source, tuple) else [values_of(space, source)]
        except InputError:
            if not request.foreign:
                raise
            values = []
        if not values and not request.foreign:
            raise InputError(f"warm start: no candidate of {name} is one of the space {space.name}")
        found += [one for one in values if one not in found]
        left_out += [] if values else [name]
    return tuple(found), tuple(left_out)


def define(
    request: Request,
    space: SearchSpace,
    recipe: Recipe,
    data: DataSet,
    workers: int,
    starts: Starts = (),
    latency: LatencyModel | None = None,
) -> Definition:
    """Return the study that is asked for, resolved against its documents and data."""
    study = request.study
    return Definition(
        study=study,
        space=space,
        policy=recipe.proxy,
        levels=request.levels,
        limits=request.bounds,
        lag=study.lag or 2 * workers,
        classes=len(data.classes),
        resolution=data.resolution,
        report_images=len(data.report),
        seed_noise=SeedNoise(recipe.seed_deviation, recipe.seed_trainings - 1),
        resolved=documents.plain(
            _asked(request)
            | ({"warm_start": starts} if starts else {})
            | ({} if latency is None else {LATENCY: latency.to_json()})
            | {"space": documents.plain(space), "recipe": asdict(recipe), "data": _described(data)}
        ),
        left_out=data.left_out,
        warm_start=starts,
        latency=latency,
    )


def _asked(request: Request) -> dict[str, Any]:
    # A run without further limits, named levels or --compile keeps the digest, and so the folder, that it
    # always had. Compiled networks round differently, so that their results are another study's.
    named = len(request.budgets) > 1
    free = (*FREE, "levels") if named else FREE
    study = {name: value for name, value in asdict(request.study).items() if name not in free}
    asked = {"study": study, "budget_flops": list(request.budgets) if named else request.budgets[0]}
    further = {"limits": dict(request.bounds)} if request.bounds else {}
    return asked | further | ({"compile": True} if request.compile else {})


def _described(data: DataSet) -> dict[str, Any]:
    return {
        "name": data.name,
        "train_images": len(data.train),
        "val_images": len(data.select) + len(data.report),
        "classes": list(data.classes),
        "fingerprint": data.fingerprint,
        "demonstration": data.demonstration,
        "skipped": len(data.skipped),
    }


def run_folder(request: Request, definition: Definition) -> Path:
    """Return the folder that is asked for, else one named after study, budgets and digest (D11)."""
    return RUNS / run_name(request, definition) if request.out is None else Path(request.out)


def run_name(request: Request, definition: Definition) -> str:
    """Return what a run is called wherever it lies: study, budgets and digest."""
    parts = [f"{budget:g}".replace("+", "") for budget in sorted(request.budgets)]
    if len(parts) > 1:
        parts = [re.sub("e0+", "e", part) for part in parts]
    return "-".join([definition.study.name, *parts, definition.digest[:8]])


def check_reachable(request: Request, space: SearchSpace, classes: int = 1) -> None:
    """Raise InputError where no network of the space is within one of the limits, each taken on its own.

    Before the data are known, one class is what any network has at least.
    """
    least = space.least(classes)
    # Of latency no exact least is known: a limit that nothing keeps ends the search.
    bounds = [(name, limit) for name, limit in request.bounds.items() if name != LATENCY]
    wanted = [("flops", min(request.budgets)), *bounds]
    for name, limit in wanted:
        if limit < getattr(least, name):
            raise InputError(
                f"{OPTIONS[name]}: the smallest network of the space {space.name} costs "
                f"{getattr(least, name):,} {COSTS[name]}, but the limit is {number(limit)}"
            )
