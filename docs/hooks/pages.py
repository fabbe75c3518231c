"""MkDocs hook: what the site takes from elsewhere in the repository, so that nothing is written twice."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]


def on_config(config: Any) -> Any:
    """Give the navigation every decision, in order."""
    decisions = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    for entry in config.nav:
        if "Decisions" in entry:
            entry["Decisions"] = [f"decisions/{name}" for name in decisions]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put sections of the README where a page asks for them; make links of the pages that it names."""
    here = posixpath.dirname(page.file.src_uri)
    whole = re.sub(r"<!-- README: (.+) -->", lambda found: section(found[1]), markdown)
    return re.sub(r"(?<![\w/(])`?docs/([\w/-]+\.md)`?", lambda found: _link(found[1], here), whole)


def section(heading: str) -> str:
    """Return the text below a heading of the README, up to the next one."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", readme, re.DOTALL | re.MULTILINE)
    if found is None:
        raise PluginError(f"the README has no heading {heading!r}")
    return found[1].replace("](docs/", "](").strip()


def _link(target: str, here: str) -> str:
    return f"[{target}]({posixpath.relpath(target, here or '.')})"
