"""The panels by name: a new one is a file here and a line in PANELS.

A panel is a pure function `(trials, *, context, **options) -> Drawn` over a data function that is tested by
numbers. Its further keywords are the options of a layout document. What is drawn is

- a figure, whose title and subtitle become the heading and the caption on a page;
- or several figures of one panel by what a switch above them says ("FLOPs", "params");
- or a widget: a part of the page that its script draws by itself from the page's trials.

In a figure, a trace whose points stand for trials has their numbers as `customdata` and `hoverinfo="none"`:
then the page shows the trial as its hover, opens its card at a click, and fades it where it is filtered out.
Every other text that is not the panel's own goes through `describe.label`: Plotly honours pseudo-HTML.
"""

from __future__ import annotations

from collections.abc import Callable

from scalesearch.dashboard.panels.choices import choices
from scalesearch.dashboard.panels.coefficients import coefficients
from scalesearch.dashboard.panels.drawn import Drawn
from scalesearch.dashboard.panels.failures import failures
from scalesearch.dashboard.panels.importance import importance_panel
from scalesearch.dashboard.panels.operators import operators
from scalesearch.dashboard.panels.pareto import pareto
from scalesearch.dashboard.panels.progress import progress
from scalesearch.dashboard.panels.scaling import scaling
from scalesearch.dashboard.panels.table import table
from scalesearch.dashboard.panels.timeline import timeline
from scalesearch.dashboard.panels.trust import trust

Panel = Callable[..., Drawn]

PANELS: dict[str, Panel] = {
    "pareto": pareto,
    "progress": progress,
    "scaling": scaling,
    "coefficients": coefficients,
    "choices": choices,
    "importance": importance_panel,
    "operators": operators,
    "trust": trust,
    "timeline": timeline,
    "failures": failures,
    "table": table,
}
