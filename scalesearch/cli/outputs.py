"""What a run leaves in its folder besides the record; all of it can be written again from the record."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalesearch import documents
from scalesearch.cli.provenance import versions
from scalesearch.cli.run_report import REPORT, facts_of, make_report, view_of
from scalesearch.search.report import parquet
from scalesearch.search.store import RECORD, RunStore, write_atomically

if TYPE_CHECKING:  # torch, Plotly and Optuna: reading a run's report needs none of them
    from scalesearch.dashboard.panels.context import Reference
    from scalesearch.dashboard.run_view import RunView
    from scalesearch.search.study import Definition

DASHBOARD = "dashboard.html"
Say = Callable[[str], None]


def write_outputs(
    definition: Definition,
    store: RunStore,
    references: Sequence[Reference],
    forms: Sequence[str],
    say: Say,
) -> dict[str, Any]:
    """Write trials, storage, best network in the forms asked for, report and dashboard; return the report."""
    folder, trials, facts = store.folder, store.finished, facts_of(definition)
    report = make_report(facts, trials, store.events, versions())
    (folder / "trials.parquet").write_bytes(parquet(trials))
    from scalesearch.search.storages.trials import write_optuna  # Optuna: reading a report needs none

    study = definition.study
    journal = folder / "optuna.journal"
    write_optuna(journal, study.name, definition.space, trials, study.objectives, definition.budget)
    if report["best"] is not None:
        from scalesearch.cli.best import WrittenRun, write_best  # torch
        from scalesearch.cli.final import final_result
        from scalesearch.handover.verify import CheckFailedError

        run = WrittenRun(folder, facts, definition.resolved["recipe"], trials)
        number = report["best"]["trial"]
        try:
            write_best(run, number, forms, say)
        except CheckFailedError as error:  # the search's result stands all the same
            report["failed_check"] = str(error)
        report["final"] = final_result(folder, number)
    _write_dashboard(folder, view_of(facts, trials, report, references), study.dashboard)
    write_atomically(folder / REPORT, json.dumps(report, indent=2) + "\n")
    return report


def stored_report(folder: Path) -> dict[str, Any] | None:
    """Return the report of a run whose outputs are complete and of its record as it is, or None.

    The report is written last; other commands write the page, too.
    """
    path = folder / REPORT
    if not path.is_file() or path.stat().st_mtime_ns < (folder / RECORD).stat().st_mtime_ns:
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def published_networks() -> list[Reference]:
    """Return the published networks with stated accuracy, at their published cost and resolution."""
    from scalesearch.dashboard.panels.context import Reference

    found = []
    for path in documents.names("network").values():
        for entry in documents.entries(path):
            published = entry.published
            if published is not None and published.top1:
                side, flops = next(iter(published.flops.items()))
                activations = replace(entry.network, resolution=side).cost().activations
                name = f"{entry.network.name} ({side} px)"
                found.append(Reference(name, flops, published.params, activations))
    for path in documents.names("references").values():
        points = documents.load_references(path)
        found += [Reference(f"{one.name} ({one.resolution} px)", one.flops, one.params) for one in points]
    return found


def _write_dashboard(folder: Path, view: RunView, layout: str) -> None:
    from scalesearch.dashboard.page import write_page
    from scalesearch.dashboard.run_page import run_content

    table = parquet(view.trials, documents=False)
    content = run_content(view, documents.load_layout(layout), documents.write_text, table)
    write_page(folder / DASHBOARD, content)
