"""Text of strangers in Markdown: names of classes, of networks and of data are text and nothing else."""

from __future__ import annotations

LONGEST = 100  # characters
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", ":": "&#58;", "@": "&#64;"}
# Escaped wherever they stand. Those that mean something at a line's start alone are among them.
_ESCAPED = frozenset("\\`*_{}[]()#+-.!|~^=$")


def as_text(value: object) -> str:
    """Return a value as Markdown that shows it as it is, on one line and not too long.

    Neither Markdown nor HTML nor an address in it has an effect; what is not printable is a space.
    """
    line = " ".join("".join(one if one.isprintable() else " " for one in str(value)).split())
    shown = line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
    return "".join(_ENTITIES.get(one) or (f"\\{one}" if one in _ESCAPED else one) for one in shown)
