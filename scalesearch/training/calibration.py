"""What this machine trains in a second: measured once with real training steps, kept in the user's cache.

Seconds of a training step are modelled as linear in static cost: per image a constant, the activations and
the multiply-accumulates; per step the parameters, which the optimizers touch once.
"""

from __future__ import annotations

import json
import platform
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from scalesearch.architecture.layers import Cost
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.files import replace_file, taking_turns
from scalesearch.training.crew import Crew
from scalesearch.training.data.cache import cache_folder
from scalesearch.training.process import usable_cores
from scalesearch.training.recipe import Recipe
from scalesearch.training.throughput import CLASSES, closing_seconds, measure_engine

FILE = "calibration.json"
SCHEMA = 1
SECONDS = 0.5  # of each network in each round
ENOUGH = 20.0  # seconds after which a slow or busy machine gets no second round
SIDES = (20, 16)  # of a round: other costs for the fit, and the sides that the default recipe trains at
GPU_PROCESSES = (1, 2, 4)
GAIN = 1.05  # that more processes on one GPU must bring at least, each step
CONTEXT = 600 * 2**20  # bytes of a process on the GPU besides its tensors
RESERVE = 1.25  # the allocator keeps more than the tensors' peak


def _fixed(name: str, stem: int, stages: tuple[Stage, ...], head: int) -> Network:
    return Network(name, SIDES[0], Stem(stem, stride=1), stages, Head(head), classes=CLASSES)


# About ten million multiply-accumulates at 20 px, with 27, 9 and 15 thousand activations a million of them.
NETWORKS = (
    _fixed(
        "mbconv",
        16,
        (
            Stage("mbconv", 16, 1, 1, (("expand", 4), ("se", 0.25))),
            Stage("mbconv", 40, 2, 2, (("expand", 4), ("se", 0.25))),
            Stage("mbconv", 80, 4, 2, (("expand", 4), ("kernel", 5), ("se", 0.25))),
        ),
        192,
    ),
    _fixed(
        "fused_mbconv",
        16,
        (
            Stage("fused_mbconv", 16, 1, 1, (("expand", 1),)),
            Stage("fused_mbconv", 32, 2, 2, (("expand", 2),)),
            Stage("fused_mbconv", 64, 2, 2, (("expand", 3),)),
        ),
        192,
    ),
    _fixed(
        "shufflenet_v2",
        24,
        (Stage("shufflenet_v2", 116, 3, 2), Stage("shufflenet_v2", 232, 4, 2)),
        512,
    ),
)


@dataclass(frozen=True)
class Setting:
    """How many trainings run at once, and with how many threads each."""

    workers: int
    threads: int = 1

    def __str__(self) -> str:
        return f"{self.workers}x{self.threads}"


@dataclass(frozen=True)
class SpeedModel:
    """Seconds of training in one process while all of a setting's processes train.

    Attributes:
        per_image, per_activation, per_flop: seconds an image, an image's activation and
            multiply-accumulate (forward pass). per_param: seconds a step and parameter.
        closing: seconds of an evaluated image over those of a trained one.
        error: median of |measured / modelled - 1| over what the model was fitted to.
    """

    per_image: float
    per_activation: float
    per_flop: float
    per_param: float
    closing: float = 0.3
    error: float = 0.0

    def image(self, cost: Cost, batch: int) -> float:
        """Return the seconds a training image of a network of this cost, in steps of `batch` images."""
        forward = self.per_activation * cost.activations + self.per_flop * cost.flops
        return self.per_image + forward + self.per_param * cost.params / batch

    def training(self, network: Network, recipe: Recipe, images: int, evaluated: int) -> float:
        """Return the seconds of a whole training on `images` images, and `evaluated` ones at its end."""
        own = self.image(network.cost(), recipe.batch_size)
        phases = sum(
            phase.share * self.image(_scaled(network, phase.scale).cost(), recipe.batch_size)
            for phase in recipe.phases
        )
        closing = evaluated + recipe.norm_batches * recipe.batch_size
        return images * phases + self.closing * closing * own


def _scaled(network: Network, scale: float) -> Network:
    return replace(network, resolution=tuple(max(1, round(side * scale)) for side in network.input.size))


def fit_speed(costs: Sequence[Cost], seconds: Sequence[float], batch: int) -> SpeedModel:
    """Fit the model to measured seconds an image; relative errors count, no coefficient is negative."""
    from scipy.optimize import nnls  # half a second to load; most calls find a fitted model

    rows = [[1.0, cost.activations, cost.flops, cost.params / batch] for cost in costs]
    scaled = np.array(rows) / np.array(seconds)[:, None]
    # Columns of one size: their units differ by ten orders of magnitude.
    sizes = np.linalg.norm(scaled, axis=0)
    found, _ = nnls(scaled / sizes, np.ones(len(rows)))
    modelled = scaled @ (found / sizes)
    per_image, per_activation, per_flop, per_param = map(float, found / sizes)
    error = median(abs(1 / value - 1) for value in modelled.tolist())
    return SpeedModel(per_image, per_activation, per_flop, per_param, error=error)


@dataclass(frozen=True)
class Calibrated:
    """A setting's figures.

    Attributes:
        images_per_second: of all processes together, over equal numbers of images of the fixed networks.
        peak_memory: bytes of one process (CPU) or of its tensors (CUDA), the largest seen.
        measured: seconds since the epoch.
    """

    images_per_second: float
    peak_memory: int
    model: SpeedModel
    measured: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibrated:
        """Read what `asdict` wrote; TypeError or KeyError where it is something else."""
        return cls(**{**data, "model": SpeedModel(**data["model"])})


