"""How well cheap signals order a run's own candidates: pairs of trainings, and rank correlations of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import atanh, isfinite, sqrt, tanh
from statistics import fmean
from typing import Any, NamedTuple

from scalesearch.dashboard.describe import NAMES, rung_text
from scalesearch.search.ranking import FEWEST_NETWORKS, rank_agreement
from scalesearch.search.records import TrialRecord

# Beyond so many networks the bootstrap takes seconds, and its interval is that of the formula.
MOST_RESAMPLED = 50
RETRAINING = "fresh seeds"
STATIC = "static cost"


@dataclass(frozen=True)
class Pair:
    """One candidate trained twice: validation loss after the shorter and after the longer training."""

    number: int
    level: float
    shorter: float
    longer: float


@dataclass(frozen=True)
class RungPairs:
    """All candidates with two trainings of the same two lengths, in the order of their numbers."""

    shorter: str
    longer: str
    pairs: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """What stands in a legend."""
        return f"{self.shorter} → {self.longer}"


@dataclass(frozen=True)
class Signal:
    """How a signal orders `n` networks: Spearman's correlation with its 95 % interval.

    Attributes:
        kind: what sort of signal it is; signals of a kind look alike. truth: what it is held against.
    """

    name: str
    kind: str
    n: int
    spearman: float
    low: float
    high: float
    truth: str


@dataclass(frozen=True)
class Trust:
    """What a run's own trainings say of its signals.

    Attributes:
        level: at which the signals are compared, the highest with enough trainings; None without any.
        comparisons: over all levels. signals: of that level.
        short: comparisons that have too few pairs at that level, with their number of pairs.
    """

    level: float | None
    comparisons: tuple[RungPairs, ...]
    signals: tuple[Signal, ...]
    short: tuple[tuple[str, int], ...]


def trust_data(
    trials: Sequence[TrialRecord], rungs: Sequence[int] = (), evidence: Mapping[str, Any] | None = None
) -> Trust:
    """Compare each rung with the next, the last with re-trainings, and static costs with the first rung.

    Trainings of one level and one rung alone are compared: others cost otherwise or trained otherwise. What
    the run's report says of a signal over as many networks is taken from there.
    """
    complete = _complete(trials)
    searched = [one for one in complete if one.trial.role == "search" and one.trial.repeats is None]
    finals = [one for one in complete if one.trial.role == "final"]
    comparisons = [*_between_rungs(searched, rungs), *_with_retraining(searched, finals, rungs)]
    level = _level(searched)
    recorded = {signal["name"]: signal for signal in (evidence or {}).get("signals", ())}
    of_level = [(one, [pair for pair in one.pairs if pair.level == level]) for one in comparisons]
    enough = [(one, pairs) for one, pairs in of_level if len(pairs) >= FEWEST_NETWORKS]
    signals = [_of_pairs(one, pairs, recorded) for one, pairs in enough]
    first = [one for one in searched if one.trial.rung == 0 and one.trial.level == level]
    if len(first) >= FEWEST_NETWORKS:
        signals += [_static(name, first, recorded, _images_text(rungs, 0)) for name in NAMES]
    short = [(one.name, len(p)) for one, p in of_level if len(p) < FEWEST_NETWORKS]
    return Trust(level, tuple(comparisons), tuple(signals), tuple(short))


class _Trained(NamedTuple):
    """A complete training and its finite validation loss."""

    trial: TrialRecord
    loss: float


def _complete(trials: Iterable[TrialRecord]) -> list[_Trained]:
    losses = [(trial, trial.outcome.val_loss) for trial in trials if trial.complete]
    return [_Trained(trial, loss) for trial, loss in losses if loss is not None and isfinite(loss)]


def _level(searched: Iterable[_Trained]) -> float | None:
    counts: dict[float, int] = {}
    for trial, _ in searched:
        counts[trial.level] = counts.get(trial.level, 0) + (trial.rung == 0)
    enough = [level for level, count in counts.items() if count >= FEWEST_NETWORKS]
    return max(enough or counts, default=None)


def _images_text(rungs: Sequence[int], rung: int) -> str:
    return f"{rungs[rung]:,} images" if rung < len(rungs) else rung_text(rung)


def _between_rungs(searched: Sequence[_Trained], rungs: Sequence[int]) -> list[RungPairs]:
    last = max((one.trial.rung for one in searched), default=0)
    found = []
    for rung in range(last):
        shorter, longer = (_at_rung(searched, r) for r in (rung, rung + 1))
        pairs = _pairs(shorter, {number: one.loss for number, one in longer.items()})
        found.append(RungPairs(_images_text(rungs, rung), _images_text(rungs, rung + 1), pairs))
    return found


def _with_retraining(
    searched: Sequence[_Trained], finals: Sequence[_Trained], rungs: Sequence[int]
) -> list[RungPairs]:
    """Compare the training by which finalists were chosen with the mean of those with fresh seeds."""
    found = []
    for rung in sorted({one.trial.rung for one in finals}):
        losses: dict[int, list[float]] = {}
        for trial, loss in finals:
            if trial.rung == rung:
                losses.setdefault(trial.number, []).append(loss)
        pairs = _pairs(_at_rung(searched, rung), {number: fmean(of) for number, of in losses.items()})
        found.append(RungPairs(_images_text(rungs, rung), RETRAINING, pairs))
    return found


def _at_rung(searched: Iterable[_Trained], rung: int) -> dict[int, _Trained]:
    return {one.trial.number: one for one in searched if one.trial.rung == rung}


def _pairs(shorter: Mapping[int, _Trained], longer: Mapping[int, float]) -> tuple[Pair, ...]:
    both = sorted(shorter.keys() & longer.keys())
    return tuple(Pair(n, shorter[n].trial.level, shorter[n].loss, longer[n]) for n in both)


def _of_pairs(one: RungPairs, pairs: Sequence[Pair], recorded: Mapping[str, Any]) -> Signal:
    reported = f"among those sent on, validation loss after {one.shorter}"
    figures = _figures(
        [-pair.shorter for pair in pairs],
        [-pair.longer for pair in pairs],
        None if one.longer == RETRAINING else recorded.get(reported),
    )
    return Signal(one.name, one.name, len(pairs), *figures, one.longer)


def _static(cost: str, first: Sequence[_Trained], recorded: Mapping[str, Any], truth: str) -> Signal:
    values = [float(getattr(one.trial.proxy, cost)) for one in first]
    name = f"the proxy's {NAMES[cost]}"
    figures = _figures(values, [-one.loss for one in first], recorded.get(name))
    return Signal(name, STATIC, len(first), *figures, truth)


def _figures(
    signal: Sequence[float], truth: Sequence[float], recorded: Mapping[str, Any] | None
) -> tuple[float, float, float]:
    # A page that is drawn while the run goes on has more trials than the report, whose figure is then old.
    if recorded is not None and recorded["n"] == len(signal):
        return recorded["spearman"], recorded["spearman_low"], recorded["spearman_high"]
    return spearman(signal, truth)


def spearman(signal: Sequence[float], truth: Sequence[float]) -> tuple[float, float, float]:
    """Return Spearman's correlation with its 95 % interval, 0 where signal or truth has one value alone.

    The interval is the bootstrap's of `rank_agreement` up to 50 networks, above that Bonett and Wright's
    (2000), in which Fisher's z has the variance (1 + rho^2 / 2) / (n - 3).
    """
    if len(signal) <= MOST_RESAMPLED:
        found = rank_agreement(signal, truth)
        return found.spearman, found.spearman_low, found.spearman_high
    if len({*signal}) == 1 or len({*truth}) == 1:
        return 0.0, 0.0, 0.0
    from scipy.stats import (  # a second to load: a page without a trust report needs none of it
        norm,
        spearmanr,
    )

    rho = float(spearmanr(signal, truth).statistic)
    if abs(rho) > 1 - 1e-12:
        return rho, rho, rho
    half = float(norm.ppf(0.975)) * sqrt((1 + rho**2 / 2) / (len(signal) - 3))
    return rho, tanh(atanh(rho) - half), tanh(atanh(rho) + half)


def recorded_signals(report: Mapping[str, Any]) -> tuple[Signal, ...]:
    """Read the signals of a report of `scalesearch trust`, kind by kind, the best first."""
    truth = f"{report['truth']['images']:,} images"
    signals = [
        Signal(one["name"], one["kind"], one["n"], *_three(one["spearman"]), truth)
        for one in report["signals"]
    ]
    kinds = list(dict.fromkeys(signal.kind for signal in signals))
    return tuple(sorted(signals, key=lambda signal: (kinds.index(signal.kind), -signal.spearman)))


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    value, low, high = values
    return value, low, high
