"""What a run hands over: its best network in every form, and the proxy that was trained in its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from scalesearch.cli.folder import read_json
from scalesearch.cli.run_report import Facts
from scalesearch.cli.target import PROXY, candidate_model
from scalesearch.cli.train_session import METRICS
from scalesearch.errors import InputError
from scalesearch.handover.export import FILES, ONNX, REPORT, TIMM, write_forms
from scalesearch.handover.forms import onnx, timm
from scalesearch.handover.model import Model, is_model, read_model, write_model
from scalesearch.search.records import TrialRecord

FOLDER, FINAL = "best", "final"


@dataclass(frozen=True)
class WrittenRun:
    """A run whose files are being written; see `target.Run`."""

    folder: Path
    facts: Facts
    recipe: Mapping[str, Any]
    trials: Sequence[TrialRecord]


def write_best(run: WrittenRun, number: int, forms: Sequence[str], say: Callable[[str], None]) -> None:
    """Write the deployed network of candidate `number` to best/, and its proxy to best/proxy/.

    The deployed network has the weights of its own training where one is complete (`final/`), else it is
    exported untrained. What is there already, of the same network and weights, is not made again; a form that
    cannot be made is left out. Raises verify.CheckFailedError where the network itself cannot be handed over.
    """
    folder = run.folder / FOLDER
    write_model(folder / PROXY, candidate_model(run, number, best=True, proxy=True))
    model = deployed(run, number)
    if not _made(folder, model, forms):
        say(f"exporting {folder}: {', '.join(forms)}")
        _clear(folder)
        write_forms(model, folder, forms=forms, lenient=True)


def deployed(run: WrittenRun, number: int) -> Model:
    """Return the candidate's deployed network, trained if it has been."""
    trained = longest_final(run.folder, number)
    if trained is not None:
        return read_model(trained / FOLDER)
    return candidate_model(run, number, best=True, proxy=False)


def final_folder(folder: Path, number: int, epochs: int) -> Path:
    """Return where a full training of a candidate's deployed network lies."""
    return folder / FINAL / f"{number}-{epochs}"


def longest_final(folder: Path, number: int) -> Path | None:
    """Return the longest complete training of a candidate's deployed network."""
    found: dict[int, Path] = {}
    for path in (folder / FINAL).glob(f"{number}-*"):
        metrics = stored_metrics(path)
        if metrics is not None and metrics["status"] == "complete" and is_model(path / FOLDER):
            found[int(metrics["epochs"])] = path
    return found[max(found)] if found else None


def stored_metrics(folder: Path) -> dict[str, Any] | None:
    """Return what a full training reported; None where it has not ended."""
    path = folder / METRICS
    return read_json(path) if path.is_file() else None


def exported(folder: Path, forms: Sequence[str]) -> bool:
    """Return whether a run's best/ answers for these forms, made by this version of torch."""
    try:
        report = json.loads((folder / FOLDER / REPORT).read_text(encoding="utf-8"))
        answered = {*report["files"], *(file for file in report["left_out"] if not _installed_since(file))}
        return report["torch"] == torch.__version__ and {FILES[form] for form in forms} <= answered
    except (OSError, ValueError, KeyError, TypeError):  # whatever is wrong with it: it is made again
        return False


def _installed_since(file: str) -> bool:
    needed = {ONNX: onnx.NEEDS, TIMM: timm.NEEDS}.get(file, ())
    inexpressible = file == TIMM  # what timm cannot say it cannot say later either
    return not inexpressible and all(find_spec(name) is not None for name in needed)


def _made(folder: Path, model: Model, forms: Sequence[str]) -> bool:
    """Return whether the folder holds this model in these forms."""
    try:
        stored = read_model(folder)
    except InputError:
        return False
    facts = json.loads(json.dumps(dict(model.facts)))
    same = (stored.network, stored.classes, stored.facts) == (model.network, model.classes, facts)
    return same and exported(folder.parent, forms)


def _clear(folder: Path) -> None:
    """Remove what an earlier export left, its report first."""
    try:
        files = json.loads((folder / REPORT).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return
    for name in (REPORT, *files):
        (folder / Path(name).name).unlink(missing_ok=True)
