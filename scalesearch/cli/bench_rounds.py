"""The measurements of `scalesearch bench`: rounds over all networks, so that noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from statistics import median
from typing import Any

from scalesearch import documents
from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import make_proxy
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli.plan import calibrated
from scalesearch.training import calibration
from scalesearch.training.calibration import Calibrated, Setting
from scalesearch.training.crew import Crew
from scalesearch.training.data import DataSet, load
from scalesearch.training.process import choose_device, usable_cores
from scalesearch.training.recipe import Recipe
from scalesearch.training.throughput import CLASSES, SIDE, measure_engine, naive_rate, outside_share

FAMILIES = ("efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0")
EIGHT_EPOCHS = 360_000  # images
CALIBRATION_NEEDS = 40.0  # seconds of a budget that leaves time for a calibration
CLOSING = 0.3  # seconds of an evaluated image over those of a trained one, where not calibrated
START = 8.0  # seconds that processes and first steps take
OVERHEAD = 0.7  # seconds of a measurement besides its window: building, first steps, loader processes
LEAST, MOST = 0.4, 3.0  # seconds of a window
ROUNDS = 5


def proxies(recipe: Recipe, classes: int, side: int) -> list[Network]:
    """Return the networks that are timed: published ones' proxies as a search makes them, and a Fused one."""
    found = []
    for name in FAMILIES:
        base = documents.find_network(name).network
        made = make_proxy(
            base,
            Coefficients(),
            recipe.proxy,
            flops=recipe.proxy.flops,
            classes=classes,
            data_resolution=side,
        )
        found.append(replace(made.network, name=name))
    fused = next(network for network in calibration.NETWORKS if network.name == "fused_mbconv")
    return [*found, replace(fused, classes=classes)]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, least, most and number of some measurements."""
    return {"median": median(values), "low": min(values), "high": max(values), "n": len(values)}


def equivalent_images(network: Network, recipe: Recipe, images: int, evaluated: int, closing: float) -> float:
    """Return how many training images at full resolution take as long as a whole training.

    An image at a smaller side counts by its area, an evaluated one by `closing`.
    """
    side = network.input.size[0]
    phases = sum(phase.share * (round(side * phase.scale) / side) ** 2 for phase in recipe.phases)
    return images * phases + closing * (evaluated + recipe.norm_batches * recipe.batch_size)


class Bench:
    """Measures within `budget` seconds; `run` returns what is printed and what --json gives."""

    def __init__(self, device: str, data: str | None, budget: float, say: Callable[[str], None]) -> None:
        self._started, self._budget, self._say = time.monotonic(), budget, say
        self._device = choose_device(device)
        study = documents.load_study("default")
        self._recipe = documents.load_recipe(study.recipe)
        self._lengths = {"default_study": study.rungs[0], "eight_epochs": EIGHT_EPOCHS}
        self._data: DataSet | None = None if data is None else load(data)

    def run(self) -> dict[str, Any]:
        """Measure everything; keys are stable."""
        found = self._calibration()
        setting = calibration.choose(self._device, found) if found else self._plain()
        classes = len(self._data.classes) if self._data else CLASSES
        side = self._data.resolution if self._data else SIDE
        networks = proxies(self._recipe, classes, side)
        rounds, each = self._effort(len(networks))
        self._say(f"{rounds} round(s) over {len(networks)} networks, {each:.1f} s for each loop ...")
        rows = self._rounds(networks, setting, rounds, each)
        closing = found[setting].model.closing if found else CLOSING
        return {
            "schema": 1,
            "machine": calibration.machine(self._device),
            "device": self._device,
            "data": self._data.name if self._data else "synthetic",
            "workers": setting.workers,
            "threads": setting.threads,
            "calibration": {str(s): asdict(one) for s, one in found.items()} if found else None,
            "seconds_each": each,
            "images": self._lengths,
            "networks": [self._row(n, rows[n.name], closing) for n in networks if n.name in rows],
            "left_out": [network.name for network in networks if network.name not in rows],
            "budget_seconds": self._budget,
            "seconds": time.monotonic() - self._started,
            "note": (
                "trainings per hour are extrapolated from images per second at full resolution: the recipe's "
                "smaller sides count by their area, evaluation is included, starting processes is not"
            ),
        }

    def _calibration(self) -> dict[Setting, Calibrated] | None:
        settings = calibration.settings_to_compare(self._device, usable_cores())
        time_for_it = self._budget >= CALIBRATION_NEEDS
        found = calibrated(self._device, settings, measure=time_for_it, anew=time_for_it, say=self._say)
        if found is None:
            self._say(f"not calibrated: that takes a --budget of at least {CALIBRATION_NEEDS:.0f}s")
        return found

    def _plain(self) -> Setting:
        return Setting(1 if self._device.startswith("cuda") else usable_cores())

    def _effort(self, networks: int) -> tuple[int, float]:
        """Return rounds and the seconds of each window that the rest of the budget allows."""
        left = self._left() - START
        windows = 2 + (0 if self._device.startswith("cuda") else 0.5)
        for rounds in range(ROUNDS, 0, -1):
            each = (left / (rounds * networks) - 3 * OVERHEAD) / windows
            if each >= 2 * LEAST:
                return rounds, min(each, MOST)
        return 1, min(MOST, max(LEAST, each))

    def _rounds(
        self, networks: Sequence[Network], setting: Setting, rounds: int, each: float
    ) -> dict[str, dict[str, list[float]]]:
        rows: dict[str, dict[str, list[float]]] = {
            network.name: {"engine": [], "naive": [], "outside": []} for network in networks
        }
        place = {"device": self._device, "folder": self._data.folder if self._data else None}
        with Crew(setting.workers, setting.threads) as crew, Crew(1, usable_cores()) as alone:
            for network in rounds * list(networks):
                if any(row["naive"] for row in rows.values()) and self._left() < 0:
                    break  # a busy machine takes longer than was foreseen
                self._measure(network, crew, alone, rows[network.name], {"seconds": each, **place})
        return {name: row for name, row in rows.items() if row["naive"]}

    def _left(self) -> float:
        return self._budget - (time.monotonic() - self._started)

    def _measure(
        self, network: Network, crew: Crew, alone: Crew, row: dict[str, list[float]], options: dict[str, Any]
    ) -> None:
        engine = crew.all(measure_engine, network, recipe=self._recipe, **options)
        row["engine"].append(sum(one.images_per_second for one in engine))
        if not self._device.startswith("cuda"):
            shorter = options | {"seconds": options["seconds"] / 2}
            row["outside"] += crew.all(outside_share, network, recipe=self._recipe, **shorter)
        row["naive"] += alone.all(naive_rate, network, batch=self._recipe.batch_size, **options)

    def _row(self, network: Network, row: dict[str, list[float]], closing: float) -> dict[str, Any]:
        evaluated = len(self._data.select) + len(self._data.report) if self._data else 5000
        engine, naive = row["engine"], row["naive"]
        hours: dict[str, dict[str, float]] = {"engine": {}, "naive": {}}
        for name, images in self._lengths.items():
            grown = equivalent_images(network, self._recipe, images, evaluated, closing)
            hours["engine"][name] = 3600 * median(engine) / grown
            hours["naive"][name] = 3600 * median(naive) / (images + closing * evaluated)
        cost = network.cost()
        return {
            "name": network.name,
            **asdict(cost),
            "resolution": network.input.size[0],
            "engine": spread(engine),
            "naive": spread(naive),
            "ratio": spread([one / other for one, other in zip(engine, naive, strict=True)]),
            "outside_share": spread(row["outside"]) if row["outside"] else None,
            "trainings_per_hour": hours,
        }
