"""study.yaml of a run folder: the study resolved, and whether another call means the same one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from scalesearch import documents
from scalesearch.architecture.document import differences
from scalesearch.cli.definition import Request
from scalesearch.cli.folder import BESIDE, stored_study
from scalesearch.errors import InputError
from scalesearch.search.store import STUDY, RunStore, write_atomically
from scalesearch.search.study import Definition, Study


def belongs(request: Request, definition: Definition, store: RunStore) -> Definition:
    """Write the study document of a new run, or check that an old one is the same study.

    Returns the definition with the lag that the run began with.
    """
    path = store.folder / STUDY
    if not path.exists():
        if store.events:
            raise InputError(f"{store.folder} has a record but no {STUDY}: whose trials it holds is unknown")
        write_atomically(path, documents.write_text(_to_store(request, definition)))
        return definition
    stored = stored_study(path)
    stored.pop("documents", None)
    for name in BESIDE:
        stored["data"].pop(name, None)
    lag = stored.pop("lag")
    different = sorted(differences(stored, definition.resolved))
    if different:
        raise InputError(f"{store.folder} belongs to another study; it differs in {'; '.join(different)}")
    return replace(definition, lag=lag)


def stored_source(folder: Path) -> str | None:
    """Return the data that the run in a folder was created with: a resumed run keeps them."""
    path = folder / STUDY
    source: str | None = stored_study(path)["data"]["source"] if path.is_file() else None
    return source


def _to_store(request: Request, definition: Definition) -> dict[str, Any]:
    data = definition.resolved["data"]
    source = request.data or ("digits" if data["demonstration"] else None)
    beside = {
        "source": source,
        "left_out": dict(definition.left_out),
        "report_images": definition.report_images,
        "resolution": definition.resolution,
    }
    return definition.resolved | {
        "data": data | beside,
        "lag": definition.lag,
        "documents": origins(request.study),
    }


def origins(study: Study) -> dict[str, str]:
    """Return which file each document of a study was read from (D15), without a path of this machine."""
    named = {"space": study.space, "recipe": study.recipe, "dashboard": study.dashboard}
    return {kind: _origin(kind, documents.find(kind, name)) for kind, name in named.items()}


def _origin(kind: str, path: Path) -> str:
    """Name a file relative to the current folder, or as packaged/FILE or elsewhere/FILE outside of it."""
    resolved = path.resolve()
    if resolved.is_relative_to(Path.cwd()):
        return resolved.relative_to(Path.cwd()).as_posix()
    if path in documents.names(kind).values():
        return f"packaged/{documents.FOLDERS[kind]}/{path.name}"
    return f"elsewhere/{path.name}"
