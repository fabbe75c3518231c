"""Several runs as figures: the fronts over each other, and the best so far against what was spent.

Runs share a picture where their accuracies are comparable; others have pictures of their own below.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scalesearch.dashboard.comparison import SPENT, Course, SideBySide, common_task, course, front
from scalesearch.dashboard.describe import label, level_text, one_line, rung_text
from scalesearch.dashboard.panels.pareto_data import ACTIVATIONS, FLOPS, PARAMS, Axis
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.theme import DASHES, PALETTE, SYMBOLS, empty_figure, figure, flops_text

FRONTS, BEST = "Fronts", "Best so far"
COSTS = (FLOPS, PARAMS, ACTIVATIONS)
AXES = {
    "trainings": "trainings of the search",
    "images": "training images, repeats counted (log)",
    "seconds": "seconds of training, summed over workers (log)",
}


def fronts(comparison: SideBySide) -> dict[str, go.Figure]:
    """Draw the fronts of all runs over each cost; the views of one panel."""
    return {axis.name: _fronts(comparison, axis) for axis in COSTS}


def _fronts(comparison: SideBySide, axis: Axis) -> go.Figure:
    found = [front(run, axis) for run in comparison.runs]
    if not any(found):
        return empty_figure(FRONTS, _nothing(comparison))
    words = (
        "The front of each run: what no other candidate of the run beats at the same cost or less, by the "
        "accuracy of its proxy at the first training length. " + _warning(comparison)
    )
    fig = _facets(comparison, FRONTS, words + _missing(comparison, [bool(points) for points in found]))
    for place, row in _placed(comparison):
        points = found[place]
        x, y = [point.cost for point in points], [point.accuracy for point in points]
        _add_run(fig, comparison, place, row, x, y, [point.trial.number for point in points])
    costs = [point.cost for points in found for point in points]
    _axes(fig, axis.title, len(comparison.groups), log=True, dense=max(costs) < 30 * min(costs))
    return fig


def best_so_far(comparison: SideBySide) -> dict[str, go.Figure]:
    """Draw the progress of all runs against what they spent; the views of one panel."""
    tasks = [common_task([comparison.runs[at] for at in group]) for group in comparison.groups]
    courses = [
        course(comparison.runs[place], task) if task is not None else Course((), (), {})
        for place, task in ((place, tasks[row - 1]) for place, row in _placed(comparison))
    ]
    return {name: _best(comparison, tasks, courses, name) for name in SPENT}


def _best(
    comparison: SideBySide,
    tasks: Sequence[tuple[float, int] | None],
    courses: Sequence[Course],
    spent: str,
) -> go.Figure:
    if not any(line.best for line in courses):
        return empty_figure(BEST, _nothing(comparison))
    words = (
        "The best accuracy that a proxy of the search had reached by then, at the highest level and training "
        "length that the compared runs have in common; random controls and re-trainings are left out"
    )
    words += ", and seconds depend on the machine. " if spent == "seconds" else ". "
    shown = [bool(line.best) for line in courses]
    fig = _facets(comparison, BEST, words + _warning(comparison) + _missing(comparison, shown), tasks)
    for place, row in _placed(comparison):
        line = courses[place]
        best = [*line.best, *line.best[-1:]]
        _add_run(fig, comparison, place, row, line.spent.get(spent, ()), best, line.numbers)
    _axes(fig, AXES[spent], len(comparison.groups), log=spent != "trainings")
    return fig


# What the pictures share


def _placed(comparison: SideBySide) -> list[tuple[int, int]]:
    """Return each run with the row of its group, counted from 1, in the order of the runs."""
    rows = {place: row for row, group in enumerate(comparison.groups, 1) for place in group}
    return [(place, rows[place]) for place in range(len(comparison.runs))]


def look(place: int) -> tuple[str, str, str]:
    """Return colour, symbol and dash of a run; no two of 12 share colour and symbol."""
    shifted = (place + place // len(PALETTE)) % len(SYMBOLS)
    return PALETTE[place % len(PALETTE)], SYMBOLS[shifted], DASHES[shifted]


def _nothing(comparison: SideBySide) -> str:
    return "No run is given." if not comparison.runs else "No run has a complete trial yet."


def _warning(comparison: SideBySide) -> str:
    """Say why there is more than one picture."""
    if len(comparison.groups) == 1:
        return ""
    differ = " and ".join([", ".join(comparison.reasons[:-1]), comparison.reasons[-1]])
    return (
        f"Careful: not all runs are comparable, since {differ.removeprefix(' and ')} differ. "
        "Accuracies are comparable within a picture only. "
    )


def _missing(comparison: SideBySide, shown: Sequence[bool]) -> str:
    names = [
        label(run.title, 40) for run, is_shown in zip(comparison.runs, shown, strict=True) if not is_shown
    ]
    return f"Without a line, since nothing there can be compared yet: {', '.join(names)}." if names else ""


def _facets(
    comparison: SideBySide, title: str, words: str, tasks: Sequence[tuple[float, int] | None] = ()
) -> go.Figure:
    rows = len(comparison.groups)
    plain = figure(title, words.strip(), height=150 + 300 * rows + 22 * len(comparison.runs))
    names = [
        _facet_name(comparison.runs[group[0]], tasks[row] if tasks else None)
        for row, group in enumerate(comparison.groups)
    ]
    gap = min(0.9 / (rows - 1), 0.32 / rows) if rows > 1 else 0.0
    grid = make_subplots(rows, 1, vertical_spacing=gap, subplot_titles=names if rows > 1 or tasks else None)
    grid.update_layout(plain.layout)
    # The names stand left, and below the buttons of the picture.
    grid.update_annotations(font={"size": 12}, x=0, xanchor="left", align="left")
    return grid.update_layout(hovermode="closest", margin={"t": 76 if names else 36})


def _facet_name(run: RunView, task: tuple[float, int] | None) -> str:
    """Return in two lines what the runs of a picture have in common."""
    known = run.summary
    fingerprint = label(one_line(known.fingerprint)[:8])
    data = f"{label(known.data, 24)} ({fingerprint}), budget {flops_text(known.budget)}"
    rungs = run.context.rungs
    if task is None:
        lengths = " / ".join(f"{images:,}" for images in rungs[:4])
        return data + (f"<br>trained on {lengths} images" if rungs else "")
    level, rung = task
    length = f"{rungs[rung]:,} images" if rung < len(rungs) else rung_text(rung)
    return f"{data}<br>{level_text(level, known.budget)}, {length}"


def _add_run(
    fig: go.Figure,
    comparison: SideBySide,
    place: int,
    row: int,
    x: Sequence[float],
    y: Sequence[float],
    numbers: Sequence[int],
) -> None:
    """Draw a run's line; a last point after those of `numbers` only carries the line on to the end."""
    colour, symbol, dash = look(place)
    sizes = [10 if at < len(numbers) else 0 for at in range(len(x))]
    fig.add_scatter(
        x=x,
        y=y,
        mode="lines+markers",
        line={"shape": "hv", "color": colour, "dash": dash, "width": 2.5},
        marker={"symbol": symbol, "size": sizes, "color": colour, "line": {"color": "white", "width": 1}},
        customdata=[f"{place}:{number}" for number in (*numbers, *numbers[-1:])][: len(x)],
        hoverinfo="none",
        name=f"{place + 1}: {label(comparison.runs[place].title, 40)}",
        showlegend=bool(x),
        row=row,
        col=1,
    )


def _axes(fig: go.Figure, name: str, rows: int, *, log: bool, dense: bool = False) -> None:
    fig.update_xaxes(tickformat="~s", **({"type": "log", "dtick": "D2" if dense else 1} if log else {}))
    if not log:
        fig.update_xaxes(rangemode="tozero")
    fig.update_xaxes(title={"text": name}, row=rows, col=1)
    fig.update_yaxes(title={"text": "proxy's accuracy"}, tickformat=".1~%", nticks=6)
    for row in range(1, rows + 1):
        values = [value for trace in fig.select_traces(row=row, col=1) for value in trace.y]
        # A picture with a single accuracy would else reach below 0 and above 1.
        pad = max(0.005, 0.08 * (max(values, default=1) - min(values, default=0)))
        fig.update_yaxes(range=[min(values, default=0) - pad, max(values, default=1) + pad], row=row, col=1)
