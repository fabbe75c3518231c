"""A page as one HTML file that needs no network."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from scalesearch.dashboard.content import Content
from scalesearch.dashboard.describe import one_line
from scalesearch.dashboard.entries import packed
from scalesearch.dashboard.theme import css_variables
from scalesearch.files import replace_file

ASSETS = files("scalesearch.dashboard") / "assets"
FIRST, LAST = "core.js", "start.js"


def write_page(path: Path, content: Content) -> None:
    """Write the page; a reader never sees half of it, since it replaces the old one in one step."""
    plotly = get_plotlyjs()
    page = Template(asset("page.html")).substitute(
        title=escape(one_line(content.title, 120)),
        style=style(),
        body=body(content),
        data=packed(content.for_script()),
        plotly=plotly,
        script=script(),
        hashes=f"{hash_source(plotly)} {hash_source(script())}",
    )
    replace_file(path, page.encode())


def body(content: Content) -> str:
    """Return what stands in the page before its script draws: heading, notice and first screen."""
    return Template(asset("body.html")).substitute(
        title=escape(one_line(content.title, 120)),
        eyebrow=escape(one_line(content.eyebrow, 80)),
        notice=escape(content.notice or ""),
        hidden="" if content.notice else " hidden",
        screen=content.screen,
    )


@cache
def style() -> str:
    """Return the page's style: the colours of both modes, and all style sheets."""
    light, dark = css_variables("light"), css_variables("dark")
    sheets = "".join(asset(name) for name in _names(".css"))
    return f":root{{{light}}}:root[data-mode=dark]{{{dark}}}{sheets}"


@cache
def script() -> str:
    """Return the page's script: all parts in one function, so that none leaves a name behind."""
    parts = [FIRST, *(name for name in _names(".js") if name not in (FIRST, LAST)), LAST]
    return '(() => {\n"use strict";\n' + "\n".join(asset(name) for name in parts) + "})();\n"


def hash_source(text: str) -> str:
    """Return the source expression by which a security policy admits this script and no other."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _names(suffix: str) -> list[str]:
    return sorted(asset.name for asset in ASSETS.iterdir() if asset.name.endswith(suffix))


def asset(name: str) -> str:
    """Return the text of a file of the page."""
    return (ASSETS / name).read_text(encoding="utf-8")
