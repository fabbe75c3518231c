"""Every shipped document is read; errors name file, place, rule and value."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesearch import documents, load
from scalesearch.architecture.document import from_document, to_document
from scalesearch.architecture.domains import Range, random_values
from scalesearch.errors import InputError

ROOT = Path(__file__).parent.parent
READERS = {
    "network": documents.load,
    "references": documents.load_references,
    "space": documents.load_space,
    "study": documents.load_study,
    "recipe": lambda path: (
        documents.load_full_recipe if "epochs" in documents.read(path) else documents.load_recipe
    )(path),
    "survey": documents.load_survey,
    "dashboard": documents.load_layout,
}
SHIPPED = [
    (kind, path) for kind, folder in documents.FOLDERS.items() for path in (ROOT / folder).glob("*.yaml")
]


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_document_is_read(kind, path):
    assert READERS[kind](path)
    assert documents.names(kind)[path.stem].samefile(path)


@pytest.mark.parametrize("path", sorted((ROOT / "space/networks").glob("*.yaml")), ids=lambda p: p.stem)
def test_network_documents_are_written_as_they_are_printed(path):
    document = {k: v for k, v in documents.read(path).items() if k not in documents.ABOUT}
    assert to_document(load(path)) == document
    assert documents.read_text(documents.write_text(document), "printed") == document


@pytest.mark.parametrize("path", sorted((ROOT / "space/searches").glob("*.yaml")), ids=lambda p: p.stem)
def test_spaces_survive_being_stored(path):
    import numpy as np

    space = documents.load_space(path)
    stored = documents.plain(space)
    again = documents.space_from(documents.read_text(documents.write_text(stored), "stored"), "stored")
    one, two = (s.draw(random_values(np.random.default_rng(3))) for s in (space, again))
    assert one == two


BASE = """\
name: mine
resolution: 64
stem: {channels: 16}
stages:
  - {operator: mbconv, channels: 16, repeats: 1, kernel: 3}
