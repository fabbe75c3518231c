"""Choices: all trials as lines over their choices, cost and accuracy, where dragging on an axis filters.

The page's script draws it (assets/brush.js), since Plotly's parallel coordinates need WebGL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scalesearch.dashboard.describe import one_line
from scalesearch.dashboard.panels.context import NOTHING_KNOWN, Context
from scalesearch.dashboard.panels.drawn import Widget
from scalesearch.dashboard.panels.importance import order
from scalesearch.search.records import TrialRecord

TITLE = "Choices"
LEAF = 120  # characters of a name, as entries have it
CAPTION = (
    "A line is a candidate, its accuracy that of its longest training. Drag along an axis to keep those that "
    "pass there, on several axes those that pass everywhere; a click on the axis clears it. All panels "
    'follow. A value\'s name keeps or drops that value. "Not asked" stands where an operator does not take '
    "the choice or the stage is absent."
)


@dataclass(frozen=True)
class Axes(Widget):
    """The widget, and the leaves in the order in which they get an axis; others follow as they come."""

    leaves: tuple[str, ...]


def choices(trials: Sequence[TrialRecord], *, context: Context = NOTHING_KNOWN) -> Axes:
    """Return the lines of all trials, over the most important leaves where trials suffice to tell."""
    leaves = tuple(one_line(leaf, LEAF) for leaf in order(trials))
    words = " The axes shown first are the choices that explain most of accuracy." if leaves else ""
    return Axes("choices", TITLE, CAPTION + words, leaves)
