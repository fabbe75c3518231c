"""What a run hands over: its best network in every form, and the proxy that was trained in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scalesearch.cli.run_report import Facts
from scalesearch.cli.target import PROXY, candidate_model
from scalesearch.handover.export import CARD, COST, ONNX, PROGRAM, REPORT, SOURCE, TIMM, write_forms
from scalesearch.handover.model import Model, is_model, read_model, write_model
from scalesearch.search.records import TrialRecord

FOLDER, FINAL = "best", "final"
FILES = {"network": SOURCE, "program": PROGRAM, "onnx": ONNX, "timm": TIMM, "cost": COST, "card": CARD}


@dataclass(frozen=True)
class WrittenRun:
    """A run whose files are being written; see `target.Run`."""

    folder: Path
    facts: Facts
    recipe: Mapping[str, Any]
    trials: Sequence[TrialRecord]


def write_best(run: WrittenRun, number: int, forms: Sequence[str], say: Callable[[str], None]) -> None:
    """Write the deployed network of candidate `number` to best/, and its proxy to best/proxy/.

    The deployed network has the weights of its own training where there was one (`final/NUMBER`), else it is
    exported untrained. What is there already, of the same network and weights, is not made again.
    Raises verify.CheckFailedError where a form does not agree with the network.
    """
    folder = run.folder / FOLDER
    write_model(folder / PROXY, candidate_model(run, number, best=True, proxy=True))
    model = deployed(run, number)
    if not _made(folder, model, forms):
        say(f"exporting {folder}: {', '.join(forms)}")
        _clear(folder)
        write_forms(model, folder, forms=forms)


def deployed(run: WrittenRun, number: int) -> Model:
    """Return the candidate's deployed network, trained if it has been."""
    found = candidate_model(run, number, best=True, proxy=False)
    trained = final_folder(run.folder, number) / FOLDER
    return read_model(trained) if is_model(trained) else found


def final_folder(folder: Path, number: int) -> Path:
    """Return where the full training of a candidate's deployed network lies."""
    return folder / FINAL / str(number)


def _made(folder: Path, model: Model, forms: Sequence[str]) -> bool:
    """Return whether the folder holds this model in these forms, made by this version of torch."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        stored = read_model(folder)
    except Exception:  # whatever is wrong with it: it is made again
        return False
    facts = json.loads(json.dumps(dict(model.facts)))
    same = (stored.network, stored.classes, stored.facts) == (model.network, model.classes, facts)
    answered = {*report["files"], *report["left_out"]}
    return same and report["torch"] == torch.__version__ and {FILES[form] for form in forms} <= answered


def _clear(folder: Path) -> None:
    """Remove what an earlier export left, its report first."""
    try:
        files = json.loads((folder / REPORT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return
    for name in (REPORT, *files):
        (folder / Path(name).name).unlink(missing_ok=True)
