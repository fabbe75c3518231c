"""Damage for every reader of files: random changes of bytes and of trees, and hostile values."""

import copy
import json
import math

HOSTILE_VALUES = [
    *(None, True, False, 0, -1, 1, 10**6, 2**31 - 1, 2**31, 2**63, 10**12, 10**40, 10**400),
    *(1.5, -0.0, 1e-320, 1e308),
    *(math.inf, -math.inf, math.nan, "", " ", "\0", "x" * 5_000, "\ud800", "\u202e", "\x1b[31m", "a\nb"),
    *("../../outside", "/dev/zero", "/etc/passwd", "~", "<script>alert(1)</script>", "[/bold]", "%s{0}$x"),
    *("mixed", "1e400", "NaN", "null", "stages.0.channels", "mbconv", "shufflenet_v1", [], {}, [[]], [{}]),
    *([0] * 3, ["mbconv"] * 300, {"range": [1, 10**12]}, {"range": [0, 3]}, {"range": [1, 8.5], "log": True}),
    *(
        {"choice": list(range(300))},
        {"choice": [3, 5]},
        {"choice": []},
        {"same": "stem.act"},
        {"a": {"b": 1}},
    ),
]
HOSTILE_TOKENS = [
    *(
        b"\0",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\r",
        b"\n",
        b"\t",
        b"---\n",
        b"...\n",
        b"<<: *a\n",
        b"&a ",
        b"*a",
    ),
    *(b"!!python/object/apply:os.system [true]", b"!!binary x", b"[" * 200, b"{" * 200, b"- " * 200, b"? "),
    *(b"9" * 5_000, b"1e400", b".inf", b".nan", b"NaN", b"-Infinity", b"0x" + b"f" * 50, b"1:59:59", b"'"),
    *(b'"', b'"\\ud800"', b"a: 1\n" * 50, b"[]", b"{}", b": ", b",", b"#", b"|\n", b"%YAML 9.9\n", b"null"),
]


def damaged_bytes(rng, data):
    """Return bytes with one to four changes; `rng` is a random.Random."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_BYTE_CHANGES)(rng, changed)
    return bytes(changed)


def _part(rng, data):
    start = rng.randrange(len(data) + 1)
    return slice(start, start + rng.choice((1, 2, 4, 8, 16, 64, 1024)))


def _flip(rng, data):
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _overwrite(rng, data):
    part = _part(rng, data)
    data[part] = bytes(rng.choice((0, 0xFF, rng.randrange(256))) for _ in data[part])


def _insert(rng, data):
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(HOSTILE_TOKENS)


def _remove(rng, data):
    del data[_part(rng, data)]


def _repeat(rng, data):
    part = data[_part(rng, data)]
    at = rng.randrange(len(data) + 1)
    data[at:at] = part * rng.choice((1, 2, 50))


def _cut(rng, data):
    del data[rng.randrange(len(data) + 1) :]


_BYTE_CHANGES = (_flip, _flip, _overwrite, _insert, _remove, _repeat, _cut)


def damaged_tree(rng, tree):
    """Return plain data with one to three changes of values and structure."""
    changed = {"": copy.deepcopy(tree)}
    for _ in range(rng.randint(1, 3)):
        places = list(_places(changed))
        _change(rng, *rng.choice(places), places)
    return changed.get("")


def _places(node):
    """Yield every (container, key)."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in items:
        yield node, key
        if isinstance(child, dict | list):
            yield from _places(child)


def _change(rng, container, key, places):
    kind = rng.choice(("value", "value", "value", "delete", "copy", "wrap", "repeat", "rename", "text"))
    value = container[key]
    if kind == "value":
        container[key] = copy.deepcopy(rng.choice(HOSTILE_VALUES))
    elif kind == "delete" and key != "":
        del container[key]
    elif kind == "copy":
        other, there = rng.choice(places)
        container[key] = copy.deepcopy(other[there]) if there in _keys(other) else None
    elif kind == "wrap":
        container[key] = rng.choice(([value], {"x": value}, {"choice": [value]}, {"range": [value, value]}))
    elif kind == "repeat" and isinstance(value, list):
        container[key] = value * rng.choice((2, 20, 2_000))
    elif kind == "rename" and isinstance(container, dict) and key != "":
        container[rng.choice(("x", "", "__class__", f"{key}s", "include", "1"))] = container.pop(key)
    elif isinstance(value, int | float | str):
        container[key] = rng.choice(
            (str(value), [value], -value if not isinstance(value, str) else value * 9)
        )


def _keys(container):
    return container if isinstance(container, dict) else range(len(container))


def damaged(rng, data, tree=None):
    """Return a damaged file: its bytes changed, or the plain data that it holds changed and written anew."""
    if tree is None or rng.random() < 0.5:
        return damaged_bytes(rng, data)
    # JSON is YAML but for its infinities, and escapes what UTF-8 cannot hold.
    text = json.dumps(damaged_tree(rng, tree), indent=rng.choice((None, 1)))
    return text.replace("Infinity", rng.choice(("Infinity", ".inf"))).encode()
