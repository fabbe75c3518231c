"""One call of `trust`: networks drawn, trainings carried out, scores measured, the report written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scalesearch import documents
from scalesearch.architecture.space import SearchSpace
from scalesearch.cli.progress import DataProgress
from scalesearch.cli.survey_session import TABLE, Call, Ground, SurveySession, finished_of
from scalesearch.cli.trust_report import MISSING, Row, make_report, truths
from scalesearch.cli.trust_scores import Scored, ScoreTable
from scalesearch.search.drawing import Drawing, Drawn, draw, kept
from scalesearch.search.store import write_atomically
from scalesearch.search.study import digest
from scalesearch.search.survey import Planned, SurveyTable, plan
from scalesearch.search.survey_document import Survey
from scalesearch.training.data import DataSet
from scalesearch.training.process import prepare_process

NETWORKS, SCORES, REPORT = "networks.parquet", "scores.parquet", "trust.json"


class TrustSession(SurveySession):
    """Carries out a survey and compares what is known of its networks before their longest training."""

    def __init__(self, survey: Survey, call: Call) -> None:
        super().__init__(call, survey.recipe)
        self.survey = survey
        self.space = documents.load_space(survey.space)

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Carry out the survey and compare the signals; return the report and the exit code."""
        ground = self._open()
        data, origin = ground.data, ground.origin
        identity = _identity(self.survey, self.space, asdict(self.recipe.proxy), data)
        key = digest([identity, origin.recipe, data.fingerprint, asdict(self.survey)])
        folder = self._folder(f"trust-{self.survey.name}", key)
        with SurveyTable(folder / TABLE, origin) as table:
            planned = plan(self.survey.trainings, self._networks(folder, identity, data), origin)
            self._announce(f"survey {self.survey.name}", planned, table)
            ending = self._train(planned, table, ground, stop_requested)
            if ending == "stopped":
                return self._stopped(planned, table)
            finished = finished_of(planned, table)
            longest = max(block.images for block in self.survey.trainings)
            scored = self._scores(truths(finished, longest), folder, ground, stop_requested)
            if scored is None:
                return self._stopped(planned, table)
            report = self._report(finished, longest, scored, len(planned), ground)
            return self._conclude(report, folder)

    def _networks(self, folder: Path, identity: dict[str, Any], data: DataSet) -> list[Drawn]:
        survey = self.survey
        drawing = Drawing(
            self.space,
            self.recipe.proxy,
            survey.budget_flops,
            len(data.classes),
            data.resolution,
            survey.networks,
            survey.seed,
        )
        with DataProgress(self.console) as progress:
            return kept(folder / NETWORKS, identity, lambda: draw(drawing, progress))

    def _stopped(self, planned: Sequence[Planned], table: SurveyTable) -> tuple[dict[str, Any], int]:
        left = self._say_stopped(planned, table)
        return {"schema": 1, "survey": self.survey.name, "left": left, "signals": []}, 130

    def _scores(
        self,
        judged: Mapping[str, Sequence[Row]],
        folder: Path,
        ground: Ground,
        stop_requested: Callable[[], bool],
    ) -> dict[str, dict[str, Scored]] | None:
        prepare_process(1)  # seconds of one core, as trainings take where several run at once
        table = ScoreTable(folder / SCORES, ground.data, ground.device)
        networks = {name: rows[0]["network"] for name, rows in judged.items()}
        return table.of(networks, self.console, stop_requested)

    def _report(
        self,
        finished: Sequence[Row],
        longest: int,
        scored: Mapping[str, Mapping[str, Scored]],
        planned: int,
        ground: Ground,
    ) -> dict[str, Any]:
        return (
            make_report(finished, longest, scored)
            | {
                "survey": documents.plain(asdict(self.survey)),
                "planned": planned,
                "left": planned - len(finished),
                "machines": sorted({row["machine"] for row in finished}),
            }
            | ground.described()
        )

    def _conclude(self, report: dict[str, Any], folder: Path) -> tuple[dict[str, Any], int]:
        write_atomically(folder / REPORT, json.dumps(report, indent=1) + "\n")
        self._say(
            f"report: {folder / REPORT}"
            if report["signals"]
            else MISSING.format(n=report["truth"]["networks"])
        )
        return report, int(not report["signals"])


def _identity(survey: Survey, space: SearchSpace, policy: dict[str, Any], data: DataSet) -> dict[str, Any]:
    """Return all that the drawing of a survey's networks depends on, as plain data."""
    return {
        "space": documents.plain(space),
        "policy": policy,
        "budget_flops": survey.budget_flops,
        "classes": len(data.classes),
        "resolution": data.resolution,
        "networks": survey.networks,
        "seed": survey.seed,
    }
