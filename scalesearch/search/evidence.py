"""How far a run's own trials support what it says: rungs, baselines, the control arm, what more would bring.

Only trials of one level and one rung are compared: others cost otherwise or trained otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from scalesearch.search.comparison import Comparison, compare_arms, outlook, regret_outlook
from scalesearch.search.ranking import FEWEST_NETWORKS, rank_agreement, resolving_power, verdict
from scalesearch.search.records import TrialRecord

BASELINES = ("params", "activations")
MOST = 500  # candidates of a signal: their pairs grow with the square, and so many say it to about ± 0.09


def evidence(trials: Sequence[TrialRecord], rungs: Sequence[int]) -> dict[str, Any]:
    """Return what a report says of how far to trust it.

    Keys: `outlook`, what more trials would bring (None below 4 trials); `control`, the search against random
    draws of equal cost (None without that arm); `signals`, how well short trainings and static costs order
    candidates as longer or complete trainings do; `seconds`, of training by level of the cascade.
    """
    top = _top(trials)
    first = [t for t in top if t.rung == 0]
    search = [_loss(t) for t in first if t.arm == "search"]
    control = [_loss(t) for t in first if t.arm == "control"]
    return {
        "outlook": _outlook(search),
        "control": _control(search, control, rungs[0]),
        "signals": [*_rungs(top, rungs), *_baselines(first, rungs[0])],
        "seconds": dict(_seconds(trials, rungs)),
    }


def _top(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials of the highest level reached, in the order of their numbers."""
    searched = [t for t in trials if t.role == "search" and t.complete and t.repeats is None]
    level = max((t.level for t in searched), default=0.0)
    return sorted((t for t in searched if t.level == level), key=lambda t: (t.number, t.rung))


def _loss(trial: TrialRecord) -> float:
    assert trial.outcome.val_loss is not None, "a complete trial has a validation loss"
    return trial.outcome.val_loss


def _outlook(losses: Sequence[float]) -> dict[str, Any] | None:
    if len(losses) < 4:
        return None
    return {"gain": regret_outlook(losses), "trials": len(losses), "text": outlook(losses)}


def _control(search: Sequence[float], control: Sequence[float], images: int) -> dict[str, Any] | None:
    if min(len(search), len(control)) < 2:
        return None
    found: Comparison = compare_arms(search, control, images_each=images)
    return {
        "trainings_each": len(found.search),
        "images_each": int(found.images[-1]),
        "best_search_loss": float(found.search[-1]),
        "best_control_loss": float(found.control[-1]),
        "lead": found.top_difference,
        "p": found.p,
        "text": found.statement(),
    }


def _rungs(top: Sequence[TrialRecord], rungs: Sequence[int]) -> list[dict[str, Any]]:
    """Compare each rung with the next one, over the candidates that were sent on."""
    at = {(t.number, t.rung): t for t in top}
    found = []
    for rung, images in enumerate(rungs[:-1]):
        both = [number for number, on in at if on == rung and (number, rung + 1) in at]
        signal = [-_loss(at[number, rung]) for number in both]
        truth = [-_loss(at[number, rung + 1]) for number in both]
        found += _signal(
            f"among those sent on, validation loss after {images:,} images", signal, truth, rungs[rung + 1]
        )
    return found


def _baselines(first: Sequence[TrialRecord], images: int) -> list[dict[str, Any]]:
    """Compare what is known of a proxy without training with what training says."""
    truth = [-_loss(t) for t in first]
    return [
        signal
        for name in BASELINES
        for signal in _signal(f"the proxy's {name}", [getattr(t.proxy, name) for t in first], truth, images)
    ]


def _signal(name: str, signal: Sequence[float], truth: Sequence[float], images: int) -> list[dict[str, Any]]:
    """Compare a signal with the truth, on `MOST` candidates drawn at random where there are more."""
    if len(signal) < FEWEST_NETWORKS:
        return []
    if len(signal) > MOST:
        drawn = np.random.default_rng(0).choice(len(signal), MOST, replace=False)
        signal, truth = ([values[one] for one in drawn] for values in (signal, truth))
    agreement = rank_agreement(signal, truth)
    power = resolving_power(signal, truth)
    words = verdict(name, agreement, power, "nats of validation loss")
    against = {"name": name, "against_images": images, "resolves": power, "text": words}
    return [against | asdict(agreement)]


def _seconds(trials: Iterable[TrialRecord], rungs: Sequence[int]) -> Mapping[str, float]:
    spent: defaultdict[str, float] = defaultdict(float)
    for t in trials:
        if t.repeats is None:
            name = "re-training" if t.role == "final" else f"{rungs[t.rung]} images"
            spent[name] += t.outcome.seconds
    return {name: round(seconds, 1) for name, seconds in spent.items()}
