"""How figures and pages look: one palette, one template in two modes, numbers with units."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape
from math import floor, log10
from textwrap import wrap
from typing import Any, Literal

import plotly.graph_objects as go

# From Okabe and Ito's colour-blind-safe set, those with a contrast of 3:1 on the light and on the dark card.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE)
MUTED = "#7D8794"
# Colour never stands alone: line patterns and symbols repeat what it says.
MODEBAR = ("toimage", "zoom2d", "pan2d", "zoomin2d", "zoomout2d", "autoscale2d", "resetscale2d")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up")

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'Liberation Mono', 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True)
class Mode:
    """The surfaces and inks of one mode; the palette is the same in both."""

    page: str
    card: str
    ink: str
    quiet: str
    line: str
    wash: str


MODES = {
    "light": Mode("#f3f5f8", "#ffffff", "#17202b", "#566273", "#e2e7ed", "#fff4e0"),
    "dark": Mode("#0d1116", "#161b22", "#e9eef4", "#9ba8b7", "#2a323c", "#33280f"),
}
ModeName = Literal["light", "dark"]


def template(name: ModeName) -> go.layout.Template:
    """Return the Plotly template of a mode: every colour that a panel does not choose itself."""
    mode = MODES[name]
    axis: dict[str, Any] = {
        "gridcolor": mode.line,
        "linecolor": mode.quiet,
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": mode.line,
        "tickfont": {"color": mode.quiet},
        "title": {"standoff": 12, "font": {"size": 12}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": SANS, "size": 13, "color": mode.ink},
            "paper_bgcolor": mode.card,
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": PALETTE,
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 16, "r": 16, "t": 36, "b": 16},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 0,
                "yref": "container",
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "hoverlabel": {
                "bgcolor": mode.card,
                "bordercolor": mode.quiet,
                "align": "left",
                "font": {"family": MONO, "size": 11, "color": mode.ink},
            },
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": mode.quiet, "activecolor": BLUE},
        }
    )


def css_variables(name: ModeName) -> str:
    """Return the CSS custom properties of a mode, so that page and figures share one palette."""
    named = asdict(MODES[name]) | {f"c{index}": colour for index, colour in enumerate(PALETTE)}
    return "".join(f"--{key}:{value};" for key, value in named.items()) + f"--sans:{SANS};--mono:{MONO};"


def figure(title: str, caption: str, height: int = 500) -> go.Figure:
    """Return an empty figure in the light template; `uirevision` keeps zoom and selection on a redraw."""
    return go.Figure(
        layout={
            "template": template("light"),
            "title": {"text": title, "subtitle": {"text": caption}},
            "height": height,
            "uirevision": "kept",
        }
    )


def empty_figure(title: str, words: str) -> go.Figure:
    """Return a figure that says in words why there is nothing to draw; `words` is plain text."""
    result = figure(title, "", height=180)
    result.update_layout(xaxis={"visible": False}, yaxis={"visible": False}, modebar={"remove": MODEBAR})
    text = "<br>".join(escape(line, quote=False) for line in wrap(words, 34))
    result.add_annotation(
        text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font={"size": 15}
    )
    return result


def _with_prefix(value: float, most_decimals: int) -> str:
    # Rounding comes first, so that 999,960 becomes 1.0 M and not 1000 k.
    number = float(f"{value:.3g}")
    if number < 1000:
        return f"{number:.0f} "
    step = min(floor(log10(number)) // 3, 5)
    scaled = number / 1000**step
    decimals = max(0, min(most_decimals, 2 - floor(log10(scaled))))
    return f"{scaled:.{decimals}f} {' kMGTP'[step]}"


def flops_text(flops: float) -> str:
    """Return multiply-accumulates with three digits: 1.98 GFLOPs."""
    return f"{_with_prefix(flops, 2)}FLOPs"


def count_text(count: float) -> str:
    """Return a count with one decimal at most: 5.3 M."""
    return _with_prefix(count, 1).rstrip()


def percent_text(share: float) -> str:
    """Return a fraction as a percentage with one decimal: 52.3 %."""
    return f"{100 * share:.1f} %"


def milliseconds_text(seconds: float) -> str:
    """Return a short time in milliseconds with at most three digits: 5.12 ms."""
    return f"{float(f'{1e3 * seconds:.3g}'):g} ms"


def seconds_text(seconds: float) -> str:
    """Return a duration in its two largest units: 9 min 3 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
