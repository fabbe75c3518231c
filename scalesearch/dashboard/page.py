"""A dashboard as one HTML file that needs no network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from html import escape, unescape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, get_args

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from scalesearch.dashboard.describe import one_line
from scalesearch.dashboard.first_screen import first_screen
from scalesearch.dashboard.layout import Layout
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.context import Context, Reference
from scalesearch.dashboard.summary import Summary
from scalesearch.dashboard.theme import ModeName, css_variables, template
from scalesearch.search.records import TrialRecord

# Plotly 7 offers to upload a chart unless it is told not to.
CONFIG = {
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


def write_page(
    path: Path,
    trials: Sequence[TrialRecord],
    *,
    layout: Layout,
    title: str,
    summary: Summary,
    references: Sequence[Reference] = (),
    budget: float | None = None,
    notice: str | None = None,
) -> None:
    """Write the page; a reader never sees half of it, since it replaces the old one in one step.

    `title` is the run's. `budget`, in multiply-accumulates, is the wall in the pictures; None draws none.
    `notice` is a banner above all else, such as that the data are for demonstration only.
    """
    best = summary.best.trial.number if summary.best else None
    context = Context(budget, tuple(references), best)
    figures = [PANELS[choice.panel](trials, context=context, **choice.options) for choice in layout.panels]
    write_figures(path, title, layout.title, first_screen(summary, trials), figures, notice)


def write_figures(
    path: Path,
    title: str,
    eyebrow: str,
    screen: str,
    figures: Sequence[go.Figure],
    notice: str | None = None,
) -> None:
    """Write figures under a first screen, in one step; `screen` is HTML, all else is plain text.

    Each figure is a card with its title and its caption, the title's subtitle.
    """
    page = _html(title, eyebrow, notice, screen, figures)
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(page, encoding="utf-8", newline="\n")
    unfinished.replace(path)


def _html(title: str, eyebrow: str, notice: str | None, screen: str, figures: Sequence[go.Figure]) -> str:
    script, plotly = _asset("page.js"), get_plotlyjs()
    drawings = [json.loads(figure.to_json()) for figure in figures]
    panels = "".join(_panel(index, drawing) for index, drawing in enumerate(drawings))
    data = {"figures": drawings, "templates": _templates(), "config": CONFIG}
    return Template(_asset("page.html")).substitute(
        title=escape(one_line(title, 120)),
        eyebrow=escape(one_line(eyebrow, 80)),
        notice=f'<aside class="notice" role="note">{escape(notice)}</aside>' if notice else "",
        style=_style(),
        screen=screen,
        panels=panels,
        data=_json(data),
        plotly=plotly,
        script=script,
        hashes=f"{_hash(plotly)} {_hash(script)}",
    )


def _json(data: Any) -> str:
    """Return JSON that no HTML parser finds a tag in."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c")


def _panel(index: int, drawing: dict[str, Any]) -> str:
    """Take title, caption and template out of the drawing: the page shows them, and holds one per mode."""
    layout = drawing["layout"]
    del layout["template"]
    heading = layout.pop("title")
    title, caption = (escape(unescape(part["text"])) for part in (heading, heading["subtitle"]))
    return (
        f'<section class="card panel" aria-labelledby="heading-{index}"><h2 id="heading-{index}">{title}</h2>'
        f'<p class="quiet">{caption}</p><div id="panel-{index}"></div></section>'
    )


@cache
def _templates() -> dict[str, Any]:
    return {name: template(name).to_plotly_json() for name in get_args(ModeName)}


def _style() -> str:
    light, dark = css_variables("light"), css_variables("dark")
    return f":root{{{light}}}:root[data-mode=dark]{{{dark}}}{_asset('page.css')}"


def _asset(name: str) -> str:
    return (files("scalesearch.dashboard") / "assets" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return the source expression by which the page's security policy admits this script and no other."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
