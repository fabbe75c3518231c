"""The page of one run: the first screen, and the panels of a layout."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

import plotly.graph_objects as go

from scalesearch.dashboard.content import Content, panel_data
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.first_screen import first_screen
from scalesearch.dashboard.layout import Layout
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.drawn import Widget
from scalesearch.dashboard.run_view import RunView
from scalesearch.errors import InputError


def run_content(
    run: RunView, layout: Layout, yaml_of: Callable[[Mapping[str, Any]], str], parquet: bytes | None = None
) -> Content:
    """Return the page of a run. `yaml_of` writes a network's document; `parquet` is the table to download."""
    trials, context = run.trials, run.context
    drawn = [PANELS[choice.panel](trials, context=context, **choice.options) for choice in layout.panels]
    return Content(
        title=run.title,
        eyebrow=layout.title,
        notice=run.notice,
        screen=first_screen(run.summary, trials),
        panels=[
            panel_data(number, one, choice.width)
            for number, (one, choice) in enumerate(zip(drawn, layout.panels, strict=True))
        ],
        entries=entries(trials, context.finalists, yaml_of, budget=context.budget),
        runs=[run.title],
        parquet=b64encode(parquet).decode() if parquet is not None else None,
    )


def panel_figure(run: RunView, layout: Layout, name: str) -> go.Figure:
    """Return the figure of a panel, or of one of its views: PANEL or PANEL:VIEW.

    The layout's options hold where it has the panel. Raises InputError for a name that there is not.
    """
    panel, _, view = name.partition(":")
    if panel not in PANELS:
        raise InputError(f"a panel is one of {', '.join(PANELS)}, but got {panel!r}")
    options = next((choice.options for choice in layout.panels if choice.panel == panel), {})
    drawn = PANELS[panel](run.trials, context=run.context, **options)
    if isinstance(drawn, Widget):
        raise InputError(f"the panel {panel} lives on a page alone: it has no picture")
    views = {"": drawn} if isinstance(drawn, go.Figure) else drawn
    if view and view not in views:
        raise InputError(f"a view of {panel} is one of {', '.join(map(repr, views))}, but got {view!r}")
    return views[view] if view in views else next(iter(views.values()))
