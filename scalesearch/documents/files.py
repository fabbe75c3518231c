"""Document files: finding one by name or path, reading YAML, writing it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

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
LARGEST_DOCUMENT = 1_000_000  # bytes; a document is written by hand


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and booleans of YAML 1.2: 2e9 is a float, `on` is a string.

    A key that stands twice in a mapping is an error, where YAML's own loaders keep the last one.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        key: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":float", ":bool"))]
        for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is plain text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


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


def find(kind: str, name: str | Path) -> Path:
    """Return the document's file: a path as it is, else a name in the current folder, else a shipped one."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return read_text(text, str(path))


def read_text(text: str, file: str) -> dict[str, Any]:
    """Read a YAML mapping from text; `file` is what errors call it."""
    if len(text) > LARGEST_DOCUMENT:
        raise InputError(f"{file}: a document has at most {LARGEST_DOCUMENT} bytes, but this has {len(text)}")
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{file}{line}: no valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
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
    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def represent_data(self, data: Any) -> Any:
        self.depth += 1
        node = super().represent_data(data)
        self.depth -= 1
        return node


def write_text(document: Mapping[str, Any]) -> str:
    """Write a document as YAML, rows of a table on one line each."""
    text: str = yaml.dump(dict(document), Dumper=_BlockDumper, sort_keys=False, width=110)
    return text.rstrip() + "\n"
