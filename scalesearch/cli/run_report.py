"""What a run's report and page say, from its study and its record alone; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from scalesearch.cli.provenance import notice
from scalesearch.cli.words import limits_text
from scalesearch.dashboard.summary import summary_from_report
from scalesearch.search.evidence import evidence
from scalesearch.search.records import TrialRecord
from scalesearch.search.report import best_of, counts, finalists_of, plan_of
from scalesearch.search.trust import SeedNoise

if TYPE_CHECKING:  # Plotly and Optuna: reading a run's report needs neither
    from scalesearch.dashboard.panels.context import Context, Reference
    from scalesearch.dashboard.run_view import RunView
    from scalesearch.search.study import Definition

REPORT = "report.json"

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What a report says of a study besides its trials; the study document of a run folder holds it.

    Attributes:
        budget: the top level, in multiply-accumulates. budgets: all levels, the lowest first.
        limits: what bounds the deployed networks besides, by the name of the cost.
        rungs: training images at each rung. data: as report.json describes them.
        report_images: by how many images reported accuracies are judged.
        seed_noise: what the recipe knows of the spread between seeds.
        resolution: side of the data's images in pixels; None where an early version did not say it.
    """

    study: str
    budget: float
    budgets: tuple[float, ...]
    limits: Mapping[str, float]
    rungs: tuple[int, ...]
    data: Mapping[str, Any]
    report_images: int
    seed_noise: SeedNoise
    resolution: int | None = None

    @classmethod
    def of(
        cls,
        resolved: Mapping[str, Any],
        left_out: Mapping[str, int],
        report_images: int,
        resolution: int | None = None,
    ) -> Self:
        """Read a resolved study, as the command resolved it or as the run folder keeps it."""
        study, recipe, asked = resolved["study"], resolved["recipe"], resolved["budget_flops"]
        budgets = asked if isinstance(asked, list) else [asked * level for level in study["levels"]]
        return cls(
            study=study["name"],
            budget=max(budgets),
            budgets=tuple(sorted(set(budgets))),
            limits=dict(resolved.get("limits", {})),
            rungs=tuple(study["rungs"]),
            data=resolved["data"] | {"left_out": dict(left_out)},
            report_images=report_images,
            seed_noise=SeedNoise(recipe["seed_deviation"], recipe["seed_trainings"] - 1),
            resolution=resolution,
        )

    @property
    def title(self) -> str:
        """What a page of the run is called."""
        from scalesearch.dashboard.theme import flops_text

        return f"{self.study}: {flops_text(self.budget)}{limits_text(self.limits)} on {self.data['name']}"


def facts_of(definition: Definition) -> Facts:
    """Return the facts of a study that this command resolved."""
    return Facts.of(definition.resolved, definition.left_out, definition.report_images, definition.resolution)


def make_report(
    facts: Facts,
    trials: Sequence[TrialRecord],
    events: Iterable[Event],
    made_with: Mapping[str, str],
    *,
    running: bool = False,
) -> dict[str, Any]:
    """Return the content of report.json; its keys are stable, paths are relative to it.

    `events` are the record's, those that finish a trial may be left out. While a run is `running`, a
    candidate without a result is not interrupted. `made_with` are versions by library.
    """
    told = [event for event in events if event["event"] != "finished"]
    promoted = [event for event in told if event["event"] == "promoted"]
    ended = [event for event in told if event["event"] == "ended"]
    return {
        "schema": 1,
        "notice": notice(facts.data),
        "study": facts.study,
        "budget_flops": facts.budget,
        "budgets": list(facts.budgets),
        "limits": dict(facts.limits),
        "best": best_of(trials, facts.report_images, facts.seed_noise),
        "finalists": finalists_of(trials, facts.report_images, facts.seed_noise),
        "trials": counts(trials, 0 if running else _without_result(told, trials), _pruned(promoted)),
        "data": dict(facts.data),
        "rungs": list(facts.rungs),
        "plan": plan_of(trials),
        "evidence": evidence(trials, facts.rungs),
        "seconds": round(sum(event["seconds"] for event in ended), 1),
        "ended_by": ended[-1]["ending"] if ended else None,
        "machine": ended[-1]["machine"] if ended else None,
        "versions": dict(made_with),
    }


def _without_result(events: Iterable[Event], trials: Iterable[TrialRecord]) -> int:
    return len({e["number"] for e in events if e["event"] == "asked"} - {t.number for t in trials})


def _pruned(promoted: Sequence[Event]) -> int:
    """Count the candidates that were compared and not sent on."""
    compared = {(event["rung"], number) for event in promoted for number in event["among"]}
    return len(compared - {(event["rung"], event["number"]) for event in promoted})


def view_of(
    facts: Facts,
    trials: Sequence[TrialRecord],
    report: Mapping[str, Any],
    references: Sequence[Reference] = (),
    surveys: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunView:
    """Return a run as pages see it."""
    from scalesearch.dashboard.run_view import RunView

    return RunView(
        title=facts.title,
        trials=tuple(trials),
        context=_context(report, references, surveys or {}),
        summary=summary_from_report(report, trials),
        notice=report["notice"],
    )


def _context(
    report: Mapping[str, Any], references: Sequence[Reference], surveys: Mapping[str, Mapping[str, Any]]
) -> Context:
    from scalesearch.dashboard.panels.context import Context, Finalist

    finalists = tuple(
        Finalist(one["trial"], one["accuracy"], one["interval"][0], one["interval"][1], one["seeds"])
        for one in report["finalists"]
    )
    return Context(
        budget=report["budget_flops"],
        references=tuple(references),
        best=report["best"]["trial"] if report["best"] is not None else None,
        rungs=tuple(report["rungs"]),
        finalists=finalists,
        evidence=report["evidence"],
        surveys=surveys,
        limits=report["limits"],
    )
