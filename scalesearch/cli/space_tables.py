"""What `scalesearch space SPACE` prints: one JSON object, or tables that fit 80 columns."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from scalesearch.architecture.budget import BAND
from scalesearch.architecture.layers import Cost
from scalesearch.architecture.polynomials import MEASURES, Numbers
from scalesearch.architecture.space import SearchSpace
from scalesearch.architecture.space_map import (
    BINS,
    AtBudget,
    Influence,
    Share,
    SpaceMap,
    histogram,
    quantiles,
)
from scalesearch.cli.scale_tables import plain_table, print_table, short

LEVELS = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
NAMES = ("min", "1%", "5%", "25%", "50%", "75%", "95%", "99%", "max")
LABELS = {"flops": "FLOPs", "params": "params", "activations": "activations"}
TOP = 10
Exact = tuple[Cost, Cost] | str


@dataclass(frozen=True)
class Answer:
    """A map with what it is of.

    Attributes:
        exact: least and greatest cost of any base, or the reason why they are not known.
        limited: None without a budget.
    """

    space: SearchSpace
    seed: int
    drawn: SpaceMap
    exact: Exact
    limited: AtBudget | None


def to_json(answer: Answer) -> dict[str, Any]:
    """Return what `space SPACE --json` prints; its keys are stable, all costs are exact."""
    drawn = answer.drawn
    return {
        "schema": 1,
        "space": answer.space.name,
        "bases": answer.space.bases(),
        "leaves": len(answer.space.domains()),
        "samples": len(drawn),
        "seed": answer.seed,
        "seconds": drawn.seconds,
        "per_second": len(drawn) / drawn.seconds,
        "costs": {name: _cost_json(drawn.cost(name)) | _ends_json(answer.exact, name) for name in MEASURES},
        "exact_unknown": answer.exact if isinstance(answer.exact, str) else None,
        "budget": None if answer.limited is None else _budget_json(answer.limited),
        "influence": {
            "n": drawn.surveyed,
            "bins": BINS,
            "leaves": [_influence_json(influence) for influence in drawn.influences],
        },
    }


def _quantiles_json(values: Numbers) -> dict[str, int] | None:
    return dict(zip(NAMES, quantiles(values, LEVELS), strict=True)) if len(values) else None


def _cost_json(values: Numbers) -> dict[str, Any]:
    edges, counts = histogram(values)
    shape = {"log10_edges": edges.tolist(), "counts": counts.tolist()}
    return {"quantiles": _quantiles_json(values), "histogram": shape}


def _ends_json(exact: Exact, name: str) -> dict[str, int | None]:
    least, greatest = (None, None) if isinstance(exact, str) else (getattr(cost, name) for cost in exact)
    return {"least": least, "greatest": greatest}


def _share_json(share: Share) -> dict[str, Any]:
    return {**asdict(share), "share": share.value, "interval": list(share.interval)}


def _budget_json(limited: AtBudget) -> dict[str, Any]:
    return {
        "flops": limited.budget,
        "band": BAND,
        "plain": {"within": _share_json(limited.within), "in_band": _share_json(limited.in_band)},
        "fitted": {
            "within": _share_json(limited.fitted_within),
            "in_band": _share_json(limited.fitted_in_band),
            **{name: _quantiles_json(getattr(limited.fitted, name)) for name in MEASURES},
        },
    }


def _influence_json(influence: Influence) -> dict[str, Any]:
    about = {"leaf": influence.leaf, "groups": influence.groups, "chance": influence.chance}
    return {**about, **influence.shares}


def percent(share: float) -> str:
    """Return a share in percent with three digits, never 100 % for less."""
    return f"{min(100 * share, 99.9) if share < 1 else 100:.3g}%"


def one_in(share: float) -> str:
    """Return how many draws one hit takes, 1 in 312; nothing where most are hits."""
    if share > 0.5:
        return ""
    return f"1 in {1 / share:,.0f}" if share <= 0.1 else f"1 in {1 / share:.2g}"


def bases_text(bases: int) -> str:
    """Return a number of bases, in powers of ten where it is long."""
    return f"{bases:,}" if bases < 10**9 else f"{float(bases):.2e}" if bases < 10**300 else "over 1e300"


def print_map(answer: Answer) -> None:
    """Print the map as tables with rounded numbers."""
    console, drawn = Console(highlight=False), answer.drawn
    console.print(
        f"[bold]{answer.space.name}[/bold]: {bases_text(answer.space.bases())} bases from "
        f"{len(answer.space.domains())} free leaves"
    )
    console.print(
        f"{len(drawn):,} plain random bases at their own resolution, drawn and costed in "
        f"{drawn.seconds:.2f} s ({short(len(drawn) / drawn.seconds)} a second)\n"
    )
    print_table(console, _quantile_table("as drawn", drawn.costs))
    console.print(_exact_text(answer.exact))
    if answer.limited is not None:
        console.print()
        _print_budget(console, answer.limited)
    console.print()
    _print_influences(console, drawn)


def _quantile_table(title: str, costs: Cost) -> Table:
    table = plain_table(title, *NAMES, left=(title,))
    for name in MEASURES:
        table.add_row(LABELS[name], *map(short, quantiles(getattr(costs, name), LEVELS)))
    return table


def _exact_text(exact: Exact) -> str:
    if isinstance(exact, str):
        return f"least and greatest of all bases are not known: {exact}"
    parts = [
        f"{LABELS[name]} {getattr(exact[0], name):,} to {getattr(exact[1], name):,}" for name in MEASURES
    ]
    return "exact, of all bases:\n  " + "\n  ".join(parts)


def _print_budget(console: Console, limited: AtBudget) -> None:
    console.print(f"[bold]{limited.budget:,.0f} FLOPs[/bold], and the band from {BAND:.0%} of it")
    table = plain_table("", "share", "", "95% interval", "n", left=("",))
    for name, share in (
        ("plain draws within it", limited.within),
        ("plain draws in the band", limited.in_band),
        ("fitted, within it", limited.fitted_within),
        ("fitted, in the band", limited.fitted_in_band),
    ):
        low, high = (percent(end) for end in share.interval)
        draws = one_in(share.value) if share.count else "none"
        table.add_row(name, percent(share.value), draws, f"{low} to {high}", f"{share.n:,}")
    print_table(console, table)
    console.print(_words(limited) + "\n")
    if not limited.fitted_within.count:
        return
    print_table(console, _quantile_table("fitted", limited.fitted))


def _words(limited: AtBudget) -> str:
    """Say what a rejection loop wastes, and what the fit does."""
    band, fitted = limited.in_band, limited.fitted_in_band
    if band.count:
        waste = f"one draw in {1 / band.value:,.0f}" if band.value <= 0.1 else percent(band.value)
        plain = f"A rejection loop keeps {waste}"
    else:
        plain = f"A rejection loop keeps none of {band.n:,} draws"
    return f"{plain}; the fit by construction {percent(fitted.value)} of its candidates."


def _print_influences(console: Console, drawn: SpaceMap) -> None:
    title = "what decides the cost"
    table = plain_table(title, *LABELS.values(), left=(title,))
    top = drawn.influences[:TOP]
    for influence in top:
        table.add_row(influence.leaf, *(f"{influence.shares[name]:.1%}" for name in MEASURES))
    print_table(console, table)
    chance = max((influence.chance for influence in top), default=0.0)
    noise = f"; chance alone gives up to {percent(chance)}" if chance > 0.001 else ""
    console.print(
        "share of the variance of the cost's logarithm that a leaf explains by itself (eta squared), "
        f"n = {drawn.surveyed:,}{noise}"
    )
