"""Documents: finding one by name or path, reading it, and errors that name file, place, rule and value."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from scalesearch.architecture.document import from_document
from scalesearch.architecture.domains import Choice, Domain, Range, label
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.architecture.space import SearchSpace, leaves
from scalesearch.errors import InputError
from scalesearch.training.recipe import Recipe

if TYPE_CHECKING:  # Optuna and Plotly are loaded by the commands that need them
    from scalesearch.dashboard.layout import Layout
    from scalesearch.search.study import Study

T = TypeVar("T")

FOLDERS = {
    "network": "space/networks",
    "space": "space/searches",
    "study": "studies",
    "recipe": "studies/recipes",
    "dashboard": "dashboards",
}
LARGEST_DOCUMENT = 1_000_000  # bytes; a document is written by hand
# What a network document says about the network without being part of it.
ABOUT = ("source", "published", "description")


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
    return [Path.cwd(), here / "documents", here.parent]


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
    if len(text) > LARGEST_DOCUMENT:
        raise InputError(f"{path}: a document has at most {LARGEST_DOCUMENT} bytes, but this has {len(text)}")
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path}{line}: no valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: a document is a mapping, but this is {type(data).__name__}")
    return data


class _BlockDumper(yaml.SafeDumper):
    """Writes rows of plain values on one line, everything else as a block."""

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        flat = not any(isinstance(value, dict | list | tuple) for value in dict(mapping).values())
        return super().represent_mapping(tag, mapping, flow_style=flat if self.depth else False)

    depth = 0

    def represent_data(self, data: Any) -> Any:
        self.depth += 1
        node = super().represent_data(data)
        self.depth -= 1
        return node


def write_text(document: Mapping[str, Any]) -> str:
    """Write a document as YAML, rows of a table on one line each."""
    text: str = yaml.dump(dict(document), Dumper=_BlockDumper, sort_keys=False, width=110, allow_unicode=True)
    return text.rstrip() + "\n"


class _Place:
    """Where in which file a value stands, for errors."""

    def __init__(self, file: str, path: tuple[str | int, ...] = ()) -> None:
        self.file, self.path = file, path

    def at(self, *parts: str | int) -> _Place:
        return _Place(self.file, (*self.path, *parts))

    def fail(self, message: str) -> NoReturn:
        where = f"{self.file}: {label(self.path)}" if self.path else self.file
        raise InputError(f"{where}: {message}")


def _known_keys(document: Any, known: Iterator[str] | tuple[str, ...], place: _Place) -> None:
    if not isinstance(document, Mapping):
        place.fail(f"must be a mapping, but is {document!r}")
    names_known = tuple(known)
    for key in document:
        if key not in names_known:
            near = difflib.get_close_matches(str(key), names_known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names_known)}"
            place.at(key).fail(f"there is no such field; {hint}")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def checked(kind: Any, value: Any, place: _Place) -> Any:
    """Return `value` as the type `kind`; InputError names place, rule and value."""
    if hasattr(kind, "__dataclass_fields__"):
        _known_keys(value, tuple(f.name for f in fields(kind)), place)
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        rule = first["msg"].removeprefix("Value error, ")
        parts = [part for part in first["loc"] if not str(part).startswith(("function-", "constrained-"))]
        got = "" if ", but " in rule else f", but got {first['input']!r}"
        place.at(*parts).fail(f"{rule[0].lower()}{rule[1:]}{got}")


@cache
def _option_types(operator: str) -> dict[str, TypeAdapter[Any]]:
    block = OPERATORS[operator].block
    hints = get_type_hints(block)
    return {name: TypeAdapter(hints[name]) for name in inspect.signature(block).parameters if name in hints}


def _check_stage(row: Any, place: _Place) -> None:
    own = tuple(f.name for f in fields(Stage) if f.name != "options")
    _known_keys(row, (*own, *(row if isinstance(row, Mapping) else ())), place)
    options = {name: value for name, value in row.items() if name not in own}
    stage = checked(Stage, {name: row[name] for name in own if name in row}, place)
    taken = OPERATORS[stage.operator].options
    _known_keys(options, tuple(taken), place)
    for name, value in options.items():
        try:
            _option_types(stage.operator)[name].validate_python(value)
        except ValidationError as error:
            place.at(name).fail(f"{error.errors()[0]['msg'].lower()}, but got {value!r}")
    checked(
        Stage, {name: row[name] for name in own if name in row} | {"options": tuple(options.items())}, place
    )


def network_from(document: Mapping[str, Any], file: str) -> Network:
    """Check a network document and return the network; InputError names file, place, rule and value."""
    place = _Place(file)
    plain = {name: value for name, value in document.items() if name not in ABOUT}
    own = [f.name for f in fields(Network) if not f.name.startswith("norm_")]
    _known_keys(plain, (*own, "norm"), place)
    for part in ("name", "resolution", "stem", "stages"):
        if part not in plain:
            place.fail(f"a network needs the field {part!r}")
    checked(Stem, plain["stem"], place.at("stem"))
    checked(Head, plain.get("head", {}), place.at("head"))
    if not isinstance(plain["stages"], list):
        place.at("stages").fail(f"must be a list of rows, but is {plain['stages']!r}")
    for index, row in enumerate(plain["stages"]):
        _check_stage(row, place.at("stages", index))
    _known_keys(plain.get("norm", {}), ("eps", "momentum"), place.at("norm"))
    hints = get_type_hints(Network)
    for name in set(plain) & set(own) - {"stem", "stages", "head"}:
        checked(hints[name], plain[name], place.at(name))
    try:
        network = from_document(plain)
        network.layers().out(network.input)
    except ValueError as error:
        place.fail(str(error))
    return network


def load(name: str | Path) -> Network:
    """Return a network by name (`efficientnet_b0`) or from a document's path."""
    path = find("network", name)
    return network_from(read(path), str(path))


