"""Families that `law` is asked about: a network's, a trial's of a run, or one that `coefficients` found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scalesearch import documents
from scalesearch.architecture.document import from_document
from scalesearch.architecture.scaling import Coefficients
from scalesearch.architecture.space import Candidate
from scalesearch.cli.coefficients_session import REPORT
from scalesearch.cli.folder import read_json
from scalesearch.errors import InputError
from scalesearch.search.members import Family
from scalesearch.search.samplers import replay
from scalesearch.search.selection import ranked
from scalesearch.search.store import STUDY, load_trials


def of_network(name: str) -> Family:
    """Return the family that grows from a network as EfficientNet grows."""
    network = documents.load(name)
    return Family(network.name, Candidate(network, Coefficients()), "EfficientNet's coefficients")


def of_run(text: str) -> Family:
    """Return the family of RUN or RUN:TRIAL: a run's best or named trial, or what `coefficients` found.

    Raises InputError where the folder is none of them, or has no such trial.
    """
    folder, trial = _folder_and_trial(text)
    if (folder / REPORT).is_file():
        return _of_coefficients(folder)
    trials = [one for one in load_trials(folder) if one.role == "search"]
    chosen = ranked(trials)[:1] if trial is None else [one for one in trials if one.number == trial][:1]
    if not chosen:
        wanted = "no trial that completed" if trial is None else f"no trial {trial}"
        raise InputError(f"--run: {folder} has {wanted}")
    path = folder / STUDY
    document = documents.read(path)
    if not isinstance(document.get("space"), dict):
        raise InputError(f"{path}: a run folder's study document has a space, but this is another document")
    space = documents.space_from(document["space"], str(path))
    name = f"{folder.resolve().name}_trial{chosen[0].number}"
    return Family(
        name, space.draw(replay(chosen[0].params)), f"trial {chosen[0].number} of {folder.resolve().name}"
    )


def distinct(families: Iterable[Family]) -> tuple[Family, ...]:
    """Return the families; InputError where two have one name."""
    found: dict[str, Family] = {}
    for family in families:
        if family.name in found:
            raise InputError(f"a law compares different families, but {family.name} is given twice")
        found[family.name] = family
    return tuple(found.values())


def _folder_and_trial(text: str) -> tuple[Path, int | None]:
    folder, colon, trial = text.rpartition(":")
    if not colon or Path(text).is_dir():
        return Path(text), None
    if not trial.isdecimal():
        raise InputError(
            f"--run is a run folder, or one with a trial's number such as runs/a:3, got {text!r}"
        )
    return Path(folder), int(trial)


def _of_coefficients(folder: Path) -> Family:
    path = folder / REPORT
    report = read_json(path)
    if not report["coefficients"]:
        raise InputError(f"--run: {path} has no coefficients yet: {report['missing']}")
    found = Coefficients(*(value for value, *_ in report["coefficients"].values()))
    name = folder.resolve().name
    return Family(name, Candidate(from_document(report["document"]), found), f"coefficients found in {name}")
