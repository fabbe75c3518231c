"""What `scalesearch scale` prints: one JSON object, or a table that fits 80 columns with rounded numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from scalesearch.architecture.budget import Fit
from scalesearch.architecture.document import to_document
from scalesearch.architecture.explain import DIMENSIONS, side
from scalesearch.architecture.network import Network
from scalesearch.architecture.rules import Rule
from scalesearch.architecture.scaling import Coefficients

if TYPE_CHECKING:  # it loads torch, which only measuring needs
    from scalesearch.training.speed import Speed

Shown = tuple[dict[str, Any], Callable[[], None]]  # the JSON object, and what prints the same for people


@dataclass(frozen=True)
class Made:
    """A network that a rule made: at `phi`, with realised multipliers; share is None without a budget."""

    network: Network
    phi: float
    realised: tuple[float, float, float]
    share: float | None = None
    repair: tuple[str, ...] = ()

    @classmethod
    def of(cls, fitted: Fit) -> Made:
        """Return a fit's network."""
        return cls(fitted.network, fitted.phi, fitted.realised, fitted.share, fitted.repair)


@dataclass(frozen=True)
class Attempt:
    """A rule with the network that it made, or else the reason why it made none."""

    rule: Rule
    made: Made | None
    reason: str | None = None
    speed: Speed | None = None


def multipliers(realised: tuple[float, float, float]) -> str:
    """Return realised multipliers in words."""
    return ", ".join(f"{name} x{value:.3f}" for name, value in zip(DIMENSIONS, realised, strict=True))


def short(number: float) -> str:
    """Return a number with three digits and k, M, G or T: 385814752 is 386M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:#.3g}".rstrip(".") + unit
    return f"{number:.0f}"


def _coefficients(coefficients: Coefficients) -> dict[str, float]:
    return {name: getattr(coefficients, name) for name in ("alpha", "beta", "gamma", "growth")}


def size(network: Network) -> dict[str, Any]:
    """Return a network's costs and sizes, for people and for JSON."""
    cost = network.cost()
    return {
        "resolution": network.resolution,
        "blocks": network.blocks,
        "params": cost.params,
        "flops": cost.flops,
        "activations": cost.activations,
        "repeats": [stage.repeats for stage in network.stages],
        "widths": [stage.channels for stage in network.stages],
        "stem": network.stem.channels,
        "head": network.head.channels,
    }


def _made(made: Made) -> dict[str, Any]:
    return {
        "phi": made.phi,
        "realised": dict(zip(DIMENSIONS, made.realised, strict=True)),
        "share": made.share,
        "repair": list(made.repair),
        **size(made.network),
    }


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """Return a rule and what it made; its keys are stable, and `reason` is there alone if it made nothing."""
    about = {
        "rule": attempt.rule.name,
        "source": attempt.rule.source,
        "coefficients": _coefficients(attempt.rule.coefficients),
        "reason": attempt.reason,
    }
    return about if attempt.made is None else about | _made(attempt.made)


def plain_table(*columns: str, left: tuple[str, ...] = (), fold: tuple[str, ...] = ()) -> Table:
    """Return an empty table; columns in `fold` break between words where the terminal is narrow."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        justify: Any = "left" if name in left + fold else "right"
        table.add_column(name, justify=justify, no_wrap=name not in fold, overflow="fold")
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table, wider than the terminal rather than with cut numbers."""
    needed = Measurement.get(console, console.options.update(max_width=1000), table)
    folds = any(not column.no_wrap for column in table.columns)
    console.width = max(console.width, needed.minimum if folds else needed.maximum)
    console.print(table)


def percent(share: float) -> str:
    """Return a share in percent, rounded down: 100 % is the whole."""
    return f"{int(1000 * share) / 10:.4g}%"


def rate(speed: Speed) -> str:
    """Return the median with three digits (two above 1000) and half the quartiles' distance: 23.4±5%."""
    median, low, high = speed
    number = f"{median:#.3g}".rstrip(".") if median < 999.5 else f"{median / 1000:.2g}k"
    spread = (high - low) / 2 / median
    return f"{number}±{spread:.0%}" if spread < 0.995 else f"{number}±>99%"


def _listed(numbers: list[Any]) -> str:
    return " ".join(str(number) for number in numbers)


def rules(
    base: Network, flops: float, attempts: list[Attempt], setting: dict[str, Any] | None, fill: bool
) -> Shown:
    """Show the networks of several rules at one budget; `setting` is what their speed was measured on."""
    shown = {
        "base": base.name,
        "budget_flops": flops,
        "fill": fill,
        "speed": setting,
        "rules": [_rule_json(attempt) for attempt in attempts],
    }
    return shown, lambda: _print_rules(base, flops, attempts, setting, fill)


