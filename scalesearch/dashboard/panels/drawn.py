"""What a panel gives to a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import plotly.graph_objects as go


@dataclass(frozen=True)
class Widget:
    """A part of the page that its script draws from the page's trials; `kind` says which."""

    kind: str
    title: str
    caption: str


Drawn = go.Figure | Mapping[str, go.Figure] | Widget
