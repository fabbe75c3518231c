"""Documents made to hang, to fill the memory, to run code or to write elsewhere: one clear line each."""

import contextlib
import io
import json
import resource

import pytest
import yaml
from test_documents import BASE
from test_fuzz import limited

from scalesearch import documents, load
from scalesearch.cli import app
from scalesearch.documents import loader
from scalesearch.errors import InputError

SPACE = BASE + "coefficients: {growth: 2}\n"
MEGABYTES = 200


def bomb(link):
    """Each line holds nine times the line before."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} " + link(", ".join([f"*a{n - 1}"] * 9)) for n in range(1, 10)]
    return "\n".join(lines)


TEXTS = {
    bomb(lambda nine: f"[{nine}]"): "at most 10,000 values",
    bomb(lambda nine: f"{{<<: [{nine}]}}"): "at most 10,000 values",
    "".join(f"k{n}: {n}\n" for n in range(30_000)): "at most 10,000 values",
    "name: &a [*a]": "*a stands within what it names",
    "name: &a {<<: *a}": "*a stands within what it names",
    "a: " + "[" * 100_000: "at most 32 mappings and lists deep",
    "{" * 100_000: "at most 32 mappings and lists deep",
    "- " * 100_000: "at most 32 mappings and lists deep",
    "? " * 100_000: "at most 32 mappings and lists deep",
    "\n".join(" " * n + "a:" for n in range(200)): "at most 32 mappings and lists deep",
    "a" * 400_000 + ": 1": "at most 20,000 characters",
    "name: " + "a" * 400_000: "at most 20,000 characters",
    "#" * 600_000: "at most 500,000 characters",
    BASE.replace("64\nstem", "9" * 4_000 + "\nstem"): "a number has at most 40 characters",
    BASE.replace("64\nstem", "0x" + "f" * 4_000 + "\nstem"): "a number has at most 40 characters",
    "a: !!python/object/apply:os.system [true]": "no tags",
    "%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [true]": "no tags",
    "a: !!set [1]": "no tags",
    "a: !!int ''": "no tags",
    "!!binary aGk=: 1": "no tags",
    BASE + "---\n" + BASE: "found another document",
    BASE.replace("mine", "mi\0ne"): "unacceptable character",
    BASE.replace("mine", r'"\0mine"'): "a name is one printable line",
    BASE.replace("mine", r'"\e[31m"'): "a name is one printable line",
    BASE.replace("mine", "'[/bold]'"): "a name is one printable line",
    BASE.replace("mine", r'"\ud800"'): "half of a surrogate pair",
    BASE.replace("name: mine", r'"na\e[31mme": mine'): r"na\x1b[31mme: there is no such field",
    "? [1, 2]\n: 3": "a key is plain text",
    "<<: 3": "expected a mapping",
}


def row(**changes):
    return {"operator": "mbconv", "channels": 16, "repeats": 1} | changes


def network(*rows, **changes):
    return {
        "name": "n",
        "resolution": 64,
        "stem": {"channels": 16},
        "stages": list(rows or [row()]),
    } | changes


def space(*rows, **changes):
    return network(*rows, **changes) | {"coefficients": {"growth": 2} | changes.get("coefficients", {})}


BIG = 10**12
TREES = [
    (network(row(repeats=10**9)), "stages.0.repeats: must be at most 1,000, but got 1000000000"),
    (network(*[row(repeats=500)] * 3), "a network has at most 1,000 blocks, but this has 1,500"),
    (network(*[row()] * 101), "stages: a network has at most 100 stages, but this has 101"),
    (network(row(channels=BIG)), "stages.0.channels: must be at most 1,000,000"),
    (network(row(kernel=65)), "stages.0.kernel: must be at most 63"),
    (network(row(stride=BIG)), "stages.0.stride: must be at most 63"),
    (network(row(expand=1e300)), "stages.0.expand: must be at most 1,000"),
    (network(row(expand=float("inf"))), "stages.0.expand: must be at most 1,000"),
    (network(row(expand=float("nan"))), "expand must be at least 1, but got nan"),
    (network(row(divisor=BIG)), "stages.0.divisor: must be at most 1,000,000"),
    (network(resolution=10**9), "resolution: must be at most 65,536"),
    (network(resolution=[10**9, 64]), "resolution: must be at most 65,536"),
    (network(classes=10**15), "classes: must be at most 1,000,000"),
    (network(in_channels=10**30), "in_channels: must be at most 1,000,000"),
    (network(head={"hidden": 10**30}), "head.hidden: must be at most 1,000,000"),
    (network(stem={"channels": 10**30}), "stem.channels: must be at most 1,000,000"),
    (network(drop_path="0.1"), "drop_path: must be a number, but got the text '0.1'"),
    (network(row(se="0.25")), "stages.0.se: must be a number, but got the text '0.25'"),
    (network(name="x" * 1_000), "a name is one printable line of at most 300 characters"),
    (space(row(channels={"range": [1, BIG]})), "a range is made of numbers up to 1e+09"),
    (space(row(channels={"range": [8, 8_000_000], "step": 8})), "a range has at most 2,048 values"),
    (space(row(expand={"range": [1.0, 6.0], "step": 5e-12})), "a range has at most 2,048 values"),
    *(
        (space(row(expand={"range": [1.0, 6.0], "step": step})), "a range has at most 1e+12 steps")
        for step in (5e-20, 1e-320)
    ),
    (space(row(channels={"choice": list(range(8, 1008))})), "a choice has at most 256 values"),
    (space(row(repeats={"range": [1, 5_000]})), "repeats: a range has at most 2,048 values"),
    (space(resolution=[{"range": [32, 640]}] * 2), "resolution: joint values are at most 2,048"),
    (space(resolution={"range": [32, 128_032], "step": 128}), "resolution: must be at most 65,536"),
    (
        space(*[row(channels={"choice": list(range(8, 88))})] * 99),
        "values to be tried times stages are at most",
    ),
    (space(coefficients={"growth": 1e300}), "growth is from 1.001 to 100"),
    (space(coefficients={"growth": 1.0000000000000002}), "growth is from 1.001 to 100"),
    (space(coefficients={"depth": "0.5"}), "coefficients.depth: must be a number, but got '0.5'"),
    (space(include="x" * 400), "no network or space is called"),
    (space(include="x" * 2_000), "names a network or a space, or is a document's path"),
    (space(include="/dev/zero"), "no network or space is called"),
]


@contextlib.contextmanager
def bounded():
    """A second of the processor, and little memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with limited():
        yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MEGABYTES


