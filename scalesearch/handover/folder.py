"""A folder that appears whole or not at all, and replaces only what was made in the same way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scalesearch.errors import InputError


def check_target(target: Path, report: str) -> None:
    """Raise InputError where a folder holds anything but what its `report`, a JSON file, names."""
    if target in (Path.cwd(), *Path.cwd().parents):
        raise InputError(
            f"{target}: an export needs a folder of its own, not the current one or one around it"
        )
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: an export needs a folder, but this is none")
    foreign = sorted({path.name for path in target.iterdir()} - set(_named(target / report)))
    if foreign:
        raise InputError(f"{target}: an export replaces an earlier one alone, but here is {foreign[0]!r}")


def _named(report: Path) -> Sequence[str]:
    try:
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else ()


@contextmanager
def whole(target: Path, report: str) -> Iterator[Path]:
    """Give a new folder that takes the target's place at the end; after an error it is removed.

    A killed process leaves a hidden folder beside the target, never a part of an export in its place.
    """
    check_target(target, report)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder, old = (target.with_name(f".{target.name}.{os.getpid()}.{end}") for end in ("partial", "old"))
    folder.mkdir()
    try:
        yield folder
        check_target(target, report)  # once more: filling the folder took minutes
        if target.exists():
            target.rename(old)
        folder.rename(target)
    finally:
        if old.exists() and not target.exists():  # the second step failed: the earlier export goes back
            old.rename(target)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
