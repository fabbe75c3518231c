"""One call of `compare`: networks brought to one cost, trained alike, and judged when all are trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scalesearch.architecture.document import to_document
from scalesearch.cli.compare_entrants import Entrant, Terms, entrants
from scalesearch.cli.compare_judging import Judgement, part_of
from scalesearch.cli.compare_report import make_report
from scalesearch.cli.folder import read_json
from scalesearch.cli.survey_session import TABLE, Call, Ground, MakeEngine, SurveySession
from scalesearch.cli.words import count_text
from scalesearch.search.drawing import Drawn
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.samplers import derived_seed
from scalesearch.search.store import write_atomically
from scalesearch.search.study import digest
from scalesearch.search.survey import Ending, Planned, SurveyTable, plan
from scalesearch.search.survey_document import Block
from scalesearch.search.trust import SeedNoise

REPORT, JUDGED, WEIGHTS = "compare.json", "judged.parquet", "weights"
NO_TEST = (
    "{name} has no test part: accuracies are on the {images:,} report images of its validation part, "
    "by which nothing is chosen either"
)


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        named: the networks, the first being the one that the others are compared with.
        images: training images of each training. seeds: trainings of each network.
    """

    named: tuple[str, ...]
    images: int
    seeds: int
    recipe: str


def fresh_seeds(count: int) -> tuple[int, ...]:
    """Return seeds that no search draws: what a search found was chosen by how its own seeds went."""
    return tuple(derived_seed("compare", turn) for turn in range(count))


class CompareSession(SurveySession):
    """Trains networks of one cost with the same recipe, images and seeds, and compares them."""

    def __init__(self, request: Request, call: Call, engine: MakeEngine = LocalEngine) -> None:
        super().__init__(call, request.recipe, engine)
        self.request = request

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Train and judge what is not trained and judged yet; return the report and the exit code."""
        ground = self._open()
        found = self._entrants(ground)
        planned = self._plan(found, ground)
        folder = self._folder("compare", self._key(found, ground))
        with SurveyTable(folder / TABLE, ground.origin, weights=folder / WEIGHTS) as table:
            self._announce("comparison", planned, table)
            ending = self._train(planned, table, ground, stop_requested)
            if any(one.key not in table.keys for one in planned):
                return self._unfinished(ending, planned, table)
            return self._conclude(found, planned, table, ground)

    def _entrants(self, ground: Ground) -> list[Entrant]:
        data = ground.data
        found = entrants(self.request.named, Terms(self.recipe.proxy, len(data.classes), data.resolution))
        for one in found:
            if not one.in_band:
                self._say(f"{one.name} costs {one.share:.1%} of what the others may: not quite equal cost")
        if part_of(data) == "report":
            self._say(NO_TEST.format(name=data.name, images=len(data.report)))
        return found

    def _plan(self, found: Sequence[Entrant], ground: Ground) -> list[Planned]:
        """Return the trainings, seed by seed: whatever is trained first, all networks have it."""
        request = self.request
        networks = [Drawn(to_document(one.network), _labels(one)) for one in found]
        blocks = [Block(request.images, len(networks), fresh_seeds(request.seeds))]
        return plan(blocks, networks, ground.origin)

    def _key(self, found: Sequence[Entrant], ground: Ground) -> str:
        """Return the hash of what is compared; more seeds extend a folder."""
        documents = [to_document(one.network) for one in found]
        return digest([documents, self.request.images, ground.origin.recipe, ground.origin.fingerprint])

    def _unfinished(
        self, ending: Ending, planned: Sequence[Planned], table: SurveyTable
    ) -> tuple[dict[str, Any], int]:
        left = self._say_stopped(planned, table)
        self._say("nothing is judged before the last training has ended")
        return {"schema": 1, "left": left, "networks": []}, 130 if ending == "stopped" else 1

    def _conclude(
        self, found: Sequence[Entrant], planned: Sequence[Planned], table: SurveyTable, ground: Ground
    ) -> tuple[dict[str, Any], int]:
        path, keys = table.path.parent / REPORT, [one.key for one in planned]
        if (stored := _stored(path, keys)) is not None:
            self._say(f"this comparison is finished: {path}")
            return stored, _code(stored)
        judged = Judgement(table.path.parent / JUDGED, ground.data, ground.device).of(
            planned, table, self._say
        )
        known = SeedNoise(self.recipe.seed_deviation, self.recipe.seed_trainings - 1)
        own = [_rows_of(one, planned, table) for one in found]
        rows = [row for trainings in own for row in trainings]
        report = make_report(found, own, judged, known) | self._about(ground, keys, rows)
        write_atomically(path, json.dumps(report, indent=1) + "\n")
        failed = sum(row["status"] != "complete" for row in rows)
        lost = f"; {count_text(failed, 'training')} failed" if failed else ""
        self._say(f"report: {path}{lost}")
        return report, _code(report)

    def _about(self, ground: Ground, keys: list[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        request, policy = self.request, self.recipe.proxy
        return {
            "images": request.images,
            "seeds": list(fresh_seeds(request.seeds)),
            "recipe": {"name": request.recipe, "values": ground.origin.recipe},
            "budget_flops": policy.flops,
            "total_stride": policy.total_stride,
            "trainings": keys,
            "machines": sorted({row["machine"] for row in rows}),
        } | ground.described()


def _labels(one: Entrant) -> dict[str, Any]:
    depth, width, resolution = one.realised
    return {
        "rule": one.rule,
        "realised_depth": depth,
        "realised_width": width,
        "realised_resolution": resolution,
    }


def _rows_of(one: Entrant, planned: Sequence[Planned], table: SurveyTable) -> list[dict[str, Any]]:
    """Return a network's trainings in the order of the plan; a table may have them under another name."""
    rows = {row["key"]: row for row in table.rows}
    return [rows[training.key] for training in planned if training.name == one.name]


def _stored(path: Path, keys: list[str]) -> dict[str, Any] | None:
    """Return the report of exactly these trainings in this order, or None."""
    if not path.is_file():
        return None
    report = read_json(path)
    return report if report.get("trainings") == keys else None


def _code(report: dict[str, Any]) -> int:
    return int(not report["differences"])
