"""What a run tells in the terminal: what is searched, and what was found or why nothing was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalesearch.training.calibration import Setting

COSTS = {
    "flops": "multiply-accumulates",
    "params": "parameters",
    "activations": "activations",
    "latency": "seconds of predicted latency",
}


def number(value: float) -> str:
    """Return a limit as it was meant: 5,000,000, or 0.5 below 1."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def listed(parts: Sequence[str], word: str = "and") -> str:
    """Return parts as in a sentence: a, b and c."""
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def limits_text(limits: Mapping[str, float]) -> str:
    """Return limits besides the budget: " and at most 5,000,000 parameters", or nothing."""
    parts = [f"{number(limit)} {COSTS[name]}" for name, limit in limits.items()]
    return f" and at most {listed(parts)}" if parts else ""


def budget_text(budgets: Sequence[float], limits: Mapping[str, float]) -> str:
    """Return what bounds the deployed networks of a search, for its announcement."""
    if len(budgets) > 1:
        bound, twice = f"budgets {listed([number(b) for b in budgets])}", "twice as many"
    else:
        bound, twice = f"budget {number(budgets[0])}", number(2 * budgets[0])
    network = "networks" if len(budgets) > 1 else "network"
    return (
        f"{bound} multiply-accumulates of the deployed {network} "
        f"(FLOPs as papers count them; {twice} at two operations each){limits_text(limits)}"
    )


def found_text(report: Mapping[str, Any], folder: Path) -> str:
    """Return the best network of a report in words."""
    best = report["best"]
    low, high = best["proxy_interval"]
    ties = f"; trials {', '.join(map(str, best['ties']))} are ties" if best["ties"] else ""
    costs = [_cost_text(report, name) for name in COSTS if best.get(name) is not None]
    return (
        f"best: trial {best['trial']}, {best['pattern']}\n"
        f"  deployed: {', '.join(costs)} at {best['resolution']} px\n"
        f"  its proxy: {best['proxy_accuracy']:.1%} validation accuracy "
        f"[{low:.1%}, {high:.1%}], n = {best['proxy_seeds']}{ties}\n{_final_text(report.get('final'))}"
        f"  {folder / best['network']}  {folder / 'dashboard.html'}"
    )


def _final_text(final: Mapping[str, Any] | None) -> str:
    """Return what the full training of the deployed network gave, in a line."""
    if final is None:
        return ""
    which = "test" if final["test"] is not None else "report"
    images = "test images" if which == "test" else "validation images that nothing was chosen by"
    low, high = final[which]["interval"]
    return (
        f"  trained itself for {final['epochs']} epochs: {final[which]['accuracy']:.1%} of "
        f"{final[which]['images']:,} {images} [{low:.1%}, {high:.1%}], n = 1\n"
    )


def _cost_text(report: Mapping[str, Any], name: str) -> str:
    best = report["best"]
    value = f"{best[name]:.3g}" if name == "latency" else f"{best[name]:,}"
    words = f"{value} {'FLOPs' if name == 'flops' else COSTS[name]}"
    if name != best["binding"]:
        return words
    if name == "flops":
        return f"{words} ({best[name] / report['budget_flops']:.1%} of the budget)"
    limit = report["limits"][name]
    return f"{words} ({best[name] / limit:.1%} of the limit of {number(limit)}, which binds)"


def exhausted_text(report: Mapping[str, Any], space: str, patience: int) -> str | None:
    """Return in words that a search ended because its space gives nothing new, or None where it did not."""
    if report["ended_by"] != "exhausted":
        return None
    if any(report["trials"].values()):
        return (
            f"the space {space} is exhausted: {patience} proposals in a row "
            "were networks that were trained before, or could not be fitted to the limits"
        )
    limits = {"flops": report["budget_flops"]} | report["limits"]
    words = listed([f"{number(limit)} {COSTS[name]}" for name, limit in limits.items()])
    together = "all limits together" if len(limits) > 1 else "the budget"
    return (
        f"no network of the space {space} was found within {together} ({words}): "
        f"{patience} candidates in a row are above even at their smallest"
    )


def evidence_lines(evidence: Mapping[str, Any]) -> list[str]:
    """Return what a run's own trials say of its result; nothing where there are too few."""
    said = [evidence[name]["text"] for name in ("control", "outlook") if evidence[name] is not None]
    return [*said, *(signal["text"] for signal in evidence["signals"])]


def count_text(count: int, thing: str) -> str:
    """Return a count with its noun: 1 training, 2 trainings."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def duration_text(seconds: float) -> str:
    """Return a duration as one would say it: 21 s, 8 min, 1 h 30 min."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def setting_text(setting: Setting) -> str:
    """Return how trainings share a machine: 2 trainings at once, 1 thread each."""
    return f"{count_text(setting.workers, 'training')} at once, {count_text(setting.threads, 'thread')} each"


def ratio_text(plan: Mapping[str, Any]) -> str:
    """Return how predicted seconds compared with actual ones."""
    low, high = plan["ratio_quartiles"]
    return (
        f"predicted against actual: trainings took {plan['ratio']:.2f} times the predicted seconds "
        f"(median of {plan['trainings']}, quartiles {low:.2f} to {high:.2f})"
    )
