"""What a comparison found: each network's accuracy with its interval, and the first against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scalesearch.architecture.document import to_document
from scalesearch.cli.compare_entrants import Entrant
from scalesearch.cli.compare_judging import Judged
from scalesearch.search.paired import Difference, Right, difference
from scalesearch.search.trust import Estimate, SeedNoise, estimates, pooled_variance

Row = dict[str, Any]


def make_report(
    found: Sequence[Entrant], own: Sequence[Sequence[Row]], judged: Judged, known: SeedNoise
) -> dict[str, Any]:
    """Return what compare.json says of networks and differences, as plain data; accuracies are fractions.

    Args:
        found: the networks, first the one that the others are compared with.
        own: the finished trainings of each network, rows of the survey's table, failed ones included.
        judged: the answers of the complete ones.
        known: the recipe's measurement of the spread between seeds.
    """
    right = [_stacked(trainings, judged) for trainings in own]
    scores = {number: _scores(one) for number, one in enumerate(right) if one is not None}
    estimated = estimates(scores, judged.images, known) if scores else {}
    return {
        "schema": 1,
        "judged": {"part": judged.part, "images": judged.images, "looks": list(judged.looks)},
        "networks": [
            _network(one, trainings, judged, estimated.get(number))
            for number, (one, trainings) in enumerate(zip(found, own, strict=True))
        ],
        "differences": _differences(found, right, list(scores.values()), known),
    }


def _stacked(trainings: Sequence[Row], judged: Judged) -> Right | None:
    """Return the answers of a network's complete trainings, (trainings, images), or None without any."""
    answers = [judged.right[row["key"]] for row in trainings if row["key"] in judged.right]
    return np.stack(answers) if answers else None


def _scores(right: Right) -> list[float]:
    accuracies: list[float] = right.mean(1).tolist()
    return accuracies


def _network(
    one: Entrant, trainings: Sequence[Row], judged: Judged, estimate: Estimate | None
) -> dict[str, Any]:
    cost, complete = one.network.cost(), [row for row in trainings if row["status"] == "complete"]
    return {
        "name": one.name,
        "rule": one.rule,
        "rule_source": one.source,
        "phi": one.phi,
        "multipliers": dict(zip(("depth", "width", "resolution"), one.realised, strict=True)),
        "repair": list(one.repair),
        "gamma_identified": not one.clamped,
        "flops": cost.flops,
        "params": cost.params,
        "activations": cost.activations,
        "share": one.share,
        "in_band": one.in_band,
        "resolution": one.network.input.size[0],
        "pattern": " ".join(stage.operator for stage in one.network.stages),
        "trainings": [_training(row, judged) for row in trainings],
        "seeds": len(complete),
        "accuracy": None if estimate is None else estimate.mean,
        "interval": None if estimate is None else [estimate.low, estimate.high],
        "val_loss": float(np.mean([row["val_loss"] for row in complete])) if complete else None,
        "seconds": float(np.mean([row["seconds"] for row in complete])) if complete else None,
        "network": to_document(one.network),
    }


def _training(row: Row, judged: Judged) -> dict[str, Any]:
    complete, right = row["status"] == "complete", judged.right.get(row["key"])
    figures = {
        name: row[name] if complete else None for name in ("val_loss", "val_accuracy", "report_accuracy")
    }
    tested = right is not None and judged.part == "test"
    return {
        "seed": row["seed"],
        "status": row["status"],
        "reason": None if complete else row["reason"],
        **figures,
        "test_accuracy": float(right.mean()) if right is not None and tested else None,
        "seconds": row["seconds"],
    }


def _differences(
    found: Sequence[Entrant], right: Sequence[Right | None], scores: list[list[float]], known: SeedNoise
) -> list[dict[str, Any]]:
    """Compare the first network with each other one that has a complete training."""
    first = right[0]
    if first is None:
        return []
    variance, freedom = pooled_variance(scores, known)
    compared = []
    for one, answers in zip(found[1:], right[1:], strict=True):
        if answers is not None:
            between = difference(first, answers, variance, freedom)
            compared.append(_difference(found[0].name, one.name, between))
    return compared


def _difference(first: str, second: str, between: Difference) -> dict[str, Any]:
    return {
        "first": first,
        "second": second,
        "difference": between.value,
        "interval": [between.low, between.high],
        "p": between.p,
        "tie": between.tie,
        "text": statement(first, second, between),
    }


def statement(first: str, second: str, between: Difference) -> str:
    """Say which of two networks is ahead and by how much, or that the data cannot tell."""
    value, low, high = (100 * share for share in (between.value, between.low, between.high))
    p = f"p = {between.p:.2g}"
    if between.tie:
        return f"{first} and {second} are a tie: {value:+.2f} points [{low:+.2f}, {high:+.2f}], {p}"
    if value < 0:
        return f"{first} is behind {second} by {-value:.2f} points [{-high:.2f}, {-low:.2f}], {p}"
    return f"{first} is ahead of {second} by {value:.2f} points [{low:.2f}, {high:.2f}], {p}"
