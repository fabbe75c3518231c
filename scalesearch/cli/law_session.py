"""One call of `law`: families resolved, members of many sizes trained, and the law of each fitted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesearch.architecture.document import to_document
from scalesearch.cli.coefficients_session import check_image_network
from scalesearch.cli.law_report import make_report
from scalesearch.cli.survey_session import TABLE, Call, Ground, MakeEngine, SurveySession, finished_of
from scalesearch.cli.words import count_text
from scalesearch.errors import InputError
from scalesearch.search.drawing import Drawn
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.members import Family, Member, check_sizes, default_range, members, sizes_between
from scalesearch.search.store import write_atomically
from scalesearch.search.study import digest
from scalesearch.search.survey import SurveyTable, plan
from scalesearch.search.survey_document import Block

REPORT = "law.json"


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        budget: multiply-accumulates at which the laws are read, or None.
        low, high: costs of the smallest and the largest member, or None for the recipe's.
        images: training images of each. seeds: trainings of each.
    """

    families: tuple[Family, ...]
    budget: float | None
    sizes: int
    low: float | None
    high: float | None
    seeds: int
    images: int


class LawSession(SurveySession):
    """Trains members of families and fits the law of each."""

    def __init__(self, request: Request, call: Call, engine: MakeEngine = LocalEngine) -> None:
        super().__init__(call, engine=engine)
        self.request = request
        for family in request.families:
            check_image_network(family.candidate.base)

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Train the members and fit the laws; return the report and the exit code."""
        ground, request = self._open(), self.request
        found = self._members(ground)
        blocks = (Block(request.images, len(found), tuple(range(request.seeds))),)
        planned = plan(blocks, [_drawn(one) for one in found], ground.origin)
        names = "-".join(family.name for family in request.families)
        folder = self._folder(f"law-{names}", self._key(found, ground))
        with SurveyTable(folder / TABLE, ground.origin) as table:
            self._announce(f"sizes of {names}", planned, table)
            ending = self._train(planned, table, ground, stop_requested)
            if ending == "stopped":
                left = self._say_stopped(planned, table)
                return {"schema": 1, "families": [], "left": left}, 130
            rows = finished_of(planned, table)
            report = make_report(request.families, found, rows, request.budget)
            report |= {"claim": self._claim(ground), "left": len(planned) - len(rows)}
            return self._conclude(report | self._about(ground, len(planned), rows), folder)

    def _members(self, ground: Ground) -> list[Member]:
        policy, request = self.recipe.proxy, self.request
        least, most = default_range(policy)
        low, high = request.low or least, request.high or most
        if low >= high:
            raise InputError(f"--from must be below --to, but got {low:,.0f} and {high:,.0f}")
        sizes = sizes_between(low, high, request.sizes)
        found: list[Member] = []
        for family in request.families:
            own = members(family, sizes, policy, len(ground.data.classes), ground.data.resolution)
            check_sizes(own)
            found += own
        return found

    def _key(self, found: Sequence[Member], ground: Ground) -> str:
        """Return the hash of what the trainings depend on; more seeds extend a folder."""
        networks = [to_document(one.fit.network) for one in found]
        return digest([networks, self.request.images, ground.origin.recipe, ground.origin.fingerprint])

    def _claim(self, ground: Ground) -> str:
        policy = self.recipe.proxy
        return (
            f"members have a total stride of at most {policy.total_stride} and resolutions up to "
            f"{ground.data.resolution} px; all are trained on {self.request.images:,} images, large ones on "
            f"no more than small ones, so this is the law of this schedule on {ground.data.name}"
        )

    def _about(self, ground: Ground, planned: int, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "images": self.request.images,
            "planned": planned,
            "machines": sorted({row["machine"] for row in rows}),
            "recipe": ground.origin.recipe,
        } | ground.described()

    def _conclude(self, report: dict[str, Any], folder: Path) -> tuple[dict[str, Any], int]:
        write_atomically(folder / REPORT, json.dumps(report, indent=1) + "\n")
        missing = [one for one in report["families"] if one["law"] is None]
        for one in missing:
            self._say(f"{one['name']}: no law yet: {one['missing']}")
        left = count_text(report["left"], "training")
        more = f"; {left} left: the same command continues" if report["left"] else ""
        self._say(f"report: {folder / REPORT}{more}")
        return report, int(len(missing) == len(report["families"]))


def _drawn(one: Member) -> Drawn:
    labels = {"family": one.family, "target": one.target, "phi": one.fit.phi, "clamped": one.fit.clamped}
    return Drawn(to_document(one.fit.network), labels)
