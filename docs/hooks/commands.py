"""MkDocs hook: writes every command, with all that it takes, into docs/commands.md from the program."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from scalesearch.cli import app

PLACE = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference where a page asks for it."""
    return markdown.replace(PLACE, reference()) if PLACE in markdown else markdown


def reference() -> str:
    """Return a section in Markdown for each command, in the order of `scalesearch --help`."""
    program = typer.main.get_command(app)
    return "\n".join(_sections(program, typer.Context(program, info_name="scalesearch")))


def _sections(command: Any, context: typer.Context) -> Iterator[str]:
    if context.parent is not None:
        yield _section(command, context)
    for name, below in getattr(command, "commands", {}).items():
        yield from _sections(below, typer.Context(below, info_name=name, parent=context))


def _section(command: Any, context: typer.Context) -> str:
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    level = "##" if context.parent.parent is None else "###"
    parameters = [p.get_help_record(context) for p in command.get_params(context)]
    entries = [f"`{names}`\n:   {_escaped(help_text)}\n" for names, help_text in filter(None, parameters)]
    about = (_escaped(paragraph) + "\n" for paragraph in command.help.split("\n\n"))
    head = (f"{level} {context.command_path}\n", *about, f"    {usage}\n")
    return "\n".join((*head, *entries))


def _escaped(text: str) -> str:
    """Return a help text on one line, literal in Markdown but for what stands between backticks."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = [re.sub(r"([\\*_<>\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
