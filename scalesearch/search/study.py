"""What a search is: the study document's values, resolved against a budget and data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scalesearch.architecture.budget import Budget
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import SearchSpace
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
        images: training images of one proxy training, repeats counted.
        lag: trial n is proposed from the results of trials 0 to n - lag; 0 stands for twice the workers.
        time: seconds or a duration such as 8m, where the command line gives no limit.
    """

    name: str
    space: str = "mixed"
    recipe: str = "proxy"
    dashboard: str = "default"
    levels: tuple[float, ...] = (1.0, 0.5, 1.0, 0.25, 1.0, 0.125)
    sampler: SamplerChoice = field(default_factory=SamplerChoice)
    images: int = 20_000
    finals: Finals = field(default_factory=Finals)
    lag: int = 0
    time: str | float = "8m"
    seed: int = 0
    description: str = ""

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < level <= 1 for level in self.levels):
            raise ValueError(f"levels are shares of the budget in (0, 1], but got {list(self.levels)}")
        if 1 not in self.levels:
            raise ValueError(f"one level must be 1, the whole budget, but got {list(self.levels)}")
        if self.images < 1:
            raise ValueError(f"images must be at least 1, but got {self.images}")
        if self.lag < 0:
            raise ValueError(f"lag must be at least 0, but got {self.lag}")


@dataclass(frozen=True)
class Limits:
    """When a call ends: seconds of this call, and search trials of the whole run; None sets no limit."""

    time: float | None = None
    trials: int | None = None


@dataclass(frozen=True)
class Definition:
    """A study with everything that its results depend on.

    Attributes:
        levels: multiply-accumulates of deployed networks; trial n is fitted to levels[n % len(levels)].
        limits: what bounds the deployed networks of every level besides. lag: as in Study, resolved.
        classes, resolution: the data's. report_images: how many images reported accuracies are judged on.
        seed_noise: the recipe's measured spread between seeds.
        resolved: documents and figures as plain data; its hash names the run folder (D11).
        left_out: files of the data that are no part of it, by reason.
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

    @property
    def digest(self) -> str:
        """The hash of everything that results depend on."""
        return digest(self.resolved)

    @property
    def budget(self) -> float:
        """The top level."""
        return max(self.levels)

    def level(self, number: int) -> float:
        """Return the level that trial `number` is fitted to, in multiply-accumulates."""
        return self.levels[number % len(self.levels)]

    def budget_at(self, level: float) -> Budget:
        """Return what bounds a deployed network of a level."""
        return Budget(level, **self.limits)


def digest(data: Any) -> str:
    """Return the SHA-256 of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
