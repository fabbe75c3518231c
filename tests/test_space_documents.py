"""The language of space documents: every construct, include, and errors that name place, rule and value."""

import numpy as np
import pytest
from spaces import random_document

from scalesearch import documents, load
from scalesearch.architecture.domains import Choice, Range, Same, random_values
from scalesearch.architecture.membership import skeleton
from scalesearch.documents import load_space, plain, read_text, space_from, write_text
from scalesearch.errors import InputError


def stored(space):
    """Read a space back from what a run stores."""
    return space_from(read_text(write_text(plain(space)), "stored"), "stored")


@pytest.mark.parametrize("seed", range(2))
def test_random_spaces_with_every_construct_survive_being_stored(seed):
    rng = np.random.default_rng(seed)
    for _ in range(6):
        space = space_from(random_document(rng), "random")
        again = stored(space)
        assert again == space
        one, two = (s.draw(random_values(np.random.default_rng(7))) for s in (space, again))
        assert one == two


SPACE = """\
name: mine
resolution: 64
drop_path: 0.1
stem: {channels: 16, act: {choice: [silu, relu]}}
stages:
  - {operator: mbconv, channels: 16, repeats: 1, kernel: 3, act: {same: stem.act}}
  - {operator: {choice: [mbconv, shufflenet_v2]}, channels: 24, repeats: {range: [0, 2]}, expand: 2,
     stride: 2}
head: {channels: 64}
coefficients: {growth: 2}
"""
BAD = [
    ("name: mine", "", ": a space needs the field 'name'"),
    (
        "name: mine",
        "name: {choice: [a, b]}",
        "name: is one value in every network of a space, but is {'choice'",
    ),
    ("name: mine", "name: mine\ndims: {choice: [2, 3]}", "dims: is one value in every network"),
    ("name: mine", "name: 3", "name: input should be a valid string, but got 3"),
    ("drop_path: 0.1", "drop_path: {choice: [0.1, 1.5]}", "drop_path must be in [0, 1), but got 1.5"),
    ("drop_path: 0.1", "drop_path: {range: [0.0, 2.0]}", "drop_path must be in [0, 1), but got"),
    ("drop_path: 0.1", "drop_pat: 0.1", "drop_pat: there is no such field; did you mean 'drop_path'?"),
    ("drop_path: 0.1", "norm: {eps: {choice: [a]}}", "but got 'a'"),
    (
        "drop_path: 0.1",
        "classes: {choice: [10, 0]}",
        "classes must be a whole number of at least 1, but got 0",
    ),
    ("resolution: 64", "resolution: {choice: [64, wide]}", "but got 'wide'"),
    ("resolution: 64", "resolution: [64, {choise: [64]}]", "resolution.1.choise: there is no such field"),
    ("stem: {channels: 16,", "stem: {choice: [1], channels: 16,", "stem.choice: there is no such field"),
    (
        "stem: {channels: 16,",
        "stem: {channels: {range: [0, 16]},",
        "stem: channels must be a whole number of",
    ),
    ("stem: {channels: 16,", "stem: {channels: {range: [8.5, 16]},", "but got 8.5"),
    ("stem: {channels: 16,", "stem: {channels: {range: [8, 16], step: 0.5},", "but got 8.0"),
    (
        "stem: {channels: 16,",
        "stem: {channels: {range: [8, 16], log: 1},",
        "stem.channels.log: is true or false",
    ),
    (
        "stem: {channels: 16,",
        "stem: {channels: {range: [0, 16], log: true},",
        "a log range needs low > 0, but got 0",
    ),
    (
        "stem: {channels: 16,",
        "stem: {channels: {range: [8]},",
        "stem.channels.range: a range is [low, high], but got [8]",
    ),
    (
        "stem: {channels: 16,",
        "stem: {channels: {range: [8, .inf]},",
        "a range is made of numbers, but got inf",
    ),
    (
        "stem: {channels: 16,",
        "stem: {channels: {range: [8, 16], step: -1},",
        "step must be positive, but got -1",
    ),
    (
        "stem: {channels: 16,",
        "stem: {channels: {same: 3},",
        "stem.channels: a tie names a leaf such as stem.act, but got 3",
    ),
    ("[silu, relu]", "[silu, rely]", "an activation function is one of"),
    ("[silu, relu]", "[silu, silu]", "stem.act: a choice states each value once, but 'silu' stands twice"),
    ("[silu, relu]", "silu", "stem.act: a choice is a list of values, but got 'silu'"),
    ("[silu, relu]", "[{choice: [relu]}]", "stem.act: a choice is made of plain values, but got {'choice'"),
    (
        "kernel: 3",
        "kernel: {range: [3, 7]}",
        "stages.0: kernel must be odd, so that padding is symmetric, but got 4",
    ),
    (
        "kernel: 3",
        "kernel: {chioce: [3, 5]}",
        "stages.0.kernel.chioce: there is no such field; did you mean 'choice'?",
    ),
    ("kernel: 3", "kernel: {}", "stages.0.kernel: a leaf is a value, a choice, a range or a tie, but is {}"),
    (
        "kernel: 3",
        "kernel: {choice: [3], step: 2}",
        "stages.0.kernel.step: there is no such field; known are choice",
    ),
    ("kernel: 3", "kernel: {same: stem.channels}", "stages.0: kernel must be odd"),
    (
        "kernel: 3",
        "kernel: {same: stem.chanels}",
        "there is none called 'stem.chanels'; did you mean 'stem.channels'?",
    ),
    (
        "kernel: 3",
        "kernel: {same: stages.1.channels}",
        "stages.0.kernel: a tie names an earlier leaf, but 'stages.1",
    ),
    ("kernel: 3", "kernel: {same: stages.0.kernel}", "'stages.0.kernel' does not come before it"),
    (
        "kernel: 3",
        "kernel: {same: stem}",
        "stages.0.kernel: a tie names an earlier leaf, but there is none called 'stem'",
    ),
    (
        "kernel: 3",
        "kernel: 3, groups: {choice: [0]}",
        "stages.0.groups: no operator of this stage takes 'groups'",
    ),
    ("expand: 2", "kernel: {same: stages.0.groups}", "there is none called 'stages.0.groups'"),
    ("expand: 2", "groups: 2", "stages.1.groups: no operator of this stage takes 'groups'"),
    (
        "repeats: 1",
        "repeats: 0",
        "stages.0.repeats: a stage must be able to have at least 1 repeat, but it has 0",
    ),
    (
        "repeats: 1",
        "repeats: {range: [0.0, 2.0]}",
        "repeats must be whole numbers of at least 0 (absent), but got 0.0",
    ),
    (
        "repeats: 1",
        "repeats: {choice: [-1, 2]}",
        "stages.0.repeats: repeats must be whole numbers of at least 0",
    ),
    (
        "repeats: 1",
        "repeats: {range: [0, 1]}",
        "stages: one stage must have at least 1 repeat, but every one may have 0",
    ),
    ("repeats: 1", "repeats: 1, repeat: 2", "stages.0.repeat: no operator of this stage takes 'repeat'"),
    ("shufflenet_v2]", "shufflenet_v3]", "stages.1.operator: an operator is one of"),
    ("operator: mbconv, ", "", "stages.0: a stage needs the field 'operator'"),
    ("growth: 2", "growth: .inf", "growth must exceed 1, but got inf"),
    ("growth: 2", "depth: {choice: [0.5, half]}", "coefficients.depth: input should be a valid number"),
    ("growth: 2", "deep: 1", "coefficients.deep: there is no such field; did you mean 'depth'?"),
    ("coefficients: {growth: 2}", "coefficients: 2", "coefficients: must be a mapping, but is 2"),
    ("head: {channels: 64}", "head: [64]", "head: must be a mapping, but is [64]"),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD)
