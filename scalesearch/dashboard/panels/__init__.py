"""The panels by name: a new one is a file here and a line in PANELS.

A panel is a pure function `(trials, *, context, **options) -> Figure` over a data function that is tested by
numbers. Its further keywords are the options of a layout document. The figure's title and subtitle become
the heading and the caption on a page. Every text that is not the panel's own goes through `describe.label`.
"""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from scalesearch.dashboard.panels.pareto import pareto
from scalesearch.dashboard.panels.progress import progress

Panel = Callable[..., go.Figure]

PANELS: dict[str, Panel] = {
    "pareto": pareto,
    "progress": progress,
}
