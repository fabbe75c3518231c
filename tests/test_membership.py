"""Which values give a network: the inverse of drawing, against brute force, and in the command."""

import json
import sys
import time
from itertools import product

import numpy as np
import pytest
from spaces import random_space
from test_imports import command, loaded

from scalesearch import cli, load
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.encoding import merged
from scalesearch.architecture.membership import skeleton
from scalesearch.architecture.space import SearchSpace
from scalesearch.cli.space import ask
from scalesearch.documents import find_network, known_networks, load_space, space_from

MIXED = load_space("mixed")


def drawn_again(space, rng, draws):
    """Draw bases, encode and decode them, and count those that come back as another network."""
    others = 0
    for _ in range(draws):
        base = space.draw(random_values(rng)).base
        others += merged(space.decode(space.encode(base))) != merged(base)
    return others


@pytest.mark.parametrize(
    ("name", "draws"), [("mixed", 200), ("video", 150), ("efficientnet_v2_s_blocks", 50)]
)
def test_every_drawn_base_of_a_shipped_space_encodes_to_itself(name, draws):
    assert drawn_again(load_space(name), np.random.default_rng(5), draws) == 0


@pytest.mark.parametrize("seed", range(4))
def test_every_drawn_base_of_random_spaces_encodes_to_itself(seed):
    rng = np.random.default_rng(seed)
    assert sum(drawn_again(random_space(rng), rng, 8) for _ in range(15)) == 0


def rows(repeats, channels, **more):
    return [
        {"operator": {"choice": ["mbconv", "shufflenet_v1"]}, "channels": {"choice": channels}}
        | {"repeats": {"choice": repeats}, "stride": stride, "groups": 3, "expand": 2, **tied}
        for stride, tied in ((2, more), (1, {}), (1, {"kernel": {"same": "stages.0.kernel"}}))
    ]


def small(repeats, channels, kernels):
    stages = rows(repeats, channels, kernel={"choice": kernels})
    stages[1]["repeats"] = 1
    document = {"name": "small", "resolution": 32, "stem": {"channels": 8}, "stages": stages}
    return space_from(document | {"coefficients": {}}, "small")


def bases(space):
    """Return every base of a space, by brute force."""
    domains = space.domains()
    for values in product(*(domain.values for domain in domains.values())):
        yield space.decode(dict(zip(domains, values, strict=True)))


def test_what_is_inside_is_what_brute_force_finds():
    inner, outer = small([0, 2], [12, 20], [3, 5]), small([0, 1, 2], [12, 20, 24], [3, 5])
    inside = {skeleton(base) for base in bases(inner)}
    everything = {skeleton(base) for base in bases(outer)}
    assert 50 < len(inside) < len(everything) / 3
    for network in everything:
        answer = inner.contains(network)
        assert answer.inside == (network in inside), answer.how


def test_a_tie_to_an_absent_stage_keeps_the_value_drawn_there():
    space = small([0, 2], [12, 20], [3, 5])
    values = {"stages.0.operator": "mbconv", "stages.0.repeats": 0, "stages.0.kernel": 5}
    values |= {"stages.1.operator": "mbconv", "stages.1.channels": 12}
    values |= {"stages.2.operator": "mbconv", "stages.2.repeats": 2, "stages.2.channels": 20}
    base = space.decode(values)
    assert dict(base.stages[-1].options)["kernel"] == 5
    assert space.encode(base)["stages.0.kernel"] == 5


def test_ties_over_all_stages_hold_in_every_draw_and_are_named_where_broken():
    space = load_space("efficientnet_v2_s_blocks")
    rng = np.random.default_rng(0)
    drawn = [space.draw(random_values(rng)).base for _ in range(40)]
    kernels = [{dict(stage.options)["kernel"] for stage in base.stages} for base in drawn]
    assert all(len(found) == 1 for found in kernels)
    assert {3} in kernels
    assert {5} in kernels
    why = space.contains(load("efficientnet_b0")).how
    assert "stem.channels is 24, and not 32" in why


@pytest.mark.parametrize("many", [7, 20])
def test_many_rows_that_may_be_absent_take_no_time(many):
    row = {"operator": "mbconv", "channels": {"range": [8, 64]}, "repeats": {"range": [0, 3]}}
    document = {"name": "many", "resolution": 32, "stem": {"channels": 16}, "head": {"channels": None}}
    stages = [row] * (many - 1) + [row | {"repeats": 1, "channels": 64, "stride": 2}]
    space = space_from(document | {"stages": stages, "coefficients": {}}, "many")
    base = space.draw(random_values(np.random.default_rng(1))).base
    assert merged(space.decode(space.encode(base))) == merged(base)
    last = base.stages[-1]
    outside = type(base)(**{**vars(base), "stages": (*base.stages, last, last)})
    start = time.perf_counter()
    assert not space.contains(outside).inside
    assert time.perf_counter() - start < 0.5


