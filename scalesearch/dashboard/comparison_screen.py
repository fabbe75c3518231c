"""The first screen over several runs: a table of what each found, how good, for how much, and the ties."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from scalesearch.dashboard.comparison import SideBySide
from scalesearch.dashboard.describe import counts_text, one_line, pattern_text, within_text
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import Best
from scalesearch.dashboard.theme import count_text, flops_text, percent_text, seconds_text
from scalesearch.search.selection import final_rung

COLUMNS = ("run", "what was found", "accuracy", "verdict", "cost", "trials", "time", "data")


def comparison_screen(comparison: SideBySide) -> str:
    """Return the table of the runs as HTML; every value from outside is escaped."""
    if not comparison.runs:
        return '<main><section class="card"><h2>No run is given</h2></section></main>'
    said = verdicts(comparison)
    rows = [_row(place, run, said[place]) for place, run in enumerate(comparison.runs)]
    heads = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    table = f'<table class="runs"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    words = (
        "Accuracies are those of the proxies on validation images by which nothing was chosen. A tie: the "
        f"intervals overlap. {_careful(comparison)}"
    )
    inner = f'<h2>What was found</h2>{table}<p class="quiet">{words}</p>'
    return f'<main><section class="card">{inner}</section></main>'


def _careful(comparison: SideBySide) -> str:
    if len(comparison.groups) == 1:
        return ""
    return f"Runs are not all comparable: they differ in {', '.join(comparison.reasons)}."


def verdicts(comparison: SideBySide) -> list[str]:
    """Return for each run how its best stands to the others that it is comparable with, in words.

    Comparable are the bests of a group that are of one level and were trained for the same length.
    """
    found = ["nothing yet"] * len(comparison.runs)
    for group in comparison.groups:
        tasks: dict[tuple[float, int], list[tuple[int, Best]]] = {}
        for place in group:
            run = comparison.runs[place]
            if run.summary.best is not None:
                task = (run.summary.best.trial.level, final_rung(run.trials))
                tasks.setdefault(task, []).append((place, run.summary.best))
        for rivals in tasks.values():
            for place, best in rivals:
                found[place] = _verdict(place, best, rivals, len(comparison.runs))
    return found


def _verdict(place: int, best: Best, rivals: Sequence[tuple[int, Best]], runs: int) -> str:
    if len(rivals) == 1:
        return "the only run" if runs == 1 else "not comparable with the others"
    ties = [f"{other + 1}" for other, rival in rivals if other != place and _overlap(best, rival)]
    leader, first = max(rivals, key=lambda rival: (rival[1].accuracy, -rival[0]))
    among = "" if len(rivals) == runs else f" of {_listed([f'{other + 1}' for other, _ in rivals])}"
    below = f"{100 * (first.accuracy - best.accuracy):.1f} points below {leader + 1}"
    standing = f"highest{among}" if leader == place else below
    return f"{standing}, tie with {_listed(ties)}" if ties else standing


def _overlap(one: Best, other: Best) -> bool:
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _row(place: int, run: RunView, verdict: str) -> str:
    summary, best = run.summary, run.summary.best
    head = f'<th scope="row">{place + 1}: {escape(one_line(run.title, 80))}</th>'
    cells = [*_best_cells(best), verdict, *_run_cells(run)]
    if best is None:
        cells[0] = f"nothing yet, asked for {within_text(summary.budget, summary.limits)}"
    order = (cells[0], cells[1], cells[3], cells[2], *cells[4:])
    named = zip(COLUMNS[1:], order, strict=True)
    data = "".join(f'<td data-label="{name}">{cell}</td>' for name, cell in named)
    return f"<tr>{head}{data}</tr>"


def _best_cells(best: Best | None) -> tuple[str, str, str]:
    """Return what was found, its accuracy, and its cost."""
    if best is None:
        return "", "none", "none"
    deployed = best.trial.deployed
    low, high = best.interval
    trainings = "1 training" if best.seeds == 1 else f"{best.seeds} trainings"
    return (
        f'{escape(pattern_text(deployed.document))} <span class="quiet">(trial {best.trial.number})</span>',
        f"<b>{percent_text(best.accuracy)}</b> {percent_text(low)} to {percent_text(high)} (95 %), "
        f"{trainings}",
        f"<b>{flops_text(deployed.flops)}</b> {count_text(deployed.params)} params, "
        f"{count_text(deployed.activations)} activations",
    )


def _run_cells(run: RunView) -> tuple[str, str, str]:
    summary = run.summary
    state = f'<br><span class="quiet">{escape(one_line(summary.state, 90))}</span>' if summary.state else ""
    data = f"{escape(one_line(summary.data, 40))} ({escape(one_line(summary.fingerprint)[:8])})"
    return (
        escape(counts_text(summary.counts)),
        f"{seconds_text(summary.seconds) if summary.seconds else 'not known'}{state}",
        f"{data}, {summary.train_images:,} images",
    )
