"""Figures as picture files, drawn by kaleido with the machine's own browser; nothing is fetched."""

from __future__ import annotations

from html import escape, unescape
from pathlib import Path
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from scalesearch.errors import InputError

WIDTH = 1000  # pixels of an SVG; a PNG has SCALE times as many, for paper and dense screens
SCALE = 2.0
MARGIN = 16
TITLE_SIZE, CAPTION_SIZE = 18, 13
LETTER = 0.52  # of its size is a letter wide in a sans serif text, on average
LINE = 1.35  # of its size is a line high
SECONDS = 60.0  # that drawing may take
NOWHERE = "127.0.0.1:9"  # a proxy that nobody runs: a picture must not ask a network for anything
FORMATS = (".png", ".svg")


def write_picture(figure: go.Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, as the path's suffix says; its title and caption are in the picture.

    Raises InputError for another suffix, where kaleido or a browser is missing, and where the file cannot be
    written.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"a picture is a file with {' or '.join(FORMATS)}, but got {path}")
    if not path.parent.is_dir():
        raise InputError(f"the picture {path} cannot be written: there is no folder {path.parent}")
    drawn = _drawn(headed(figure), path.suffix.removeprefix("."))
    try:
        path.write_bytes(drawn)
    except OSError as error:
        raise InputError(f"the picture {path} cannot be written: {error.strerror}") from error


def headed(figure: go.Figure, width: int = WIDTH) -> go.Figure:
    """Return a copy that shows title and caption above the plot, where a page shows them by itself.

    Plotly breaks no lines, so the caption is broken here; the figure grows by what stands above it.
    """
    result = go.Figure(figure)
    title = result.layout.title
    lines = wrap(unescape(title.subtitle.text or ""), int((width - 2 * MARGIN) / (LETTER * CAPTION_SIZE)))
    caption = "<br>".join(escape(line, quote=False) for line in lines)
    above = round(MARGIN + LINE * (TITLE_SIZE + CAPTION_SIZE * len(lines)))
    place = {"x": 0, "xref": "container", "xanchor": "left", "y": 1, "yref": "container", "yanchor": "top"}
    result.update_layout(
        width=width,
        height=(figure.layout.height or 500) + above,
        margin={"t": above + (figure.layout.margin.t or 36)},
        title=place
        | {
            "pad": {"l": MARGIN, "t": MARGIN},
            "font": {"size": TITLE_SIZE},
            "subtitle": {"text": caption, "font": {"size": CAPTION_SIZE}},
        },
    )
    return result


def _drawn(figure: go.Figure, form: str) -> bytes:
    try:
        import kaleido
        from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError
    except ImportError as error:
        raise InputError("a picture is drawn by kaleido, which is missing: pip install kaleido") from error
    options: dict[str, Any] = {"format": form, "scale": SCALE if form == "png" else 1.0}
    offline = {"mathjax": False, "proxy_server": NOWHERE, "timeout": SECONDS}
    try:
        picture: bytes = kaleido.calc_fig_sync(figure, opts=options, kopts=offline)
    except ChromeNotFoundError as error:
        raise InputError(
            "a picture is drawn by Chromium or Chrome, and there is none: install one or set BROWSER_PATH"
        ) from error
    except (BrowserClosedError, BrowserFailedError) as error:
        raise InputError(f"a picture is drawn by a browser, and this one does not start: {error}") from error
    return picture
