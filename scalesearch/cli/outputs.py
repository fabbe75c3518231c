"""What a run leaves in its folder besides the record; all of it can be written again from the record."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scalesearch import documents
from scalesearch.architecture.document import from_document, to_document
from scalesearch.cli.words import limits_text
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels.context import Reference
from scalesearch.dashboard.summary import summary_from_report
from scalesearch.search.evidence import evidence
from scalesearch.search.records import TrialRecord
from scalesearch.search.report import best_of, counts, frame, plan_of, write_optuna
from scalesearch.search.store import RunStore, write_atomically
from scalesearch.search.study import Definition

REPORT, DASHBOARD = "report.json", "dashboard.html"
DEMONSTRATION = (
    "demonstration data: {name} stands in for real photographs such as CIFAR-10, and nothing is claimed. "
    "Give real images with --data cifar10, or --data and a folder of class folders or Parquet files."
)


def versions() -> dict[str, str]:
    """Return what the numbers were made with."""
    packages = ("scalesearch", "torch", "torchvision", "optuna", "numpy")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}


def notice(data: dict[str, Any]) -> str | None:
    """Return the heading of results on stand-in data."""
    return DEMONSTRATION.format(name=data["name"]) if data["demonstration"] else None


def make_report(definition: Definition, store: RunStore) -> dict[str, Any]:
    """Return the content of report.json; its keys are stable, paths are relative to it."""
    trials = store.finished
    asked = {event["number"] for event in store.events if event["event"] == "asked"}
    promoted = [event for event in store.events if event["event"] == "promoted"]
    compared = {(event["rung"], number) for event in promoted for number in event["among"]}
    ended = [event for event in store.events if event["event"] == "ended"]
    data = definition.resolved["data"]
    return {
        "schema": 1,
        "notice": notice(data),
        "study": definition.study.name,
        "budget_flops": definition.budget,
        "budgets": sorted(set(definition.levels)),
        "limits": dict(definition.limits),
        "best": best_of(trials, definition.report_images, definition.seed_noise),
        "trials": counts(
            trials,
            interrupted=len(asked - {t.number for t in trials}),
            pruned=len(compared - {(event["rung"], event["number"]) for event in promoted}),
        ),
        "data": data | {"left_out": dict(definition.left_out)},
        "rungs": list(definition.study.rungs),
        "plan": plan_of(trials),
        "evidence": evidence(trials, definition.study.rungs),
        "seconds": round(sum(event["seconds"] for event in ended), 1),
        "ended_by": ended[-1]["ending"] if ended else None,
        "machine": ended[-1]["machine"] if ended else None,
        "versions": versions(),
    }


def write_outputs(definition: Definition, store: RunStore, references: Sequence[Reference]) -> dict[str, Any]:
    """Write trials, storage, best network, report and dashboard; return the report."""
    folder, trials = store.folder, store.finished
    report = make_report(definition, store)
    frame(trials).to_parquet(folder / "trials.parquet", index=False)
    study = definition.study
    journal = folder / "optuna.journal"
    write_optuna(journal, study.name, definition.space, trials, study.objectives, definition.budget)
    if report["best"] is not None:
        _write_best(folder, next(t for t in trials if t.number == report["best"]["trial"]), trials)
    write_atomically(folder / REPORT, json.dumps(report, indent=2) + "\n")
    _write_dashboard(definition, folder, trials, report, references)
    return report


def stored_report(folder: Path) -> dict[str, Any] | None:
    """Return the report of a run whose outputs are complete, or None: the dashboard is written last."""
    if not (folder / DASHBOARD).is_file():
        return None
    report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    return report


def _write_best(folder: Path, best: TrialRecord, trials: list[TrialRecord]) -> None:
    proxy = folder / "best" / "proxy"
    proxy.mkdir(parents=True, exist_ok=True)
    for target, member in ((folder / "best", best.deployed), (proxy, best.proxy)):
        name = f"best_of_{folder.name}" if target.name == "best" else f"best_of_{folder.name}_proxy"
        network = replace(from_document(member.document), name=name)
        write_atomically(target / "network.yaml", documents.write_text(to_document(network)))
    trained = [t for t in trials if t.number == best.number and t.outcome.checkpoint]
    longest = max(trained, key=lambda t: (t.rung, t.role == "final"), default=None)
    weights = folder / str(longest.outcome.checkpoint) if longest else None
    if weights is not None and weights.is_file():
        shutil.copyfile(weights, proxy / "weights.safetensors")


def published_networks() -> list[Reference]:
    """Return the published networks with stated accuracy, at their published cost and resolution."""
    found = []
    for path in documents.names("network").values():
        for entry in documents.entries(path):
            if entry.published is not None and entry.published.top1:
                side, flops = next(iter(entry.published.flops.items()))
                found.append(Reference(f"{entry.network.name} ({side} px)", flops))
    for path in documents.names("references").values():
        points = documents.load_references(path)
        found += [Reference(f"{point.name} ({point.resolution} px)", point.flops) for point in points]
    return found


def _write_dashboard(
    definition: Definition,
    folder: Path,
    trials: list[TrialRecord],
    report: dict[str, Any],
    references: Sequence[Reference],
) -> None:
    write_page(
        folder / DASHBOARD,
        trials,
        layout=documents.load_layout(definition.study.dashboard),
        title=_title(definition, report["data"]["name"]),
        summary=summary_from_report(report, trials),
        references=references,
        budget=definition.budget,
        notice=report["notice"],
    )


def _title(definition: Definition, data: str) -> str:
    limits = limits_text(definition.limits)
    return f"{definition.study.name}: {definition.budget:g} FLOPs{limits} on {data}"
