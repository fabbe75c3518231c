"""One call of `coefficients`: directions designed, trained, fitted by a surface, and the network scaled."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalesearch import documents
from scalesearch.architecture.budget import Budget, Fit, OverBudgetError, TooDeepError, fit
from scalesearch.architecture.document import to_document
from scalesearch.architecture.network import Network
from scalesearch.architecture.proxy import total_stride
from scalesearch.architecture.scaling import Coefficients
from scalesearch.cli.coefficients_report import check_design, make_report
from scalesearch.cli.survey_session import TABLE, Call, Ground, MakeEngine, SurveySession, finished_of
from scalesearch.cli.words import count_text
from scalesearch.errors import InputError
from scalesearch.search.directions import Design, Equal, design, small_base
from scalesearch.search.drawing import Drawn
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import write_atomically
from scalesearch.search.study import digest
from scalesearch.search.survey import SurveyTable, plan
from scalesearch.search.survey_document import Block

REPORT, NETWORK = "coefficients.json", "network.yaml"


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        budget: multiply-accumulates of the network that is handed over.
        growth: how many times the base's cost the trained networks have. equal: which cost that is.
        images: training images of each. seeds: trainings of each.
    """

    network: Network
    budget: float
    growth: float
    points: int
    seeds: int
    images: int
    equal: Equal


class CoefficientsSession(SurveySession):
    """Searches the coefficients of one base by real trainings of equal cost."""

    def __init__(self, request: Request, call: Call, engine: MakeEngine = LocalEngine) -> None:
        super().__init__(call, engine=engine)
        self.request = request
        check_image_network(request.network)

    def run(self, stop_requested: Callable[[], bool]) -> tuple[dict[str, Any], int]:
        """Train the directions and fit the surface; return the report and the exit code."""
        ground, request = self._open(), self.request
        self._deployed(Coefficients(), ground)
        found = self._design(ground)
        blocks = (Block(request.images, len(found.points), tuple(range(request.seeds))),)
        planned = plan(blocks, [_drawn(found, number) for number in range(len(found.points))], ground.origin)
        folder = self._folder(f"coefficients-{request.network.name}", self._key(ground))
        with SurveyTable(folder / TABLE, ground.origin) as table:
            self._announce(f"directions of {request.network.name}", planned, table)
            ending = self._train(planned, table, ground, stop_requested)
            if ending == "stopped":
                left = self._say_stopped(planned, table)
                return {"schema": 1, "network": request.network.name, "left": left, "coefficients": None}, 130
            rows = finished_of(planned, table)
            report = (
                make_report(found, rows)
                | self._about(ground, found)
                | {
                    "planned": len(planned),
                    "left": len(planned) - len(rows),
                    "machines": sorted({row["machine"] for row in rows}),
                }
            )
            return self._conclude(report, ground, folder)

    def _design(self, ground: Ground) -> Design:
        request, data = self.request, ground.data
        base = small_base(
            request.network, self.recipe.proxy, request.growth, len(data.classes), data.resolution
        )
        found = design(base, request.growth, request.equal, request.points)
        for reason, count in found.left_out.items():
            self._say(f"{count_text(count, 'direction')} left out: {reason}")
        check_design(found)
        return found

    def _key(self, ground: Ground) -> str:
        """Return the hash of what the trainings depend on; more points or seeds extend a folder."""
        request, origin = self.request, ground.origin
        asked = [to_document(request.network), request.growth, request.equal, request.images]
        return digest([asked, len(ground.data.classes), origin.recipe, origin.fingerprint])

    def _about(self, ground: Ground, found: Design) -> dict[str, Any]:
        request, base = self.request, found.base.base
        claim = (
            f"this holds for {request.network.name} made small, {base.cost().flops:,} multiply-accumulates "
            f"at {base.resolution} px with a total stride of {total_stride(base)}, on {ground.data.name}, "
            f"for {request.images:,} training images, from there to "
            f"{max(one.network.cost().flops for one in found.points):,} multiply-accumulates; it is no claim "
            "about other bases, data, schedules or sizes"
        )
        return {
            "network": request.network.name,
            "document": to_document(request.network),
            "growth": request.growth,
            "images": request.images,
            "claim": claim,
            "recipe": ground.origin.recipe,
        } | ground.described()

    def _deployed(self, coefficients: Coefficients, ground: Ground) -> Fit:
        request = self.request
        base = replace(request.network, classes=len(ground.data.classes))
        try:
            return fit(base, coefficients, Budget(request.budget))
        except OverBudgetError as error:
            raise InputError(
                f"--budget-flops: the smallest member of {base.name}'s family costs "
                f"{error.share * request.budget:,.0f} multiply-accumulates, but the budget is "
                f"{request.budget:,.0f}"
            ) from error
        except TooDeepError as error:
            raise InputError(f"--budget-flops: {base.name}: {error}") from error

    def _conclude(self, report: dict[str, Any], ground: Ground, folder: Path) -> tuple[dict[str, Any], int]:
        report |= {"deployed": None}
        if report["coefficients"] is not None:
            report |= {"deployed": self._write_network(report["coefficients"], ground, folder)}
        write_atomically(folder / REPORT, json.dumps(report, indent=1) + "\n")
        left = count_text(report["left"], "training")
        more = f"; {left} left: the same command continues" if report["left"] else "; what is trained is kept"
        self._say(f"{report['missing']}{more}" if report["missing"] else f"report: {folder / REPORT}")
        return report, int(report["coefficients"] is None)

    def _write_network(
        self, coefficients: dict[str, list[float]], ground: Ground, folder: Path
    ) -> dict[str, Any]:
        fitted = self._deployed(Coefficients(*(value for value, *_ in coefficients.values())), ground)
        name = f"{self.request.network.name}_{self.request.budget:g}".replace("+", "")
        network = replace(fitted.network, name=name)
        write_atomically(folder / NETWORK, documents.write_text(to_document(network)))
        cost = network.cost()
        return {
            "file": NETWORK,
            "budget_flops": self.request.budget,
            "flops": cost.flops,
            "params": cost.params,
            "activations": cost.activations,
            "resolution": network.resolution,
            "classes": network.classes,
            "share": fitted.share,
            "phi": fitted.phi,
            "repair": list(fitted.repair),
            "realised": list(fitted.realised),
        }


def check_image_network(network: Network) -> None:
    """Raise InputError for a network of other than colour images."""
    if network.dims != 2 or network.in_channels != 3:
        raise InputError(f"trainings are on colour images, but {network.name} is for others")


def _drawn(found: Design, number: int) -> Drawn:
    one = found.points[number]
    depth, width, resolution = one.realised
    labels = {"realised_depth": depth, "realised_width": width, "realised_resolution": resolution}
    return Drawn(to_document(one.network), labels)