def test_a_malformed_space_names_file_place_rule_and_value(tmp_path, old, new, message):
    assert load_space_text(tmp_path, SPACE).name == "mine"
    assert old in SPACE
    with pytest.raises(InputError) as raised:
        load_space_text(tmp_path, SPACE.replace(old, new))
    assert str(raised.value).startswith(str(tmp_path / "mine.yaml"))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def load_space_text(folder, text, name="mine.yaml"):
    (folder / name).write_text(text)
    return load_space(folder / name)


def test_sections_may_stand_in_any_order(tmp_path):
    lines = SPACE.splitlines()
    turned = "\n".join([lines[-2].replace("64", "64, act: {same: stem.act}"), *lines[:-2], lines[-1]])
    assert load_space_text(tmp_path, turned).document["head"]["act"] == Same("stem.act")


def test_an_included_network_is_a_space_of_one_base_with_free_shares():
    space = space_from({"name": "one", "include": "efficientnet_b4"}, "one")
    assert space.bases() == 1
    assert space.coefficients == {"depth": Range(0.0, 1.0), "width": Range(0.0, 1.0), "growth": 2}
    base = space.draw(random_values(np.random.default_rng(0))).base
    assert base == load("efficientnet_b4")
    assert stored(space) == space
    assert "include" not in plain(space)


@pytest.mark.parametrize("name", sorted(documents.names("network")))
def test_every_network_can_be_included(name):
    space = space_from({"name": "one", "include": name}, "one")
    assert skeleton(space.decode({})) == skeleton(load(name))