head: {channels: 64}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kernel: 3", "kernal: 3", "stages.0.kernal: there is no such field; did you mean 'kernel'?"),
        ("kernel: 3", "kernel: 4", "stages.0: kernel must be odd, so that padding is symmetric, but got 4"),
        ("kernel: 3", "kernel: wide", "stages.0.kernel: input should be a valid integer"),
        ("operator: mbconv", "operator: mbcon", "stages.0: an operator is one of mbconv"),
        ("operator: mbconv, ", "", "stages.0.operator: field required"),
        ("repeats: 1", "repeats: 0", "repeats must be a whole number of at least 1, but got 0"),
        ("stem: {channels: 16}\n", "", "a network needs the field 'stem'"),
        ("resolution: 64", "resolution: [64, 64, 64]", "resolution needs 2 numbers"),
        ("stages:", "stags:", "stags: there is no such field; did you mean 'stages'?"),
        ("head: {channels: 64}", "head: {dropout: 2}", "head: dropout must be in [0, 1), but got 2"),
        ("head: {channels: 64}", "head: {act: tanh}", "head: an activation function is one of"),
        ("name: mine", "name: mine\nname: other", ":2: no valid YAML: the key 'name' stands twice"),
        ("kernel: 3}", "kernel: 3", ":6: no valid YAML"),
        (BASE, "- 1\n", "a document is a mapping, but this is list"),
    ],
)
def test_a_malformed_network_names_file_place_rule_and_value(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(BASE.replace(old, new))
    with pytest.raises(InputError) as raised:
        load(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "channels: 16, rep",
            "channels: {choice: []}, rep",
            "stages.0.channels: a choice needs at least one value",
        ),
        (
            "repeats: 1",
            "repeats: {range: [3, 1]}",
            "stages.0.repeats: a range needs low <= high, but got [3, 1]",
        ),
        ("kernel: 3", "kernel: {choice: [3, 4]}", "stages.0: kernel must be odd"),
        (
            "kernel: 3",
            "groups: {choice: [1, 2]}",
            "stages.0.groups: no operator of this stage takes 'groups'",
        ),
        ("growth: 2", "growth: 1", "coefficients.growth: growth must exceed 1, but got 1"),
        ("growth: 2", "depth: {range: [0, 2]}", "coefficients.depth: a share must be in [0, 1], but got 2"),
        ("repeats: 1", "repeats: {range: [1, 3], steps: 1}", "did you mean 'step'?"),
        ("repeats: 1", "repeats: {range: [0, 3]}", "stages: one stage must have at least 1 repeat"),
        ("mbconv", "{choice: [[mbconv]]}", "stages.0.operator: an operator is one of"),
        ("mbconv", "mbcov", "stages.0.operator: an operator is one of"),
        ("{channels: 64}", "{channels: 64, act: {same: stem.axt}}", "there is none called 'stem.axt'"),
        (
            "channels: 16, rep",
            "channels: {range: [16, 30], step: 8}, rep",
            "a whole number of steps above low",
        ),
    ],
)
def test_a_malformed_space_names_file_place_rule_and_value(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text((BASE + "coefficients: {growth: 2}\n").replace(old, new))
    with pytest.raises(InputError) as raised:
        documents.load_space(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_reference_points_are_figures_of_published_networks():
    points = {point.name: point for point in documents.load_references("regnet")}
    assert (points["regnet_y_400mf"].params, points["regnet_y_400mf"].flops) == (4_344_144, 401_842_848)
    assert len(points) == 15
    assert all(60 < point.top1 < 100 for point in points.values())


def test_unknown_names_come_with_near_misses(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"no network is called 'eficientnet_b0'; near are efficientnet_b0"):
        load("eficientnet_b0")
    with pytest.raises(InputError, match=r"no space is called 'mixd'; near are mixed"):
        documents.load_space("mixd")
    with pytest.raises(InputError, match="there is no such network document"):
        load(tmp_path / "nothing.yaml")
    (tmp_path / "space/networks").mkdir(parents=True)
    (tmp_path / "space/networks/efficientnet_b0.yaml").write_text(BASE)
    monkeypatch.chdir(tmp_path)
    assert load("efficientnet_b0").name == "mine"  # the current folder wins


def test_numbers_are_those_of_yaml_1_2(tmp_path):
    path = tmp_path / "numbers.yaml"
    path.write_text("a: 2e9\nb: 1e-5\nc: on\nd: true\ne: .5\nf: 1_000\n")
    expected = {"a": 2e9, "b": 1e-5, "c": "on", "d": True, "e": 0.5}
    assert {k: v for k, v in documents.read(path).items() if k != "f"} == expected


WORDS = st.text(min_size=1)
PLAIN = WORDS | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()


@given(st.dictionaries(WORDS, PLAIN))
@settings(deadline=None, max_examples=300)
def test_what_is_written_reads_back_as_it_was(document):
    assert documents.read_text(documents.write_text(document), "written") == document


@pytest.mark.parametrize("text", ["1e5", "2e9", "1e1", "on", ".5", "0x1", "1:30", "~", "null", "=", "<<"])
def test_text_that_looks_like_something_else_stays_text(text):
    assert documents.read_text(documents.write_text({"a": text, text: "b"}), "written") == {
        "a": text,
        text: "b",
    }


@given(st.integers(-5, 5), st.integers(0, 40), st.sampled_from([None, 1, 2, 8]))
@settings(deadline=None)
def test_a_range_contains_what_is_drawn_from_it(low, width, step):
    import numpy as np

    width -= width % (step or 1)
    domain = Range(low, low + width, step)
    drawn = random_values(np.random.default_rng(width))("x", domain)
    assert domain.contains(drawn)
    assert not domain.contains(low + width + 1)
    assert len(domain) == len([v for v in range(low, low + width + 1) if domain.contains(v)])


def test_the_wheel_carries_the_documents_and_works_from_an_empty_folder(tmp_path):
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "import scalesearch.documents as d; print(d.__file__); print(d.find('network', 'efficientnet_b0'));"
        "print(d.load_space('mixed').least().flops, d.load_study('default').rungs,"
        "d.load_recipe('proxy').batch_size, len(d.load_layout('default').panels),"
        "d.load('efficientnet_b0').cost().params)"
    )
    environment = {"PYTHONPATH": str(site), "PATH": ""}
    run = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where, document, figures = done.stdout.splitlines()
    assert Path(where).is_relative_to(site)
    assert Path(document).is_relative_to(site)
    assert figures.split()[-1] == "5288548"
    assert not (site / "scalesearch/documents/studies/results").exists()
    shutil.rmtree(site)


def test_a_network_is_the_same_however_its_defaults_are_spelt():
    spelt = {"name": "a", "resolution": 32, "stem": {"channels": 8}, "head": {}}
    row = {"operator": "mbconv", "channels": 8, "repeats": 1}
    short = from_document(spelt | {"stages": [row]})
    long = from_document(spelt | {"name": "b", "stages": [row | {"stride": 1, "kernel": 3, "expand": 6.0}]})
    assert short == long
    assert to_document(short)["stages"] == to_document(long)["stages"]