def test_encoding_is_quick():
    rng = np.random.default_rng(0)
    drawn = [MIXED.draw(random_values(rng)).base for _ in range(60)]
    seconds = []
    for base in drawn:
        start = time.perf_counter()
        MIXED.encode(base)
        seconds.append(time.perf_counter() - start)
    assert np.median(seconds) < 2e-3  # 0.4 ms on an idle core


def test_every_published_network_gets_an_answer_that_names_field_and_value():
    inside = set()
    for name in known_networks():
        entry = find_network(name)
        answer = ask(MIXED, entry).membership
        if answer.inside:
            inside.add(entry.network.name)
        else:
            field = any(part in answer.how for part in ("stages.", "stem.", "head.", "dims"))
            assert field, (name, answer.how)
            assert ("cannot be" in answer.how) or ("and not" in answer.how), (name, answer.how)
    assert {f"efficientnet_b{phi}" for phi in range(8)} <= inside
    assert len(inside) >= 25


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "mobilenet_v3_large",
            "head.channels cannot be 960: it is one of None, 640, 1024, 1280; head.hidden is",
        ),
        ("efficientnet_v2_m", "stage 5: stages.4.repeats cannot be 14: it is from 0 to 9"),
        ("shufflenet_v1_g1", "stage 1: stages.1.groups cannot be 1: it is one of 2, 3, 4, 8"),
        ("shufflenet3d_v2", "dims is 2, and not 3"),
    ],
)
def test_the_reason_is_that_of_the_closest_row(name, why):
    assert MIXED.contains(load(name)).how.startswith(why)


def test_a_videos_frames_are_no_matter_of_scaling():
    video, network = load_space("video"), load("seed_shufflenet3d_v1_g3")
    frames, *sides = network.resolution
    twice = type(network)(**{**vars(network), "resolution": (frames * 2, *sides)})
    assert video.contains(twice).how == f"resolution has {frames} frames, and not {frames * 2}"
    taller = type(network)(**{**vars(network), "resolution": (frames, sides[0] * 2, sides[1])})
    assert "times one factor" in video.contains(taller).how


def test_a_free_resolution_takes_the_networks_own_or_the_nearest():
    document = {"name": "free", "include": "efficientnet_b0", "resolution": {"choice": [192, 224, 256]}}
    space = space_from(document, "free")
    assert space.contains(load("efficientnet_b0")).values["resolution"] == 224
    b1 = space.contains(load("efficientnet_b1"))  # the same stages but for depth: outside without its table
    assert not b1.inside
    larger = type(load("efficientnet_b0"))(**{**vars(load("efficientnet_b0")), "resolution": 512})
    answer = space.contains(larger)
    assert (answer.values["resolution"], answer.multipliers) == (256, (1, 1, 2))


def test_values_for_what_a_network_is_not_compared_by_are_its_own():
    leaf = {"range": [0.0, 0.3], "step": 0.1}
    document = {"name": "a", "include": "efficientnet_b0", "drop_path": leaf, "head": {"dropout": leaf}}
    space = space_from(document | {"classes": {"choice": [10, 1000]}}, "a")
    assert isinstance(space, SearchSpace)
    base = space.draw(random_values(np.random.default_rng(2))).base
    assert space.decode(space.encode(base)) == base


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["scalesearch", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


def test_space_contains_says_inside_by_which_values(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "space", "contains", "mixed", "efficientnet_b4")
    assert code == 0
    assert "inside mixed: as efficientnet_b0, a base of the space under the table depth 1.8, width 1.4" in out
    assert "operator mbconv, stride 1, channels 16, expand 1" in out
    code, out, _ = run(monkeypatch, capsys, "space", "contains", "mixed", "efficientnet_b4", "--json")
    found = json.loads(out)
    assert (code, found["inside"], found["base"]) == (0, True, "efficientnet_b0")
    assert found["multipliers"]["width"] == 1.4
    assert merged(MIXED.decode(found["values"])) == merged(load("efficientnet_b0"))


def test_space_contains_says_outside_and_why_with_exit_code_1(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "space", "contains", "mixed", "shufflenet_v1_g1")
    assert code == 1
    assert out.startswith("shufflenet_v1_g1_x1 is outside mixed: stage 1: stages.1.groups cannot be 1") or (
        "groups cannot be 1" in out
    )
    code, out, _ = run(monkeypatch, capsys, "space", "contains", "mixed", "shufflenet3d_v2", "--json")
    assert code == 1
    assert json.loads(out)["values"] is None
    code, _, err = run(monkeypatch, capsys, "space", "contains", "mixd", "efficientnet_b0")
    assert code == 2
    assert "no space is called 'mixd'" in err


def test_space_contains_loads_nothing_heavy():
    assert loaded(command("space", "contains", "mixed", "efficientnet_b4")) == []
