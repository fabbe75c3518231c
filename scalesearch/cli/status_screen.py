"""The first screen of a run for a terminal: what was found, how good, what it costs, how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scalesearch.cli.folder import RunFolder
from scalesearch.cli.words import count_text, evidence_lines, listed
from scalesearch.dashboard.describe import (
    STAGE_COLUMNS,
    belonging,
    cost_text,
    counts_text,
    failure_reasons,
    nothing_yet,
    one_line,
    pattern_text,
    resolution_text,
    stage_rows,
    within_text,
)
from scalesearch.dashboard.summary import Best, Summary
from scalesearch.dashboard.theme import count_text as short_count
from scalesearch.dashboard.theme import flops_text, percent_text, seconds_text

GAUGE, LABEL = 24, 16  # columns

Row = tuple[str, str | Text]


def to_json(folder: RunFolder) -> dict[str, Any]:
    """Return what `status --json` prints; its keys are stable. `report` is as in report.json.

    `running` is null where the process is on another machine; `running_seconds` are those of this call.
    """
    holder = folder.holder
    under_way = folder.under_way()
    return {
        "schema": 1,
        "run": str(folder.folder),
        "running": folder.running,
        "running_seconds": folder.running_seconds,
        "process": holder.process if holder is not None else None,
        "host": holder.host if holder is not None else None,
        "without_result": [
            {"trial": one.number, "rung": one.rung, "images": one.images} for one in under_way
        ],
        "failures": [{"reason": reason, "count": count} for reason, count in failure_reasons(folder.trials)],
        "report": folder.report(),
    }


def screen(folder: RunFolder) -> RenderableType:
    """Return the first screen; every text of it is plain, so that no name can be markup."""
    report = folder.report()
    summary = folder.summary()
    heading = Text(one_line(folder.facts.title, 160), style="bold")
    parts: list[RenderableType] = [heading, Text(one_line(summary.state, 160))]
    if report["notice"] is not None:
        parts.append(Text(one_line(report["notice"], 300), style="bold yellow"))
    parts.append(Text())
    if summary.best is not None:
        parts += [_grid(_network(summary.best)), _stages(summary.best.trial.deployed.document)]
    return Group(*parts, _grid(_rows(folder, summary, report)))


def _grid(rows: Iterable[Row]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold", width=LABEL)
    table.add_column(overflow="fold")
    for name, content in rows:
        table.add_row(Text(name), Text(content) if isinstance(content, str) else content)
    return table


def _rows(folder: RunFolder, summary: Summary, report: dict[str, Any]) -> Iterator[Row]:
    if summary.best is None:
        yield from _nothing_found(folder, summary)
    else:
        yield from _found(summary, summary.best, report)
    yield "On which data", _data(summary)
    yield "Trials", _trials(folder, summary)
    yield from _failures(folder)


def _nothing_found(folder: RunFolder, summary: Summary) -> Iterator[Row]:
    nothing_fits = summary.exhausted and not folder.trials
    words = "No candidate could be fitted to the limits." if nothing_fits else nothing_yet(folder.trials)
    asked = f"Asked for: the best network within {within_text(summary.budget, summary.limits)}."
    yield "What was found", f"{words}\n{asked}"


def _found(summary: Summary, best: Best, report: dict[str, Any]) -> Iterator[Row]:
    yield "How good it is", _accuracy(best)
    yield "What it costs", _cost(summary, best)
    yield "How sure that is", _certainty(best, report)


def _network(best: Best) -> Iterator[Row]:
    document = best.trial.deployed.document
    about = (
        f"{one_line(document['name'])}, trial {best.trial.number}, "
        f"input {resolution_text(document['resolution'])}, {best.classes:,} classes"
    )
    yield "What was found", f"{pattern_text(document)}\n{about}"


def _stages(document: dict[str, Any]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 0, 0, 1))
    table.add_column("")
    table.add_column("operator")
    for name in STAGE_COLUMNS:
        table.add_column(name, justify="right")
    for row in stage_rows(document):
        table.add_row(*map(Text, (row.place, row.operator, *row.cells)))
    return table


def _accuracy(best: Best) -> Text:
    low, high = best.interval
    return Text.assemble(
        (percent_text(best.accuracy), "bold"),
        f"  {percent_text(low)} to {percent_text(high)} (95 %), n = {count_text(best.seeds, 'training')}\n",
        (belonging(best.trial), "dim"),
    )


def _cost(summary: Summary, best: Best) -> Text:
    deployed = best.trial.deployed
    limit = summary.limits.get(deployed.binding, summary.budget)
    share = getattr(deployed, deployed.binding) / limit
    filled = round(GAUGE * min(1.0, share))
    of = "the budget" if deployed.binding == "flops" else "the limit that binds"
    return Text.assemble(
        (flops_text(deployed.flops), "bold"),
        f"  {short_count(deployed.params)} params, {short_count(deployed.activations)} activations\n",
        ("█" * filled, "green"),
        ("░" * (GAUGE - filled), "dim"),
        f" {percent_text(share)} of {of}, {cost_text(deployed.binding, limit)}",
    )


def _certainty(best: Best, report: dict[str, Any]) -> str:
    if best.seeds < 2:
        said = "trained once: its own spread between seeds is not known, only the usual one"
    elif report["best"]["ties"]:
        trials = listed([str(number) for number in report["best"]["ties"]])
        said = f"{best.ties} tie{'s' if best.ties > 1 else ''} inside the interval: trial {trials}"
    else:
        said = "no other candidate that was trained again lies inside the interval"
    return "\n".join([said, *(one_line(line, 200) for line in evidence_lines(report["evidence"]))])


def _data(summary: Summary) -> str:
    return (
        f"{one_line(summary.data)}: {summary.train_images:,} images to train on, "
        f"{summary.val_images:,} to validate; the test images took no part"
    )


def _trials(folder: RunFolder, summary: Summary) -> str:
    searched = f"; {seconds_text(summary.seconds)} of searching" if summary.seconds else ""
    lines = [f"{counts_text(summary.counts)}{searched}"]
    left = folder.under_way()
    if left and folder.running is not False:
        shown = [f"trial {one.number} on {one.images:,} images" for one in left[:4]]
        more = [f"{len(left) - 4} more"] if len(left) > 4 else []
        lines.append(f"{count_text(len(left), 'training')} under way: {listed(shown + more)}")
    elif left:
        lines.append(f"{count_text(len(left), 'training')} left to do")
    return "\n".join(lines)


def _failures(folder: RunFolder) -> Iterator[Row]:
    reasons = failure_reasons(folder.trials)
    if reasons:
        yield "Failed", "\n".join(f"{count} × {reason}" for reason, count in reasons[:5])