def test_own_fields_go_over_the_included_ones_key_by_key():
    own = {
        "name": "some",
        "include": "efficientnet_b0",
        "resolution": {"choice": [192, 224]},
        "stem": {"channels": {"range": [24, 40], "step": 8}},
        "head": {"dropout": 0.5},
        "coefficients": {"growth": 1.92},
        "stages": {"all": {"kernel": {"choice": [3, 5]}}, 3: {"kernel": 7, "repeats": {"range": [1, 4]}}},
    }
    space = space_from(own, "some")
    stem, head, rows = (space.document[part] for part in ("stem", "head", "stages"))
    assert (stem["channels"], stem["kernel"]) == (Range(24, 40, 8), 3)
    assert (head["dropout"], head["channels"]) == (0.5, 1280)
    assert [row["kernel"] for row in rows] == [Choice((3, 5))] * 2 + [7] + [Choice((3, 5))] * 4
    assert (rows[2]["repeats"], rows[2]["channels"]) == (Range(1, 4), 40)
    assert space.coefficients["growth"] == 1.92
    by_row = [{"kernel": {"choice": [3, 5]}} for _ in range(7)]
    by_row[2] = own["stages"][3]
    assert space_from(own | {"stages": by_row}, "some") == space
    same = space_from(own | {"stages": [{}] * 7}, "some")
    assert (
        same.document["stages"]
        == space_from({"name": "a", "include": "efficientnet_b0"}, "a").document["stages"]
    )


def test_included_options_that_a_new_operator_does_not_take_are_left_out():
    own = {"name": "a", "include": "efficientnet_b0", "stages": {2: {"operator": "shufflenet_v2"}}}
    row = space_from(own, "a").document["stages"][1]
    assert row == {
        "operator": "shufflenet_v2",
        "channels": 24,
        "repeats": 2,
        "stride": 2,
        "kernel": 3,
        "act": "silu",
    }


def test_a_space_can_include_a_space_or_a_path(tmp_path, monkeypatch):
    wider = space_from({"name": "wide", "include": "mixed", "coefficients": {"growth": 3}}, "wide")
    assert wider.document == load_space("mixed").document
    assert wider.coefficients["growth"] == 3
    load_space_text(tmp_path, SPACE)
    monkeypatch.chdir(tmp_path)
    again = load_space_text(tmp_path, "name: b\ninclude: mine.yaml\nstages: {2: {channels: 32}}\n", "b.yaml")
    assert again.document["stages"][1]["channels"] == 32
    (tmp_path / "net.yaml").write_text(
        "name: n\nresolution: 32\nstem: {channels: 8}\nstages: [{operator: mbconv, channels: 8, repeats: 1}]"
    )
    assert space_from({"name": "c", "include": "net.yaml"}, "c").document["stem"]["channels"] == 8


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("include: efficientnet_b9", "include: no network or space is called 'efficientnet_b9'"),
        ("include: nothing.yaml", "nothing.yaml: there is no such network document"),
        ("include: [a]", "include: names a network or a space, or is a document's path, but is ['a']"),
        (
            "include: efficientnet_b0\nstages: [{}, {}]",
            "stages: changes each of the 7 included stages, but has 2 rows",
        ),
        (
            "include: efficientnet_b0\nstages: {8: {}}",
            "stages.8: a stage is named by its number from 1 to 7, or all, but got 8",
        ),
        ("include: efficientnet_b0\nstages: {al: {}}", "stages.al: a stage is named by its number"),
        ("include: efficientnet_b0\nstages: {1: 3}", "stages.1: must be a mapping, but is 3"),
        (
            "include: efficientnet_b0\nstages: 3",
            "stages: must be a list of rows or a mapping by stage number, but is 3",
        ),
        ("include: efficientnet_b0\nstem: 3", "stem: must be a mapping, but is 3"),
        (
            "include: efficientnet_b0\nstages: {all: {groups: 2}}",
            "stages.0.groups: no operator of this stage takes",
        ),
        ("include: efficientnet_b0\nstages: {2: {kernel: {choice: [4]}}}", "stages.1: kernel must be odd"),
        ("include: mine.yaml", "include: a document cannot include itself, but mine.yaml includes mine.yaml"),
        ("include: other.yaml", "mine.yaml includes other.yaml includes mine.yaml"),
        ("include: broken.yaml", "broken.yaml: a network needs the field 'stem'"),
    ],
)
def test_a_wrong_include_names_file_place_rule_and_value(tmp_path, monkeypatch, own, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.yaml").write_text("name: other\ninclude: mine.yaml\n")
    (tmp_path / "broken.yaml").write_text("name: broken\nresolution: 32\n")
    with pytest.raises(InputError) as raised:
        load_space_text(tmp_path, f"name: mine\n{own}\n")
    assert message in str(raised.value)
    assert "mine.yaml" in str(raised.value)
