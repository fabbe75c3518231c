"""The YAML that documents are written in: plain values alone, and no more of them than a person writes."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

DEEPEST = 32  # of mappings and lists in each other
MOST_VALUES = 10_000  # in a document, with those of each alias counted again wherever it stands
LONGEST_TEXT = 20_000  # characters of one value
LONGEST_NUMBER = 40  # characters

_FLOAT = re.compile(
    r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
)
_KINDS = ("float", "bool", "int", "timestamp", "value")  # those that YAML 1.2 reads otherwise, or not at all


def _fail(problem: str, mark: Any) -> NoReturn:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and booleans of YAML 1.2: 2e9 is a float, `on` is a string.

    A key that stands twice in a mapping is an error, where YAML's own loaders keep the last one. So are tags,
    aliases within what they name, and whatever exceeds the limits of this module: all are met while the text
    is read, before anything is made of it.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own class attribute
        key: [(tag, pattern) for tag, pattern in rules if tag.rpartition(":")[2] not in _KINDS]
        for key, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = self._values = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose what comes next, counted."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self._check_alias(event)
            return super().compose_node(parent, index)
        self._check(event)
        before, self._depth = self._values, self._depth + 1
        self._count(1, event.start_mark)
        if self._depth > DEEPEST:
            _fail(f"a document is at most {DEEPEST} mappings and lists deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._sizes[event.anchor] = self._values - before
        return node

    def _check_alias(self, event: Any) -> None:
        if event.anchor in self.anchors and event.anchor not in self._sizes:
            _fail(f"*{event.anchor} stands within what it names", event.start_mark)
        self._count(self._sizes.get(event.anchor, 0), event.start_mark)

    def _count(self, values: int, mark: Any) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            _fail(f"a document has at most {MOST_VALUES:,} values", mark)

    @staticmethod
    def _check(event: Any) -> None:
        if event.tag is not None:
            _fail(f"a document has no tags, but got {event.tag[:60]!r}", event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > LONGEST_TEXT:
                _fail(f"a value has at most {LONGEST_TEXT:,} characters", event.start_mark)
            if not event.value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in event.value):
                _fail("text is Unicode, but this has half of a surrogate pair", event.start_mark)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping; every key is plain text and stands once."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _fail("a key is plain text", key.start_mark)
            if key.value in seen:
                _fail(f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Construct a whole number."""
        text = _number(node)
        return int(text, 16) if text.startswith("0x") else int(text)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Construct a number."""
        return float(_number(node).replace(".inf", "inf").replace(".nan", "nan"))


def _number(node: yaml.ScalarNode) -> str:
    if len(node.value) > LONGEST_NUMBER:
        _fail(f"a number has at most {LONGEST_NUMBER} characters", node.start_mark)
    return str(node.value).lower()


for _kind, _pattern, _starts in (
    ("int", re.compile(r"^[-+]?[0-9]+$|^0x[0-9a-fA-F]+$"), "-+0123456789"),
    ("float", _FLOAT, "-+0123456789."),
    ("bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
):
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _pattern, list(_starts))
Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_yaml_int)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.construct_yaml_float)
