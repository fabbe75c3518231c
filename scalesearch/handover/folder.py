"""A folder that appears whole or not at all, and replaces only what was made in the same way."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from scalesearch.errors import InputError

CACHE, LITTER = "__pycache__", (".DS_Store", "Thumbs.db", "desktop.ini")


def check_target(target: Path, report: str) -> None:
    """Raise InputError where a folder holds anything but what its `report`, a JSON file, names.

    What Python and file managers leave in a folder that was merely used does not count.
    """
    if target in (Path.cwd(), *Path.cwd().parents):
        raise InputError(
            f"{target}: an export needs a folder of its own, not the current one or one around it"
        )
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{target}: an export needs a folder, but this is none")
    own = set(_named(target / report))
    foreign = sorted(path.name for path in target.iterdir() if path.name not in own and not _litter(path))
    if foreign:
        raise InputError(f"{target}: an export replaces an earlier one alone, but here is {foreign[0]!r}")


def _litter(path: Path) -> bool:
    if path.name != CACHE:
        return path.name in LITTER and path.is_file()
    own = path.is_dir() and not path.is_symlink()
    return own and all(one.suffix == ".pyc" and one.is_file() for one in path.iterdir())


def _named(report: Path) -> Sequence[str]:
    try:
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else ()


@contextmanager
def whole(target: Path, report: str) -> Iterator[Path]:
    """Give a new folder that takes the target's place at the end; after an error it is removed.

    A killed process leaves a hidden folder beside the target, never a part of an export in its place; the
    next call for this target removes that, or puts back the earlier export that was just being replaced.
    """
    _sweep(target)
    check_target(target, report)
    target.parent.mkdir(parents=True, exist_ok=True)
    folder, old = (_beside(target, os.getpid(), end) for end in ("partial", "old"))
    folder.mkdir()
    with _held(folder):
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


def _beside(target: Path, process: int, end: str) -> Path:
    return target.with_name(f".{target.name}.{process}.{end}")


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process however that dies; False where another has it.

    A number of a process says nothing in another container or on another machine; the lock does. Where the
    file system has none, nobody gets it, and what is left behind stays.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _sweep(target: Path) -> None:
    """Clear away what killed exports to this target left, as far as that can be done."""
    mine = re.compile(rf"\.{re.escape(target.name)}\.(\d{{1,10}})\.(?:partial|old)")
    with suppress(OSError):
        found = (mine.fullmatch(path.name) for path in target.parent.iterdir())
        for process in sorted({int(one[1]) for one in found if one}):
            if process == os.getpid() or not _lives(process):
                _clear(target, process)


def _clear(target: Path, process: int) -> None:
    partial, old = (_beside(target, process, end) for end in ("partial", "old"))
    if partial.exists():
        with _held(partial) as dead:
            if not dead:  # then the earlier export, too, is in its hands
                return
            shutil.rmtree(partial, ignore_errors=True)
    if old.exists() and not old.is_symlink():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
