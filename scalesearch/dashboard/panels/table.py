"""The table of all trials; the page's script draws it, since it sorts, filters and saves there."""

from __future__ import annotations

from collections.abc import Sequence

from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.drawn import Widget
from scalesearch.search.records import TrialRecord

TITLE = "All trials"
CAPTION = (
    "A row is a candidate. Accuracy is its proxy's on validation images, at the longest training that it "
    "had. Where it was trained again with fresh seeds, their mean stands with its 95 % interval, on other "
    "validation images. FLOPs, params and activations are the deployed network's. A saved Parquet file "
    "lacks the choices and the networks' documents; trials.parquet in the run's folder has them."
)


def table(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> Widget:
    """Return the table; its rows are the page's own entries, so the trials themselves are not looked at."""
    return Widget("table", TITLE, CAPTION)