def machine(device: str) -> dict[str, Any]:
    """Return what the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "device": name,
        "torch": torch.__version__,
        "scalesearch": version("scalesearch"),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


class Cache:
    """The calibrations of all machines that use one cache folder, in one JSON file."""

    def __init__(self, say: Callable[[str], None], folder: Path | None = None) -> None:
        self.path, self._say = (folder or cache_folder()) / FILE, say

    def read(self, key: Mapping[str, Any]) -> dict[Setting, Calibrated]:
        """Return a machine's settings; a damaged file is said to be, and counts as empty."""
        found = [entry["settings"] for entry in self._entries() if entry["machine"] == key]
        return found[0] if found else {}

    def write(self, key: Mapping[str, Any], settings: Mapping[Setting, Calibrated]) -> None:
        """Add a machine's settings, or replace them; where the folder cannot be written, that is said.

        Processes that write at once wait for each other, so that none loses what another has measured.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with taking_turns(self.path):
                self._replace(key, settings)
        except OSError as error:
            self._say(f"the calibration cannot be kept in {self.path}: {error.strerror}")

    def _replace(self, key: Mapping[str, Any], settings: Mapping[Setting, Calibrated]) -> None:
        entries = self._entries()
        before = [entry["settings"] for entry in entries if entry["machine"] == key][:1]
        others = [entry for entry in entries if entry["machine"] != key]
        machines = [
            {**entry, "settings": {str(s): asdict(one) for s, one in entry["settings"].items()}}
            for entry in [
                *others,
                {"machine": dict(key), "settings": dict(ChainMap(dict(settings), *before))},
            ]
        ]
        replace_file(self.path, json.dumps({"schema": SCHEMA, "machines": machines}, indent=1).encode())

    def _entries(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            return [self._entry(entry) for entry in stored["machines"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._say(f"{self.path} is damaged ({type(error).__name__}): this machine is measured anew")
            self.path.unlink(missing_ok=True)
            return []

    def _entry(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        settings = {}
        for name, one in entry["settings"].items():
            workers, threads = map(int, name.split("x"))
            settings[Setting(workers, threads)] = Calibrated.from_json(one)
        return {"machine": dict(entry["machine"]), "settings": settings}


def measure(device: str, settings: Iterable[Setting], seconds: float = SECONDS) -> dict[Setting, Calibrated]:
    """Measure settings with real training steps, in turn, so that a busy machine slows all alike."""
    rows: dict[Setting, list[tuple[Cost, float, int]]] = {setting: [] for setting in settings}
    closing: dict[Setting, float] = {}
    with ExitStack() as stack:
        crews = {s: stack.enter_context(Crew(s.workers, s.threads)) for s in rows}
        for crew in crews.values():
            crew.all(time.sleep, 0)  # all have started
        began = time.monotonic()
        for side in SIDES:
            if time.monotonic() - began > ENOUGH:
                break
            for network in (replace(network, resolution=side) for network in NETWORKS):
                for setting, crew in crews.items():
                    found = crew.all(measure_engine, network, seconds=seconds, device=device)
                    a_second = fmean(one.images_per_second for one in found)
                    peak = max(one.peak_memory for one in found)
                    rows[setting].append((network.cost(), 1 / a_second, peak))
        for setting, crew in crews.items():
            closing[setting] = fmean(crew.all(closing_seconds, NETWORKS[0], device=device))
    return {setting: _summary(setting, rows[setting], closing[setting]) for setting in rows}


def _summary(setting: Setting, rows: list[tuple[Cost, float, int]], closing: float) -> Calibrated:
    costs, seconds, peaks = zip(*rows, strict=True)
    return Calibrated(
        images_per_second=setting.workers / fmean(seconds),
        peak_memory=max(peaks),
        model=replace(fit_speed(costs, seconds, Recipe().batch_size), closing=closing / seconds[0]),
        measured=time.time(),
    )


def settings_to_compare(device: str, cores: int) -> tuple[Setting, ...]:
    """Return the settings that an automatic choice is between; workers x threads never exceed the cores."""
    if device.startswith("cuda"):
        return tuple(Setting(count) for count in GPU_PROCESSES if count <= cores)
    return tuple(dict.fromkeys((Setting(cores, 1), Setting(1, cores))))


def pack(rates: Mapping[int, float], peak_memory: int, free_memory: int) -> int:
    """Return how many processes train on one GPU at once, at least 1.

    `rates` are the images a second of all processes together, by their number; `peak_memory` and
    `free_memory` are the bytes of the largest training's tensors and those free on the device.
    """
    each = RESERVE * peak_memory + CONTEXT
    counts = sorted(count for count in rates if count == 1 or count * each <= free_memory)
    chosen = counts[0]
    for before, count in pairwise(counts):
        if before != chosen or rates[count] < GAIN * rates[before]:
            break
        chosen = count
    return chosen


def choose(
    device: str, found: Mapping[Setting, Calibrated], peak_memory: int = 0, free_memory: int | None = None
) -> Setting:
    """Return the setting with the most images a second; on CUDA as `pack` says.

    `peak_memory`: bytes of the largest training so far, on CUDA; `free_memory`: default, what is free now.
    """
    if not device.startswith("cuda"):
        return max(found, key=lambda setting: found[setting].images_per_second)
    free = torch.cuda.mem_get_info(device)[0] if free_memory is None else free_memory
    peak = max(peak_memory, *(one.peak_memory for one in found.values()))
    rates = {setting.workers: one.images_per_second for setting, one in found.items()}
    return Setting(pack(rates, peak, free))
