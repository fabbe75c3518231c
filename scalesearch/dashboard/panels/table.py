"""The table of all trials; the page's script draws it, since it sorts, filters and saves there."""

from __future__ import annotations

from collections.abc import Sequence

from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.drawn import Widget
from scalesearch.search.records import TrialRecord

TITLE = "All trials"
CAPTION = (
    "A row is a candidate. Accuracy is its proxy's on validation images, at the longest training that it "
    "had; the interval is there where it was trained again with fresh seeds. FLOPs, params and activations "
    "are the deployed network's."
)


def table(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> Widget:
    """Return the table; its rows are the page's own entries, so the trials themselves are not looked at."""
    return Widget("table", TITLE, CAPTION)