def raised_by(read, path):
    with bounded(), pytest.raises(InputError) as raised:
        read(path)
    said = str(raised.value)
    assert said.startswith(str(path))
    assert len(said) < 1_500
    assert said.isprintable()
    return said


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:24]))
def test_hostile_text_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    assert TEXTS[text] in raised_by(load, path)


@pytest.mark.parametrize(
    ("tree", "message"), TREES, ids=lambda value: value[:40] if type(value) is str else ""
)
def test_documents_of_senseless_size_are_refused_in_one_line(tmp_path, tree, message):
    path = tmp_path / "hostile.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(tree)), sort_keys=False))
    assert message in raised_by(documents.load_space if "coefficients" in tree else load, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("multipliers: {width: 1.0e+300}", "width must be above 0 and at most 100"),
        ("multipliers: {depth: .inf}", "depth must be above 0 and at most 100"),
        ("multipliers: {width: -1}", "width must be above 0 and at most 100"),
        ("repeats: [1000000000]", "a network has at most 1,000 blocks"),
        ("channels: [1000000000]", "channels: must be at most 1,000,000"),
        ("resolution: 1000000000", "resolution: must be at most 65,536"),
    ],
)
def test_variants_of_senseless_size_are_refused_in_one_line(tmp_path, changes, message):
    path = tmp_path / "hostile.yaml"
    path.write_text(BASE + f"variants:\n- {{name: large, {changes}}}\n")
    assert message in raised_by(lambda path: list(documents.entries(path)), path)


@pytest.mark.parametrize("name", ["../../outside", "/outside", ".hidden", "a/b", "", "x" * 101, r"a\nb"])
@pytest.mark.parametrize("kind", ["study", "survey"])
def test_a_study_cannot_name_a_folder_elsewhere(tmp_path, kind, name):
    path = tmp_path / "hostile.yaml"
    text = documents.find(kind, "default" if kind == "study" else "mixed").read_text()
    own = documents.read_text(text, "shipped")["name"]
    path.write_text(text.replace(f"name: {own}\n", f'name: "{name}"\n'))
    read = documents.load_study if kind == "study" else documents.load_survey
    assert "name" in raised_by(read, path)


def test_aliases_and_merge_keys_of_a_reasonable_document_are_read():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n"
    expected = {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2}
    assert documents.read_text(text, "text") == expected
    assert documents.read_text("\ufeff" + text, "text") == expected


def test_values_are_counted_where_an_alias_repeats_them(monkeypatch):
    text = "a: &a [1, 2, 3]\nb: [*a, *a]\n"
    monkeypatch.setattr(loader, "MOST_VALUES", 16)
    assert documents.read_text(text, "text")["b"] == [[1, 2, 3]] * 2
    monkeypatch.setattr(loader, "MOST_VALUES", 15)
    with pytest.raises(InputError, match="at most 15 values"):
        documents.read_text(text, "text")


def test_whole_numbers_are_those_of_yaml_1_2():
    text = "[017, 0x1F, -3, 1:59, 1_000, 2001-01-01, =, 0b11]"
    expected = [17, 31, -3, "1:59", "1_000", "2001-01-01", "=", "0b11"]
    assert documents.read_text(f"a: {text}", "text")["a"] == expected


LARGEST = [
    ("show", network(row(repeats=1_000))),
    ("show", network(*[row(repeats=10)] * 100, classes=10**6, resolution=65_536)),
    ("scale --budget-flops 1e9", network(*[row(repeats=2)] * 10)),
    ("space map --samples 100", space(*[row(channels={"range": [8, 64], "step": 8})] * 30)),
    (
        "space map --samples 100",
        space(row(channels={"range": [1, 2_048]}, kernel={"range": [1, 63], "step": 2})),
    ),
    ("space map --samples 100", space(resolution={"range": [32, 2_079]})),
    ("space contains efficientnet_b0", space(row(channels={"range": [1, 2_048]}))),
]


@pytest.fixture(scope="module", autouse=True)
def _imported():
    """What commands import once is not part of an answer's second."""
    with contextlib.redirect_stdout(io.StringIO()):
        for words in (
            "show efficientnet_b0",
            "scale efficientnet_b0 --budget-flops 1e9",
            "space map mixed --samples 9",
        ):
            app(words.split(), standalone_mode=False)


@pytest.mark.parametrize(("words", "tree"), LARGEST)
def test_documents_at_the_limits_are_answered(tmp_path, words, tree):
    path = tmp_path / "large.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    command, *rest = words.split()
    before = [rest.pop(0)] if command == "space" else []
    with contextlib.redirect_stdout(io.StringIO()), bounded():
        app([command, *before, str(path), *rest], standalone_mode=False)
