"""What a run will cost: how many trainings at once, how long each takes, how many the time allows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np

from scalesearch.architecture.budget import UnfitError
from scalesearch.architecture.document import from_document
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.network import Network
from scalesearch.cli.words import count_text, duration_text, setting_text
from scalesearch.errors import InputError
from scalesearch.search.records import TrialRecord
from scalesearch.search.study import Definition, Limits
from scalesearch.training import calibration
from scalesearch.training.calibration import Cache, Calibrated, Setting, SpeedModel
from scalesearch.training.process import usable_cores
from scalesearch.training.recipe import Recipe

SHORT_TIME = 60.0  # seconds of a run that does not wait for a calibration
SHORT_IMAGES = 50_000  # training images of such a run, about a minute on one core
DRAWN = 12  # proxies that stand for the space

Say = Callable[[str], None]
Predict = Callable[[Network, int], float]  # seconds of training a proxy at a rung


@dataclass(frozen=True)
class Staff:
    """How many trainings at once and with how many threads, and what they take, where that is known."""

    setting: Setting
    model: SpeedModel | None


def is_short(limits: Limits, images: int) -> bool:
    """Return whether a run ends so soon that a calibration would be much of it."""
    if limits.time is not None and limits.time < SHORT_TIME:
        return True
    return limits.trials is not None and limits.trials * images < SHORT_IMAGES


def settings_of(workers: int, device: str, cores: int) -> tuple[Setting, ...]:
    """Return the settings that a choice of --workers leaves, 0 being auto.

    Workers times threads never exceed the cores; InputError where more workers are asked for.
    """
    if workers == 0:
        return calibration.settings_to_compare(device, cores)
    if workers > cores:
        raise InputError(
            f"--workers: each training needs a core, so at most {cores} run at once here, but got {workers}"
        )
    return (Setting(workers, 1 if device.startswith("cuda") else cores // workers),)


def staff(
    workers: int, device: str, *, short: bool, say: Say, peak_memory: int = 0, cache: Path | None = None
) -> Staff:
    """Choose how many trainings run at once, by the calibration of this machine, measured once.

    `workers` is as asked for, 0 for auto; a `short` run does not wait for a calibration; `peak_memory`,
    in bytes, is that of the largest training of the run so far, for CUDA; `cache` is the folder of the
    calibration (default: the user's).
    """
    settings = settings_of(workers, device, usable_cores())
    found = calibrated(device, settings, measure=not short, say=say, cache=cache)
    if found is None:
        chosen = Setting(1) if device.startswith("cuda") and not workers else settings[0]
        say(f"{setting_text(chosen)}; a short run does not wait for a calibration of this machine")
        return Staff(chosen, None)
    chosen = settings[0] if workers else calibration.choose(device, found, peak_memory)
    return Staff(chosen, found[chosen].model)


def calibrated(
    device: str,
    settings: Sequence[Setting],
    *,
    measure: bool,
    say: Say,
    anew: bool = False,
    cache: Path | None = None,
) -> dict[Setting, Calibrated] | None:
    """Return the figures of settings, from the cache or measured now; None if neither.

    `measure` allows a measurement where the cache lacks a setting, `anew` demands one.
    """
    kept, key = Cache(say, cache), calibration.machine(device)
    known = kept.read(key)
    missing = [setting for setting in settings if anew or setting not in known]
    if missing and not measure:
        return None
    if missing:
        _say_measuring(say)
        measured = calibration.measure(device, missing)
        kept.write(key, measured)
        known |= measured
    found = {setting: known[setting] for setting in settings}
    origin = f"kept in {kept.path}" if missing else f"from {kept.path}"
    say(f"calibration: {calibration_text(found)}; {origin}")
    return found


def _say_measuring(say: Say) -> None:
    say("measuring how fast this machine trains (about 10 s, once) ...")
    load = os.getloadavg()[0]
    if load > usable_cores() / 2:
        say(
            f"the machine is busy (load {load:.1f}), so the figures will be low: "
            "`scalesearch bench` measures them anew"
        )


def calibration_text(found: dict[Setting, Calibrated]) -> str:
    """Return the figures of settings in words."""
    parts = [f"{setting_text(s)}: {one.images_per_second:,.0f} images/s" for s, one in found.items()]
    return "; ".join(parts)


@dataclass(frozen=True)
class Plan:
    """Predicted seconds of a training.

    Attributes:
        typical, low, high: mean, least and most over first-rung trainings. final: mean of the re-trainings.
        load: what a candidate costs over its first training: more than 1 where some are trained longer.
        finals: how many re-trainings follow. share: of the time that is kept for them.
    """

    typical: float
    low: float
    high: float
    final: float
    finals: int
    share: float
    workers: int
    load: float = 1.0

    def trials_in(self, seconds: float) -> int:
        """Return how many search trainings fit in the time of a call; the first ones begin in any case."""
        turns = max(1, int(seconds * (1 - self.share) / (self.typical * self.load)))
        return turns * self.workers

    def seconds_for(self, trials: int) -> float:
        """Return how long so many search trainings and the re-trainings take."""
        turns = math.ceil(trials / self.workers) * self.typical * self.load
        return turns + math.ceil(self.finals / self.workers) * self.final

    def text(self, limits: Limits, done: int) -> str:
        """Return the plan in words, for a run that has `done` search trials already."""
        spread = f"({duration_text(self.low)} to {duration_text(self.high)})"
        each = f"predicted: a training takes about {duration_text(self.typical)} {spread}"
        trials = max(0, (limits.trials or 0) - done)
        if limits.time is None or (limits.trials is not None and self.seconds_for(trials) <= limits.time):
            return f"{each}, so {self._by_trials(trials)}"
        if self.typical > limits.time:
            return (
                f"{each}, longer than the {duration_text(limits.time)} given: what is not done "
                "then is checkpointed, and the same command with more --time goes on"
            )
        return f"{each}, so {self._by_time(limits.time)}"

    def _by_trials(self, trials: int) -> str:
        finals = f" and {count_text(self.finals, 're-training')} of the best" if self.finals else ""
        on = f"on {count_text(self.workers, 'worker')} take about {duration_text(self.seconds_for(trials))}"
        return f"{count_text(trials, 'trial')}{finals} {on}"

    def _by_time(self, seconds: float) -> str:
        given = f"{duration_text(seconds)} on {count_text(self.workers, 'worker')}"
        return f"{given} give about {count_text(self.trials_in(seconds), 'trial')}"


def predictor(model: SpeedModel, definition: Definition, recipe: Recipe, evaluated: int) -> Predict:
    """Return what predicts a training's seconds from its proxy and rung.

    `evaluated` images are judged at its end.
    """
    rungs = definition.study.rungs
    return lambda network, rung: model.training(network, recipe, rungs[rung], evaluated)


def predict_trial(predict: Predict) -> Callable[[TrialRecord], float]:
    """Return the same for a trial."""
    return lambda trial: predict(from_document(trial.proxy.document), trial.rung)


def make_plan(definition: Definition, predict: Predict, workers: int, error: float) -> Plan | None:
    """Predict from a handful of proxies drawn from the space; None where none of them can be fitted.

    The spread is that of the drawn proxies, widened by the relative `error` of the speed model.
    """
    study = definition.study
    rng = np.random.default_rng(study.seed)
    search: list[float] = []
    for number in range(DRAWN):
        network = _proxy(definition, rng, definition.level(number))
        search += [] if network is None else [predict(network, 0)]
    top = (_proxy(definition, rng, definition.budget) for _ in range(DRAWN // 3))
    final = [predict(network, len(study.rungs) - 1) for network in top if network is not None]
    if not search or not final:
        return None
    finals = study.finals
    return Plan(
        typical=fmean(search),
        low=min(search) * (1 - min(error, 0.5)),
        high=max(search) * (1 + error),
        final=fmean(final),
        finals=finals.candidates * finals.seeds,
        share=finals.share,
        workers=workers,
        load=study.images_each / study.rungs[0],
    )


def _proxy(definition: Definition, rng: np.random.Generator, level: float) -> Network | None:
    candidate = definition.space.draw(random_values(rng))
    flops = definition.policy.flops_at(level, definition.budget)
    try:
        return candidate.proxy(definition.policy, flops, definition.classes, definition.resolution).network
    except UnfitError:
        return None