def _rule_json(attempt: Attempt) -> dict[str, Any]:
    row = attempt_json(attempt)
    if attempt.made is None:
        return row
    speed = attempt.speed._asdict() if attempt.speed else None
    return {**row, "images_per_second": speed, "network": to_document(attempt.made.network)}


def _print_rules(
    base: Network, flops: float, attempts: list[Attempt], setting: dict[str, Any] | None, fill: bool
) -> None:
    console = Console(highlight=False)
    filled = "rounding gaps closed" if fill else "the largest member of each rule, gaps left open"
    console.print(f"[bold]{base.name}[/bold] at {flops:g} FLOPs: {filled}")
    speed = ("images/s",) if setting else ()
    table = plain_table(
        *("rule", "phi", "d", "w", "r", "side", "blk", "params", "FLOPs", "share", "act."),
        *speed,
        left=("rule",),
    )
    for attempt in attempts:
        table.add_row(*_rule_cells(attempt))
    print_table(console, table)
    for attempt in attempts:
        if attempt.reason is not None:
            console.print(f"{attempt.rule.name}: {attempt.reason}")
    console.print(
        "d, w, r: multipliers of blocks (blk), stage widths and side after rounding; share: of the budget; "
        "act.: outputs of convolutions"
    )
    if setting:
        on = setting["device_name"] or f"{setting['device']}, threads: {setting['threads']}"
        console.print(
            f"images/s: forward passes at batch {setting['batch']} on {on}; median of {setting['rounds']} "
            "interleaved rounds, ± half the distance between the quartiles; equal networks are measured once"
        )


def _rule_cells(attempt: Attempt) -> list[str]:
    made = attempt.made
    if made is None:
        return [attempt.rule.name, *"-" * 10]
    cost = made.network.cost()
    cells = [
        attempt.rule.name,
        f"{made.phi:.{1 if abs(made.phi) >= 10 else 2}f}",
        *(f"{value:.2f}" for value in made.realised),
        str(side(made.network)),
        str(made.network.blocks),
        *(short(number) for number in (cost.params, cost.flops)),
        "-" if made.share is None else percent(made.share),
        short(cost.activations),
    ]
    if attempt.speed is not None:
        cells.append(rate(attempt.speed))
    return cells


def shape(network: Network) -> tuple[str, str]:
    """Return repeats, and the channels of stem, stages and head."""
    sizes = size(network)
    ends = [] if sizes["head"] is None else [sizes["head"]]
    return _listed(sizes["repeats"]), _listed([sizes["stem"], *sizes["widths"], *ends])


def published(base: Network, rule: Rule, pairs: list[tuple[Network, Attempt]], fill: bool) -> Shown:
    """Show published variants, each beside what a rule makes of the base at the variant's FLOPs."""
    shown = {
        "base": base.name,
        "rule": rule.name,
        "source": rule.source,
        "coefficients": _coefficients(rule.coefficients),
        "fill": fill,
        "variants": [
            {"name": variant.name, "published": size(variant), "scaled": attempt_json(attempt)}
            for variant, attempt in pairs
        ],
    }
    return shown, lambda: _print_published(base, rule, pairs)


def _print_published(base: Network, rule: Rule, pairs: list[tuple[Network, Attempt]]) -> None:
    console, coefficients = Console(highlight=False), rule.coefficients
    console.print(
        f"[bold]{base.name}[/bold] by the rule {rule.name} (alpha={coefficients.alpha:.4g}, "
        f"beta={coefficients.beta:.4g}, gamma={coefficients.gamma:.4g}) at its published variants' FLOPs"
    )
    table = plain_table(
        *("network", "FLOPs", "share", "params", "act.", "side", "repeats", "stem, widths, head"),
        left=("network",),
        fold=("repeats", "stem, widths, head"),
    )
    for variant, attempt in pairs:
        table.add_row(variant.name, *_published_cells(variant, ""), style="bold")
        made = attempt.made
        if made is None:
            table.add_row(f"  {attempt.reason}")
        else:
            share = "" if made.share is None else percent(made.share)
            table.add_row(f"  phi = {made.phi:.3f}", *_published_cells(made.network, share))
    print_table(console, table)


def _published_cells(network: Network, share: str) -> list[str]:
    cost = network.cost()
    costs = short(cost.flops), share, short(cost.params), short(cost.activations)
    return [*costs, str(side(network)), *shape(network)]
