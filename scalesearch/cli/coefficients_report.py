"""What trained directions say: the best coefficients with intervals, and how named rules compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from scalesearch.architecture.rules import GROWTH, RULES
from scalesearch.errors import InputError
from scalesearch.search.directions import NAMED, POWERS, Design, Direction, Equal, Triple
from scalesearch.search.quadratic import AXES, hull
from scalesearch.search.surface import NAMES, Interval, ScaledPoint, Surface, fit_surface

BEYOND = 0.05  # share of growth outside the trained points at which nothing is said any more

Row = Mapping[str, Any]


def check_design(design: Design) -> None:
    """Raise the surface's own InputError where it could not be fitted to these directions, all trained."""
    fit_surface(_points(design, {one.name: [1.0] for one in design.points}), resamples=1)


def make_report(design: Design, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what is known as plain data.

    `coefficients` is None where the surface's rules are not met, and `missing` says which.
    """
    complete = [row for row in rows if row["status"] == "complete"]
    trained: dict[str, list[Row]] = {}
    for row in sorted(complete, key=lambda row: int(row["seed"])):
        trained.setdefault(row["name"], []).append(row)
    report = _described(design, trained) | {"failed": len(rows) - len(complete)}
    try:
        surface = fit_surface(_points(design, {name: _losses(found) for name, found in trained.items()}))
    except InputError as error:
        return report | {"coefficients": None, "missing": str(error)}
    return report | _found(design, surface, set(trained))


def _losses(rows: Sequence[Row]) -> list[float]:
    return [float(row["val_loss"]) for row in rows]


def _points(design: Design, losses: Mapping[str, Sequence[float]]) -> list[ScaledPoint]:
    trained = [one for one in design.points if one.name in losses]
    return [ScaledPoint(*for_surface(one.realised, design.equal), tuple(losses[one.name])) for one in trained]


def for_surface(multipliers: Triple, equal: Equal) -> Triple:
    """Return multipliers whose d w^2 r^2 is the growth of the cost that is equal.

    The surface knows FLOPs; activations grow as d w r^2, so there the root of the width stands for it.
    """
    flops, own = POWERS["flops"], POWERS[equal]
    depth, width, resolution = (m ** (p / q) for m, p, q in zip(multipliers, own, flops, strict=True))
    return depth, width, resolution


def coefficients_of(surface: Surface, equal: Equal, growth: float = GROWTH) -> dict[str, Interval]:
    """Return alpha, beta and gamma of the optimum where one step of phi multiplies FLOPs by `growth`."""
    exponents = np.vstack([surface.optimum, surface.samples]).clip(0) / np.array(POWERS[equal])
    exponents /= (exponents * np.array(POWERS["flops"])).sum(1, keepdims=True)
    values = growth**exponents
    low, high = np.quantile(values[1:], [(1 - surface.level) / 2, (1 + surface.level) / 2], axis=0)
    found = zip(NAMES, values[0].tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Interval(*numbers) for name, *numbers in found}


def _described(design: Design, trained: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    base = design.base.base
    cost = base.cost()
    return {
        "schema": 1,
        "equal": design.equal,
        "limit": design.limit,
        "base": {
            "flops": cost.flops,
            "params": cost.params,
            "activations": cost.activations,
            "resolution": base.resolution,
            "repeats": [stage.repeats for stage in base.stages],
            "channels": [stage.channels for stage in base.stages],
        },
        "points": [_point(one, trained.get(one.name, ())) for one in design.points],
        "left_out": dict(design.left_out),
        "not_trained": dict(design.missing),
        "trainings": sum(map(len, trained.values())),
    }


def _point(one: Direction, rows: Sequence[Row]) -> dict[str, Any]:
    cost, losses = one.network.cost(), _losses(rows)
    return {
        "name": one.name,
        "asked": dict(zip(AXES, one.shares, strict=True)),
        "realised": dict(zip(AXES, one.realised, strict=True)),
        "flops": cost.flops,
        "params": cost.params,
        "activations": cost.activations,
        "repair": list(one.repair),
        "seeds": [int(row["seed"]) for row in rows],
        "losses": losses,
        "loss": fmean(losses) if losses else None,
        "accuracy": fmean(float(row["val_accuracy"]) for row in rows) if rows else None,
    }


def _found(design: Design, surface: Surface, trained: set[str]) -> dict[str, Any]:
    fixed = None if surface.fixed is None else NAMES[AXES.index(surface.fixed)]
    places = _places(surface, [one.realised for one in design.points if one.name in trained], design.equal)
    _, walls = hull(places)
    rules = {}
    for name in NAMED:
        coefficients = RULES[name].coefficients
        triple = (coefficients.alpha, coefficients.beta, coefficients.gamma)
        rules[name] = {"triple": list(triple)} | _judged(surface, triple, design.equal, walls)
    report = {
        "missing": None,
        "coefficients": {name: list(one) for name, one in coefficients_of(surface, design.equal).items()},
        "level": surface.level,
        "at_edge": surface.at_edge,
        "not_identified": fixed,
        "rules": rules,
    }
    return report | {"verdict": verdict(report)}


def _places(surface: Surface, triples: Sequence[Triple], equal: Equal) -> Any:
    points = [ScaledPoint(*for_surface(triple, equal), ()) for triple in triples]
    shares = np.array([np.log([p.depth, p.width**2, p.resolution**2]) / np.log(p.growth) for p in points])
    return surface.coordinates.place(shares)


def _judged(surface: Surface, triple: Triple, equal: Equal, walls: Any) -> dict[str, Any]:
    """Return how a triple's loss compares with the optimum's; `inside` is None where no point is near."""
    nothing = {"inside": None, "difference": None, "low": None, "high": None}
    try:
        place = _places(surface, [triple], equal)[0]
    except InputError:  # it grows nothing that the trained points differ in
        return nothing
    if (walls @ np.append(place, 1)).max() > BEYOND:
        return nothing
    return surface.plateau(*for_surface(triple, equal))._asdict()


def verdict(report: Mapping[str, Any]) -> str:
    """Say where the optimum is and whether EfficientNet's coefficients are as good."""
    found = report["coefficients"].items()
    parts = ", ".join(f"{name} {value:.3g} ({low:.3g} to {high:.3g})" for name, (value, low, high) in found)
    edge = "; at the edge of the points: the true optimum may lie beyond" if report["at_edge"] else ""
    lost = report["not_identified"]
    unidentified = f"; {lost} is not identified: it is the same in all points" if lost else ""
    return f"optimum {parts}{edge}{unidentified}; 1.2/1.1/1.15 {rule_text(report['rules']['efficientnet'])}"


def rule_text(judged: Mapping[str, Any]) -> str:
    """Say whether a rule is as good as the optimum."""
    if judged["inside"] is None:
        return "is outside the trained points, so nothing is said of it"
    where = "is inside the plateau" if judged["inside"] else "is worse than the optimum"
    return f"{where} (loss {judged['difference']:+.3g}, {judged['low']:+.3g} to {judged['high']:+.3g})"
