"""What the lines of a record must be: it may come from a stranger, or from a damaged disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from scalesearch.errors import InputError
from scalesearch.search.records import Member, TrialRecord

Count = Annotated[int, Field(ge=0, lt=2**31)]
Real = Annotated[float, Field(allow_inf_nan=False)]


class Asked(BaseModel, strict=True):
    """A candidate was proposed."""

    number: Count
    level: Real
    params: dict[str, Any]
    notes: dict[str, Any]


class Promoted(BaseModel, strict=True):
    """A candidate goes on to a longer training."""

    number: Count
    rung: Count
    among: list[Count]
    closing: bool


class Ended(BaseModel, strict=True):
    """A call ended."""

    ending: str
    seconds: Real
    machine: Any


_KINDS: dict[str, type[BaseModel]] = {"asked": Asked, "promoted": Promoted, "ended": Ended}


def fault_of_event(event: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an event other than those with a trial; None for kinds that are not known."""
    kind = _KINDS.get(event["event"])
    if kind is None:
        return None
    try:
        kind.model_validate(dict(event))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return f"{event['event']}.{place}: {first['msg'].lower()}"
    return None


def check_rungs(
    trials: Iterable[TrialRecord], events: Iterable[Mapping[str, Any]], rungs: int, where: Path
) -> None:
    """Raise InputError where a record has trainings on rungs that its study, of so many, has not."""
    of_trials = (trial.rung for trial in trials)
    decided = (event["rung"] for event in events if event["event"] == "promoted")
    highest = max(chain(of_trials, decided), default=0)
    if highest >= rungs:
        raise InputError(
            f"{where}: the study's rungs are 0 to {rungs - 1}, but the record has rung {highest}"
        )


def fault_of_trial(trial: TrialRecord) -> str | None:
    """Return what no training can have left in a trial of the right form."""
    return next(_faults(trial), None)


def _faults(trial: TrialRecord) -> Iterator[str]:
    outcome = trial.outcome
    scores = outcome.val_accuracy, outcome.val_loss, outcome.report_accuracy
    if trial.complete and None in scores[:2]:
        yield "outcome: a complete training has an accuracy and a loss"
    times = trial.level, trial.started, trial.finished, outcome.seconds, trial.predicted_seconds
    if not all(math.isfinite(value) for value in (*scores, *times) if value is not None):
        yield "its numbers must be finite"
    if min(trial.number, trial.rung, trial.worker, outcome.images) < 0 or trial.level <= 0:
        yield "number, rung, worker, images and level must not be negative"
    for value in (outcome.val_accuracy, outcome.report_accuracy):
        if value is not None and not 0 <= value <= 1:
            yield f"outcome: an accuracy is within 0 and 1, but got {value}"
    for member in (trial.deployed, trial.proxy):
        if not _described(member):
            yield "a network's document has a stem, stages with an operator each, and a head"


def _described(member: Member) -> bool:
    document = member.document
    stages = document.get("stages")
    return (
        isinstance(document.get("stem"), dict)
        and isinstance(document.get("head"), dict)
        and isinstance(stages, list)
        and bool(stages)
        and all(isinstance(stage, dict) and isinstance(stage.get("operator"), str) for stage in stages)
    )
