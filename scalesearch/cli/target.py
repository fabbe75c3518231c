"""What NETWORK, RUN:best and the like name: a network, with weights and facts where there are some."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch import documents
from scalesearch.architecture.document import from_document
from scalesearch.architecture.network import Network
from scalesearch.cli.folder import RunFolder
from scalesearch.errors import InputError
from scalesearch.handover.model import Model, is_model, read_model, read_statistics, read_weights
from scalesearch.search.records import TrialRecord
from scalesearch.search.selection import ranked
from scalesearch.search.store import RECORD

HELP = "A network's name or document, a model's folder, or a run's folder with :best, :TRIAL or :proxy."
BEST, PROXY = "best", "proxy"


@dataclass(frozen=True)
class Target:
    """A network that a command was given.

    Attributes:
        model: the network with its weights, if it has any.
        origin: where it comes from, in words.
    """

    model: Model
    origin: str

    @property
    def network(self) -> Network:
        """The model's network."""
        return self.model.network


def resolve(text: str) -> Target:
    """Return what a command's NETWORK argument names.

    That is a published network (`efficientnet_b0`), a document, the folder of a trained or exported model,
    or a run's folder: alone or with `:best` for the network that it found, `:12` for the deployed network of
    candidate 12, and `:proxy` or `:12:proxy` for the small network that was trained in its place, with the
    weights that the run kept. Raises InputError.
    """
    folder, _, part = text.partition(":")
    if not Path(text).exists() and part and (Path(folder) / RECORD).is_file():
        return _of_run(Path(folder), part)
    path = Path(text)
    if (path / RECORD).is_file():
        return _of_run(path, BEST)
    if is_model(path):
        return Target(read_model(path), f"the model in {path}")
    if path.is_dir():
        raise InputError(f"{path}: a folder that names a network is a run's or a model's, not this")
    if part and Path(folder).is_dir():
        raise InputError(f"{folder}: :{part} asks for a candidate of a run, but this is no run's folder")
    return Target(Model(documents.load(text)), f"the document {text}")


def _of_run(folder: Path, part: str) -> Target:
    names = part.split(":")
    proxy = names[-1] == PROXY
    wanted = names[:-1] if proxy else names
    if len(wanted) > 1 or (wanted and wanted[0] != BEST and not wanted[0].isdecimal()):
        raise InputError(
            f"{folder}: after a run's folder comes :{BEST}, a candidate's number, or these and :{PROXY}, "
            f"but got :{part}"
        )
    run = RunFolder(folder)
    number = int(wanted[0]) if wanted and wanted[0] != BEST else _best(run)
    trial = _trial(run, number)
    found = Target(_model(run, trial, proxy), f"candidate {number} of {folder}")
    return replace(found, origin=f"the proxy of {found.origin}") if proxy else found


def _best(run: RunFolder) -> int:
    """Return the number of the run's best candidate so far (D4)."""
    found = ranked(run.trials)
    if not found:
        raise InputError(f"{run.folder}: no candidate completed a training yet, so there is no best one")
    stated = run.report()["best"]
    return found[0].number if stated is None else int(stated["trial"])


def _trial(run: RunFolder, number: int) -> TrialRecord:
    """Return a candidate's longest training, with weights if one has them."""
    own = [trial for trial in run.trials if trial.number == number]
    if not own:
        raise InputError(f"{run.folder}: candidate {number} has no finished training in this run")
    return max(own, key=lambda t: (_weights(run, t) is not None, t.rung, t.role == "final"))


def _weights(run: RunFolder, trial: TrialRecord) -> Path | None:
    path = None if trial.outcome.checkpoint is None else run.folder / trial.outcome.checkpoint
    return path if path is not None and path.is_file() else None


def _model(run: RunFolder, trial: TrialRecord, proxy: bool) -> Model:
    member = trial.proxy if proxy else trial.deployed
    name = f"{run.folder.resolve().name}_{trial.number}" + ("_proxy" if proxy else "")
    network = replace(from_document(member.document), name=name)
    classes = _classes(run, network)
    weights = _weights(run, trial) if proxy else None
    if weights is None:
        return Model(network, None, classes, facts=_facts(run, trial))
    mean, std = read_statistics(weights)
    facts = _facts(run, trial) | _training(run, trial)
    return Model(network, read_weights(weights, network), classes, mean, std, facts)


def _classes(run: RunFolder, network: Network) -> tuple[str, ...] | None:
    names = tuple(str(name) for name in run.facts.data["classes"])
    return names if len(names) == network.classes else None


def _facts(run: RunFolder, trial: TrialRecord) -> dict[str, Any]:
    return {"run": run.folder.resolve().name, "candidate": trial.number, "data": dict(run.facts.data)}


def _training(run: RunFolder, trial: TrialRecord) -> dict[str, Any]:
    outcome = trial.outcome
    return {
        "recipe": dict(run.recipe),
        "seed": outcome.seed,
        "images": outcome.images,
        "accuracy": outcome.report_accuracy,
        "accuracy_images": run.facts.report_images,
        "accuracy_on": "the half of the validation images by which nothing was chosen",
    }