def _domain(node: Any, place: _Place) -> Any:
    """Turn {choice: [...]} and {range: [low, high], ...} into domains, everywhere in a tree."""
    if isinstance(node, list):
        return [_domain(child, place.at(index)) for index, child in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    if "choice" in node:
        _known_keys(node, ("choice",), place)
        return checked(Choice, {"values": node["choice"]}, place)
    if "range" in node:
        _known_keys(node, ("range", "step", "log"), place)
        if not isinstance(node["range"], list) or len(node["range"]) != 2:
            place.at("range").fail(f"a range is [low, high], but got {node['range']!r}")
        low, high = node["range"]
        return _range(node, low, high, place)
    return {name: _domain(child, place.at(name)) for name, child in node.items()}


def _range(node: Mapping[str, Any], low: Any, high: Any, place: _Place) -> Domain:
    for value in (low, high, node.get("step", 1)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            place.fail(f"a range is made of numbers, but got {value!r}")
    try:
        return Range(low, high, node.get("step"), bool(node.get("log", False)))
    except ValueError as error:
        place.fail(str(error))


def load_space(name: str | Path) -> SearchSpace:
    """Return a search space by name or path; every value of every leaf is checked in a network."""
    path = find("space", name)
    place = _Place(str(path))
    document = read(path)
    for part in ("name", "resolution", "stem", "stages", "coefficients"):
        if part not in document:
            place.fail(f"a space needs the field {part!r}")
    tree = _domain({key: value for key, value in document.items() if key not in ABOUT}, place)
    coefficients = tree.pop("coefficients")
    _known_keys(coefficients, ("depth", "width", "growth"), place.at("coefficients"))
    space = SearchSpace(tree.pop("name"), tree, {"depth": 1 / 3, "width": 0.5, "growth": 2} | coefficients)
    _check_every_value(space, place)
    return space


def _check_every_value(space: SearchSpace, place: _Place) -> None:
    for path, leaf in leaves(space.document):
        for value in leaf.samples() if isinstance(leaf, Choice | Range) else ():
            try:
                document = space.example(path, value)
            except (ValueError, KeyError) as error:
                place.at(*path).fail(str(error))
            network_from({"name": space.name} | document, place.file)
    for name, leaf in space.coefficients.items():
        for value in leaf.samples() if isinstance(leaf, Choice | Range) else (leaf,):
            _check_coefficient(name, value, place.at("coefficients", name))


def _check_coefficient(name: str, value: Any, place: _Place) -> None:
    number = checked(float, value, place)
    if name == "growth" and number <= 1:
        place.fail(f"growth must exceed 1, but got {value!r}")
    if name != "growth" and not 0 <= number <= 1:
        place.fail(f"a share must be in [0, 1], but got {value!r}")


def plain(node: Any) -> Any:
    """Return a tree with domains as plain data: the inverse of reading a space document."""
    if isinstance(node, SearchSpace):
        return {"name": node.name} | plain(node.document) | {"coefficients": plain(node.coefficients)}
    if isinstance(node, Choice):
        return {"choice": list(node.values)}
    if isinstance(node, Range):
        extras = {"step": node.step} if node.step is not None else {}
        return {"range": [node.low, node.high]} | extras | ({"log": True} if node.log else {})
    if isinstance(node, Mapping):
        return {name: plain(child) for name, child in node.items()}
    return [plain(child) for child in node] if isinstance(node, list | tuple) else node


def load_study(name: str | Path) -> Study:
    """Return a study by name or path."""
    from scalesearch.search.study import Finals, SamplerChoice, Study

    path = find("study", name)
    document = read(path)
    place = _Place(str(path))
    for part, kind in (("sampler", SamplerChoice), ("finals", Finals)):
        checked(kind, document.get(part, {}), place.at(part))
    return _read_as(Study, document, place)


def load_recipe(name: str | Path) -> Recipe:
    """Return a training recipe by name or path."""
    path = find("recipe", name)
    document = {key: value for key, value in read(path).items() if key not in ABOUT}
    place = _Place(str(path))
    checked(ProxyPolicy, document.get("proxy", {}), place.at("proxy"))
    return _read_as(Recipe, document, place)


def load_layout(name: str | Path) -> Layout:
    """Return a dashboard's layout by name or path."""
    from scalesearch.dashboard.layout import Layout

    path = find("dashboard", name)
    try:
        return _read_as(Layout, read(path), _Place(str(path)))
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _read_as(kind: type[T], document: Mapping[str, Any], place: _Place) -> T:
    read_as: T = checked(kind, document, place)
    return read_as
