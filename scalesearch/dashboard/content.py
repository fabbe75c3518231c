"""What a page holds, as plain data: the first screen, the drawn panels, and the trials behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from html import unescape
from typing import Any, get_args

import plotly.graph_objects as go

from scalesearch.dashboard.panels.drawn import Drawn, Widget
from scalesearch.dashboard.theme import ModeName, template

# Plotly 7 offers to upload a chart unless it is told not to.
CONFIG = {
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}


@cache
def _templates() -> dict[str, Any]:
    return {name: template(name).to_plotly_json() for name in get_args(ModeName)}


@dataclass(frozen=True)
class Content:
    """All that a page shows.

    Attributes:
        title, eyebrow, notice: plain text; the notice is a banner above all else.
        screen: the first screen, HTML in which every value from outside is escaped.
        panels: as `panel_data` gives them. entries: the trials, as `entries` gives them.
        runs: what the page calls its runs. parquet: the table of trials for download, base64.
    """

    title: str
    eyebrow: str
    screen: str
    panels: Sequence[Mapping[str, Any]]
    notice: str | None = None
    entries: Sequence[Mapping[str, Any]] = ()
    runs: Sequence[str] = ()
    parquet: str | None = None
    templates: Mapping[str, Any] = field(default_factory=_templates)

    def for_script(self) -> dict[str, Any]:
        """Return what the page's script takes in: JSON without NaN."""
        return {
            "panels": list(self.panels),
            "entries": list(self.entries),
            "runs": list(self.runs),
            "parquet": self.parquet,
            "templates": self.templates,
            "config": CONFIG,
        }


def panel_data(number: int, drawn: Drawn, width: str = "full") -> dict[str, Any]:
    """Return a panel as the page's script takes it; titles and captions leave the figures for the page.

    `width` is "full" or "half" of the page.
    """
    place = {"id": f"panel-{number}", "width": width}
    if isinstance(drawn, Widget):
        return place | asdict(drawn) | {"views": []}
    figures = {"": drawn} if isinstance(drawn, go.Figure) else drawn
    views = [_view(name, figure) for name, figure in figures.items()]
    return place | {"kind": "figure", "title": views[0].pop("title"), "views": views}


def _view(name: str, figure: go.Figure) -> dict[str, Any]:
    drawing = json.loads(figure.to_json())
    layout = drawing["layout"]
    del layout["template"]
    heading = layout.pop("title")
    title, caption = (unescape(part["text"]) for part in (heading, heading["subtitle"]))
    return {"name": name, "title": title, "caption": caption, "figure": drawing}


def figures_content(title: str, eyebrow: str, screen: str, figures: Iterable[go.Figure]) -> Content:
    """Return a page of figures alone, a card each."""
    panels = [panel_data(number, figure) for number, figure in enumerate(figures)]
    return Content(title=title, eyebrow=eyebrow, screen=screen, panels=panels)
