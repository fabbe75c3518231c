"""What a survey says: each cheap signal against the longest training's validation loss."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance
from typing import Any, Literal

from scalesearch.architecture.document import from_document
from scalesearch.cli.trust_scores import Scored
from scalesearch.search.ranking import (
    FEWEST_NETWORKS,
    noise_ceiling,
    rank_agreement,
    resolving_power,
    verdict,
)
from scalesearch.search.trust import seed_variance

UNIT = "nats of validation loss"
MISSING = (
    f"{{n}} networks have their longest training, and a comparison needs {FEWEST_NETWORKS}: "
    "the same command continues"
)

Row = Mapping[str, Any]
Kind = Literal["same length", "shorter training", "zero-cost score", "static"]


@dataclass(frozen=True)
class Signal:
    """Something known of networks before their longest training.

    Attributes:
        values: by network's name; larger is expected to be better. truth: likewise, what it is held
            against. seconds: what it takes for one network, the median. dead: networks whose score is
            -inf; they rank last.
    """

    name: str
    kind: Kind
    values: Mapping[str, float]
    truth: Mapping[str, float]
    seconds: float = 0.0
    dead: int = 0


def complete(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of trainings that ended well."""
    return [row for row in rows if row["status"] == "complete"]


def truths(rows: Iterable[Row], longest: int) -> dict[str, list[Row]]:
    """Return the complete trainings on `longest` images by network's name, seeds in order."""
    return by_network(row for row in complete(rows) if row["images"] == longest)


def by_network(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Return rows by network's name, seeds in order."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        found.setdefault(row["name"], []).append(row)
    return found


def make_report(
    rows: Sequence[Row], longest: int, scored: Mapping[str, Mapping[str, Scored]]
) -> dict[str, Any]:
    """Return the comparison of every signal as plain data; no signals where too few networks are done.

    `longest` is the length of training, in images, that is the truth.
    """
    judged = truths(rows, longest)
    truth = {name: -fmean(row["val_loss"] for row in found) for name, found in judged.items()}
    signals = [*_repeated(judged, longest), *_shorter(rows, longest, truth), *_scores(scored, truth)]
    signals += _static(judged, truth)
    return {
        "schema": 1,
        "truth": _truth(judged, longest),
        "trainings": _counts(rows),
        "unit": UNIT,
        "signals": [compare(one) for one in signals if len(one.values) >= FEWEST_NETWORKS],
    }


def compare(signal: Signal) -> dict[str, Any]:
    """Return how a signal orders networks, as plain data."""
    names = sorted(signal.values)
    values, truth = ([table[name] for name in names] for table in (signal.values, signal.truth))
    agreement, power = rank_agreement(values, truth), resolving_power(values, truth)
    return {
        "name": signal.name,
        "kind": signal.kind,
        "n": agreement.n,
        "spearman": [agreement.spearman, agreement.spearman_low, agreement.spearman_high],
        "kendall": [agreement.kendall, agreement.kendall_low, agreement.kendall_high],
        "resolves": power,
        "seconds": signal.seconds,
        "dead": signal.dead,
        "verdict": verdict(signal.name, agreement, power, UNIT),
    }


def _truth(judged: Mapping[str, Sequence[Row]], longest: int) -> dict[str, Any]:
    losses = [[float(row["val_loss"]) for row in found] for found in judged.values()]
    between_seeds, freedom = seed_variance(losses)
    return {
        "images": longest,
        "networks": len(judged),
        "seeds": [min(map(len, losses), default=0), max(map(len, losses), default=0)],
        "seconds": median(row["seconds"] for found in judged.values() for row in found) if judged else None,
        "seed_deviation": math.sqrt(between_seeds) if freedom else None,
        "seed_freedom": freedom,
        "ceiling": _ceiling([one[0] for one in losses], between_seeds) if freedom else None,
    }


def _ceiling(single: Sequence[float], between_seeds: float) -> float | None:
    """Return what a perfect signal would reach against one training of each network."""
    seen = variance(single) if len(single) > 1 else 0.0
    return noise_ceiling(max(0.0, seen - between_seeds), between_seeds) if seen else None


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    ended = complete(rows)
    return {
        "complete": len(ended),
        "failed": len(rows) - len(ended),
        "images": int(sum(row["images"] for row in rows)),
    }


def _repeated(judged: Mapping[str, Sequence[Row]], longest: int) -> list[Signal]:
    """Return the longest training with another seed: what no cheaper signal can be expected to exceed."""
    twice = {name: found for name, found in judged.items() if len(found) > 1}
    if not twice:
        return []
    first, second = ({name: -rows[seed]["val_loss"] for name, rows in twice.items()} for seed in (0, 1))
    seconds = median(rows[1]["seconds"] for rows in twice.values())
    return [Signal(f"{longest:,} images, another seed", "same length", second, first, seconds)]


_OF_A_TRAINING = (
    ("validation loss", "val_loss", -1),
    ("validation accuracy", "val_accuracy", 1),
    ("training loss", "train_loss_last_quarter", -1),
)


def _shorter(rows: Sequence[Row], longest: int, truth: Mapping[str, float]) -> list[Signal]:
    """Return what one training of each shorter length shows: that with the lowest seed."""
    ended = [row for row in complete(rows) if row["name"] in truth]
    lengths = sorted({int(row["images"]) for row in ended} - {longest})
    found = []
    for length in lengths:
        first = {name: of[0] for name, of in by_network(r for r in ended if r["images"] == length).items()}
        seconds = median(row["seconds"] for row in first.values())
        for words, column, sign in _OF_A_TRAINING:
            values = {name: sign * float(row[column]) for name, row in first.items()}
            found.append(Signal(f"{length:,} images: {words}", "shorter training", values, truth, seconds))
    return found


def _scores(scored: Mapping[str, Mapping[str, Scored]], truth: Mapping[str, float]) -> list[Signal]:
    names = next(iter(scored.values()), {})
    return [
        _score(name, {network: found[name] for network, found in scored.items()}, truth) for name in names
    ]


def _score(name: str, found: Mapping[str, Scored], truth: Mapping[str, float]) -> Signal:
    alive = [one.value for one in found.values() if math.isfinite(one.value)]
    last = min(alive, default=0.0) - 1
    values = {network: one.value if math.isfinite(one.value) else last for network, one in found.items()}
    seconds = median(one.seconds for one in found.values())
    return Signal(name, "zero-cost score", values, truth, seconds, len(found) - len(alive))


def _static(judged: Mapping[str, Sequence[Row]], truth: Mapping[str, float]) -> list[Signal]:
    first = {name: found[0] for name, found in judged.items()}
    columns = {
        "proxy parameters": {name: float(row["params"]) for name, row in first.items()},
        "proxy activations": {name: float(row["activations"]) for name, row in first.items()},
        "proxy blocks": {name: float(_blocks(row["network"])) for name, row in first.items()},
        "deployed parameters": {name: float(row["deployed_params"]) for name, row in first.items()},
        "deployed activations": {name: float(row["deployed_activations"]) for name, row in first.items()},
    }
    return [Signal(name, "static", values, truth) for name, values in columns.items()]


def _blocks(network: str) -> int:
    return sum(stage.repeats for stage in from_document(json.loads(network)).stages)
