"""What NETWORK, RUN:best and the like name: a network, with weights and facts where there are some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from scalesearch import documents
from scalesearch.architecture.document import from_document
from scalesearch.architecture.network import Network
from scalesearch.cli.folder import RunFolder
from scalesearch.cli.run_report import Facts
from scalesearch.errors import InputError
from scalesearch.handover.model import Model, is_model, read_model, read_statistics, read_weights
from scalesearch.search.records import TrialRecord
from scalesearch.search.selection import ranked
from scalesearch.search.store import RECORD

HELP = "A network's name or document, a model's folder, or a run's folder with :best, :TRIAL or :proxy."
BEST, PROXY = "best", "proxy"


class Run(Protocol):
    """What a candidate's model needs of a run."""

    @property
    def folder(self) -> Path:
        """Where its files are."""

    @property
    def facts(self) -> Facts:
        """What is known of its study."""

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Of its trainings, as a document."""

    @property
    def trials(self) -> Sequence[TrialRecord]:
        """The finished ones."""


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

    That is a published network (`efficientnet_b0`), a document, the folder of an exported model, the folder
    of a training (alone or with `:best` or `:last`), or a run's folder: alone or with `:best` for the network
    that it found, `:12` for the deployed network of candidate 12, and `:proxy` or `:12:proxy` for the small
    network that was trained in its place, with the weights that the run kept. Raises InputError.
    """
    path = Path(text)
    folder, part = _parted(text)
    if part and (folder / RECORD).is_file():
        return _of_run(folder, part)
    if (path / RECORD).is_file():
        return _of_run(path, BEST)
    for model in (path, path / BEST, folder / part):  # a model's folder, a training's, its :best or :last
        if is_model(model):
            return Target(read_model(model), f"the model in {model}")
    if path.is_dir():
        raise InputError(f"{path}: a folder that names a network is a run's or a model's, not this")
    if part:
        raise InputError(f"{folder}: :{part} asks for a candidate of a run, but this is no run's folder")
    return Target(Model(documents.load(text)), f"the document {text}")


def _parted(text: str) -> tuple[Path, str]:
    """Part a folder that there is, whatever its name, from what follows it and a colon."""
    for end in (index for index in range(len(text) - 1, 0, -1) if text[index] == ":"):
        if Path(text).exists():
            break
        if Path(text[:end]).is_dir():
            return Path(text[:end]), text[end + 1 :]
    return Path(text), ""


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
    best = not wanted or wanted[0] == BEST
    number = _best(run) if best else int(wanted[0])
    origin = f"the proxy of candidate {number} of {folder}" if proxy else f"candidate {number} of {folder}"
    return Target(candidate_model(run, number, best=best, proxy=proxy), origin)


def candidate_model(run: Run, number: int, *, best: bool, proxy: bool) -> Model:
    """Return a candidate's deployed network, without weights, or its proxy, with those that the run kept.

    `best` says that it is the run's best, for the network's name. InputError where it was never trained.
    """
    own = [trial for trial in run.trials if trial.number == number]
    if not own:
        raise InputError(f"{run.folder}: candidate {number} has no finished training in this run")
    trial = max(own, key=lambda t: (_weights(run, t) is not None, t.rung, t.role == "final"))
    title = run.folder.resolve().name
    name = (f"best_of_{title}" if best else f"{title}_{number}") + ("_proxy" if proxy else "")
    network = replace(from_document((trial.proxy if proxy else trial.deployed).document), name=name)
    return _model(run, trial, network, _weights(run, trial) if proxy else None)


def _best(run: RunFolder) -> int:
    """Return the number of the run's best candidate so far (D4)."""
    found = ranked(run.trials)
    if not found:
        raise InputError(f"{run.folder}: no candidate completed a training yet, so there is no best one")
    stated = run.report()["best"]
    return found[0].number if stated is None else int(stated["trial"])


def _weights(run: Run, trial: TrialRecord) -> Path | None:
    path = None if trial.outcome.checkpoint is None else run.folder / trial.outcome.checkpoint
    return path if path is not None and path.is_file() else None


def _model(run: Run, trial: TrialRecord, network: Network, weights: Path | None) -> Model:
    names = tuple(str(name) for name in run.facts.data["classes"])
    classes = names if len(names) == network.classes else None
    side = {} if run.facts.resolution is None else {"resolution": run.facts.resolution}
    data = dict(run.facts.data) | side
    found = {"run": run.folder.resolve().name, "candidate": trial.number, "data": data}
    if weights is None:
        return Model(network, None, classes, facts=found)
    mean, std = read_statistics(weights)
    facts = found | _training(run, trial)
    return Model(network, read_weights(weights, network), classes, mean, std, facts)


def _training(run: Run, trial: TrialRecord) -> dict[str, Any]:
    outcome = trial.outcome
    return {
        "recipe": dict(run.recipe),
        "resize": "area",  # how trainings of a search bring images to a network's side
        "seed": outcome.seed,
        "images": outcome.images,
        "accuracy": outcome.report_accuracy,
        "accuracy_images": run.facts.report_images,
        "accuracy_on": "the half of the validation images by which nothing was chosen",
    }
