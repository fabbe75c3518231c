"""What a search is: the study document's values, resolved against a budget and data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scalesearch.architecture.budget import Budget
from scalesearch.architecture.latency import LatencyLimit, LatencyModel
from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import SearchSpace
from scalesearch.search.objectives import DEFAULT, OBJECTIVES, check_objectives
from scalesearch.search.records import Arm
from scalesearch.search.rungs import Halving
from scalesearch.search.samplers import SAMPLERS
from scalesearch.search.trust import SeedNoise


@dataclass(frozen=True)
class SamplerChoice:
    """Which sampler proposes candidates, and how many random ones come first."""

    name: str = "tpe"
    startup: int = 10

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise ValueError(f"a sampler is one of {', '.join(SAMPLERS)}, but got {self.name!r}")
        if self.startup < 0:
            raise ValueError(f"startup must be at least 0, but got {self.startup}")


@dataclass(frozen=True)
class Finals:
    """The re-training of the best candidates with fresh seeds (decision D4).

    Attributes:
        candidates: how many of the top level's best. seeds: trainings of each.
        share: of the time limit that is kept for them.
    """

    candidates: int = 3
    seeds: int = 2
    share: float = 0.3

    def __post_init__(self) -> None:
        if self.candidates < 0 or self.seeds < 0:
            raise ValueError(
                f"candidates and seeds must be at least 0, but got {self.candidates} and {self.seeds}"
            )
        if not 0 <= self.share < 1:
            raise ValueError(f"share must be in [0, 1), but got {self.share}")


@dataclass(frozen=True)
class Study:
    """A study document.

    Attributes:
        space, recipe, dashboard: documents by name or path.
        levels: shares of the budget that candidates are fitted to, and how often each turn comes (D2).
        objectives: what the search optimises, by name; one, or several for a front.
        warm_start: the first candidates of the search: networks by name or path, and run folders.
        rungs: training images of a proxy, repeats counted, at each rung; every rung is a whole training.
        halving: which candidates go on to the next rung.
        control: whether every second candidate is a random draw, at equal cost, to compare the search with.
        lag: decision n rests on the results of decisions 0 to n - lag; 0 stands for twice the workers.
        asynchronous: whether a decision rests on whatever has ended; then a run does not repeat exactly.
        time: seconds or a duration such as 8m, where the command line gives no limit.
    """

    name: str
    space: str = "mixed"
    recipe: str = "proxy"
    dashboard: str = "default"
    levels: tuple[float, ...] = (1.0, 0.5, 1.0, 0.25, 1.0, 0.125)
    objectives: tuple[str, ...] = DEFAULT
    sampler: SamplerChoice = field(default_factory=SamplerChoice)
    warm_start: tuple[str, ...] = ()
    rungs: tuple[int, ...] = (20_000,)
    halving: Halving = field(default_factory=Halving)
    control: bool = False
    finals: Finals = field(default_factory=Finals)
    lag: int = 0
    asynchronous: bool = False
    time: str | float = "8m"
    seed: int = 0
    description: str = ""

    @property
    def images_each(self) -> float:
        """Training images that a candidate costs: its first rung, and its share in the longer ones."""
        return sum(images / float(self.halving.eta**rung) for rung, images in enumerate(self.rungs))

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < level <= 1 for level in self.levels):
            raise ValueError(f"levels are shares of the budget in (0, 1], but got {list(self.levels)}")
        if 1 not in self.levels:
            raise ValueError(f"one level must be 1, the whole budget, but got {list(self.levels)}")
        if not self.rungs or self.rungs[0] < 1 or list(self.rungs) != sorted(set(self.rungs)):
            raise ValueError(
                f"rungs are numbers of images, at least 1 and rising, but got {list(self.rungs)}"
            )
        check_objectives(self.objectives)
        modelled = {"flops", *(name for name, one in OBJECTIVES.items() if one.learned)}
        if SAMPLERS[self.sampler.name].guided and not set(self.objectives) <= modelled:
            raise ValueError(
                f"the sampler {self.sampler.name} is for accuracy or a reward, on levels of FLOPs, "
                f"but the objectives are {', '.join(self.objectives)}"
            )
        if self.lag < 0:
            raise ValueError(f"lag must be at least 0, but got {self.lag}")


@dataclass(frozen=True)
class Limits:
    """When a call ends: seconds of this call, and candidates of the whole run; None sets no limit."""

    time: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Definition:
    """A study with everything that its results depend on.

    Attributes:
        levels: multiply-accumulates of deployed networks; candidates of an arm are fitted to them in turn.
        limits: what bounds the deployed networks of every level besides, by the name of a cost, or latency
            in seconds. latency: the model that predicts it, where the study needs one.
        lag: as in Study, resolved.
        classes, resolution: the data's. report_images: how many images reported accuracies are judged on.
        seed_noise: the recipe's measured spread between seeds.
        resolved: documents and figures as plain data; its hash names the run folder (D11).
        left_out: files of the data that are no part of it, by reason.
        warm_start: values by leaf of the candidates that the search begins with.
    """

    study: Study
    space: SearchSpace
    policy: ProxyPolicy
    levels: tuple[float, ...]
    limits: Mapping[str, float]
    lag: int
    classes: int
    resolution: int
    report_images: int
    seed_noise: SeedNoise
    resolved: dict[str, Any]
    left_out: Mapping[str, int] = field(default_factory=dict)
    warm_start: tuple[Mapping[str, Any], ...] = ()
    latency: LatencyModel | None = None

    def __post_init__(self) -> None:
        if self.latency is None and ("latency" in self.limits or "latency" in self.study.objectives):
            raise ValueError("a limit on latency, or latency as an objective, needs a latency model")

    @property
    def digest(self) -> str:
        """The hash of everything that results depend on."""
        return digest(self.resolved)

    @property
    def budget(self) -> float:
        """The top level."""
        return max(self.levels)

    def arm(self, number: int) -> Arm:
        """Return which arm candidate `number` belongs to."""
        return "control" if self.study.control and number % 2 else "search"

    def level(self, number: int) -> float:
        """Return the level that candidate `number` is fitted to, in multiply-accumulates."""
        return self.levels[self._turn(number) % len(self.levels)]

    def start(self, number: int) -> Mapping[str, Any] | None:
        """Return the values that candidate `number` is to have, or None where a sampler proposes it."""
        turn = self._turn(number)
        warm = self.arm(number) == "search" and turn < len(self.warm_start)
        return self.warm_start[turn] if warm else None

    def _turn(self, number: int) -> int:
        """Return how many candidates of the same arm came before."""
        return number // 2 if self.study.control else number

    def budget_at(self, level: float) -> Budget:
        """Return what bounds a deployed network of a level."""
        costs = {name: limit for name, limit in self.limits.items() if name != "latency"}
        limited = self.latency is not None and "latency" in self.limits
        slowest = LatencyLimit(self.latency, self.limits["latency"]) if limited and self.latency else None
        return Budget(level, **costs, latency=slowest)

    def latency_of(self, network: Network) -> float | None:
        """Return the predicted seconds of a deployed network, or None without a latency model."""
        return None if self.latency is None else self.latency.seconds(network)


def digest(data: Any) -> str:
    """Return the SHA-256 of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
