"""What trained members say: the law of each family, how it predicts its largest size, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from scalesearch.search.law import InsufficientEvidence, Law, fit_law, hold_out
from scalesearch.search.members import Family, Member

Row = Mapping[str, Any]


def make_report(
    families: Sequence[Family], found: Sequence[Member], rows: Sequence[Row], budget: float | None
) -> dict[str, Any]:
    """Return the law of every family as plain data.

    A family's `law` is None and `missing` says why where the evidence is too little.
    """
    complete = [row for row in rows if row["status"] == "complete"]
    laws = [_family(one, [m for m in found if m.family == one.name], complete, budget) for one in families]
    return {
        "schema": 1,
        "trainings": len(complete),
        "failed": len(rows) - len(complete),
        "budget_flops": budget,
        "families": laws,
    }


def _family(
    family: Family, found: Sequence[Member], rows: Sequence[Row], budget: float | None
) -> dict[str, Any]:
    of_member = {one.name: [row for row in rows if row["name"] == one.name] for one in found}
    points = [
        (float(row["flops"]), int(row["seed"]), 1 - float(row["val_accuracy"]))
        for trained in of_member.values()
        for row in trained
    ]
    report: dict[str, Any] = {
        "name": family.name,
        "source": family.source,
        "coefficients": asdict(family.candidate.coefficients),
        "points": [_point(one, of_member[one.name]) for one in found],
    }
    try:
        law, held = fit_law(points), hold_out(points)
    except InsufficientEvidence as error:
        return report | {"law": None, "missing": str(error)}
    described = _law(law) | {"hold_out": asdict(held)}
    return report | {"law": described | {"at_budget": _at(law, budget)}, "missing": None}


def _point(one: Member, rows: Sequence[Row]) -> dict[str, Any]:
    network = one.fit.network
    cost = network.cost()
    errors = [1 - float(row["val_accuracy"]) for row in sorted(rows, key=lambda row: int(row["seed"]))]
    return {
        "name": one.name,
        "target": one.target,
        "flops": cost.flops,
        "params": cost.params,
        "activations": cost.activations,
        "resolution": network.resolution,
        "clamped": one.fit.clamped,
        "errors": errors,
        "error": fmean(errors) if errors else None,
    }


def _law(law: Law) -> dict[str, Any]:
    values = {"a": law.a, "b": law.b, "c": law.c}
    return {
        **{name: [values[name], *interval] for name, interval in law.intervals.items()},
        "level": law.level,
        "c_identified": law.c_identified,
        "n": law.n,
        "sizes": list(law.sizes),
        "supported_to": law.supported_to,
        "statement": law.statement(),
    }


def _at(law: Law, budget: float | None) -> dict[str, Any] | None:
    """Return the error predicted at a budget; without figures where the evidence does not reach it."""
    if budget is None:
        return None
    if not law.sizes[0] <= budget <= law.supported_to:
        return {"supported": False, "error": None}
    found = law.predict(budget)
    return {"supported": True, "error": [found.value, found.low, found.high]}
