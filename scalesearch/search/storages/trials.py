"""Trials in Optuna's form: a study of a run's candidates for tools that read Optuna's storages.

The first trainings of candidates are comparable and stand for them. Values are the figures of the objectives
in their own units; a trial without them stands as failed.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from scalesearch.architecture.domains import Domain
from scalesearch.architecture.space import SearchSpace
from scalesearch.search.objectives import OBJECTIVES, directions, measured
from scalesearch.search.records import TrialRecord
from scalesearch.search.samplers import distribution


def stands_for_its_candidate(t: TrialRecord) -> bool:
    """Return whether a trial is the first training of a candidate."""
    return t.role == "search" and t.rung == 0


def open_study(storage: BaseStorage, name: str, objectives: Sequence[str]) -> Study:
    """Create the study in a storage, or load it; objectives are by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sought = directions(objectives)
        study = optuna.create_study(storage=storage, study_name=name, directions=sought, load_if_exists=True)
        study.set_metric_names([OBJECTIVES[objective].name for objective in objectives])
    return study


def write_optuna(
    path: Path,
    name: str,
    space: SearchSpace,
    trials: Iterable[TrialRecord],
    objectives: Sequence[str],
    budget: float,
) -> None:
    """Write the candidates as an Optuna journal."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = JournalStorage(JournalFileBackend(str(partial)))
    study = open_study(storage, name, objectives)
    first = filter(stands_for_its_candidate, trials)
    study.add_trials([frozen(space, t, measured(objectives, t, budget)) for t in first])
    partial.replace(path)


def frozen(space: SearchSpace, t: TrialRecord, values: list[float] | None) -> FrozenTrial:
    """Return a trial as Optuna keeps it; `trial` is its number in the run, Optuna counts by their ends."""
    distributions: dict[str, BaseDistribution] = {}

    def suggest(name: str, domain: Domain) -> Any:
        distributions[name] = distribution(domain)
        return t.params[name]

    space.draw(suggest)
    trial = create_trial(
        state=TrialState.FAIL if values is None else TrialState.COMPLETE,
        values=values,
        params=t.params,
        distributions=distributions,
        user_attrs={
            "accuracy": t.outcome.val_accuracy,
            "pattern": t.pattern,
            "reason": t.outcome.reason,
            **mark(t),
        },
    )
    trial.datetime_start = datetime.fromtimestamp(t.started)
    trial.datetime_complete = datetime.fromtimestamp(t.finished)
    return trial


def mark(t: TrialRecord) -> dict[str, Any]:
    """Return what tells a trial from every other of any run: its number, and when it ended to the bit."""
    return {"trial": t.number, "ended": t.finished}
