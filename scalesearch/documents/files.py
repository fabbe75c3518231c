"""Document files: finding one by name or path, reading YAML, writing it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scalesearch.documents.loader import Loader
from scalesearch.errors import InputError

FOLDERS = {
    "network": "space/networks",
    "references": "space/references",
    "space": "space/searches",
    "study": "studies",
    "recipe": "studies/recipes",
    "survey": "studies/surveys",
    "dashboard": "dashboards",
}
LARGEST_DOCUMENT = 500_000  # characters; a document is written by hand


def _roots() -> list[Path]:
    here = Path(__file__).parent
    # An installed package carries the documents; an editable install has them at the repository's root.
    return [Path.cwd(), here, here.parent.parent]


def names(kind: str) -> dict[str, Path]:
    """Return every document of a kind by name; the current folder wins over what is shipped."""
    found: dict[str, Path] = {}
    for root in reversed(_roots()):
        found |= {path.stem: path for path in sorted((root / FOLDERS[kind]).glob("*.yaml"))}
    return found


def is_path(name: str | Path) -> bool:
    """Return whether a document's name is a path: it ends as one, or there is a file."""
    path = Path(name)
    return path.suffix in (".yaml", ".yml") or is_file(path)


def is_file(path: Path) -> bool:
    """Return whether there is such a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def find(kind: str, name: str | Path) -> Path:
    """Return the document's file: a path as it is, else a name in the current folder, else a shipped one."""
    path = Path(name)
    if is_path(path):
        if not is_file(path):
            raise InputError(f"{path}: there is no such {kind} document")
        return path
    known = names(kind)
    if str(name) not in known:
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or sorted(known)
        raise InputError(f"no {kind} is called {str(name)!r}; near are {', '.join(near)}")
    return known[str(name)]


def read(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; InputError names the file, and the line where it is no YAML."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LARGEST_DOCUMENT + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return read_text(text, str(path))


def read_text(text: str, file: str) -> dict[str, Any]:
    """Read a YAML mapping from text; `file` is what errors call it."""
    if len(text) > LARGEST_DOCUMENT:
        raise InputError(f"{file}: a document has at most {LARGEST_DOCUMENT:,} characters, but this has more")
    try:
        data = yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: no valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{file}: no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{file}: a document is a mapping, but this is {type(data).__name__}")
    return data


class _BlockDumper(yaml.SafeDumper):
    """Writes rows of plain values on one line, everything else as a block."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        flat = not any(isinstance(value, dict | list | tuple) for value in dict(mapping).values())
        return super().represent_mapping(tag, mapping, flow_style=flat if self.depth else False)

    depth = 0
    # What the loader would read as a number or a boolean is quoted, and nothing else.
    yaml_implicit_resolvers = Loader.yaml_implicit_resolvers

    def represent_data(self, data: Any) -> Any:
        self.depth += 1
        node = super().represent_data(data)
        self.depth -= 1
        return node


def write_text(document: Mapping[str, Any]) -> str:
    """Write a document as YAML, rows of a table on one line each."""
    text: str = yaml.dump(dict(document), Dumper=_BlockDumper, sort_keys=False, width=110)
    return text.rstrip() + "\n"
