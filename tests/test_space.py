"""The default space holds the published families as points, and says why a network is not one."""

from dataclasses import replace

import numpy as np
import pytest

from scalesearch import load
from scalesearch.architecture.budget import Budget
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.membership import skeleton
from scalesearch.documents import find_network, load_space

MIXED = load_space("mixed")
BASES = [
    "efficientnet_b0",
    "efficientnet_v2_s",
    "shufflenet_v1_g3_x1",
    "shufflenet_v2_x1_0",
    "mobilenet_v1_1.0",
    "mobilenet_v2_1.0",
]


def test_the_default_space_is_a_product_of_free_fields_not_a_list_of_networks():
    assert MIXED.bases() > 10**12
    free = {name.rsplit(".", 1)[-1] for name in MIXED.domains()}
    fields = {
        "operator",
        "channels",
        "repeats",
        "stride",
        "kernel",
        "expand",
        "se",
        "groups",
        "depth",
        "width",
    }
    assert fields <= free


@pytest.mark.parametrize("name", BASES)
def test_published_networks_are_bases_and_survive_encoding(name):
    network = load(name)
    answer = MIXED.contains(network)
    assert answer.inside, answer.how
    base = MIXED.decode(answer.values)
    side = answer.multipliers[2]
    assert round(base.resolution * side) == network.resolution
    assert skeleton(base) == skeleton(type(network)(**{**vars(network), "resolution": base.resolution}))
    assert MIXED.encode(base) == answer.values


@pytest.mark.parametrize("phi", range(1, 8))
def test_efficientnets_are_the_base_under_their_tables(phi):
    entry = find_network(f"efficientnet_b{phi}")
    table = entry.variant.multipliers
    answer = MIXED.contains(entry.network, entry.base, table.depth, table.width)
    assert answer.inside
    assert "under the table" in answer.how
    assert answer.values == MIXED.contains(load("efficientnet_b0")).values


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "shufflenet_v2_x1_0", "efficientnet_v2_m"])
def test_another_network_is_not_the_base_under_a_table(name):
    assert not MIXED.contains(load(name), load("efficientnet_b0"), 1.8, 1.4).inside
    b4 = load("efficientnet_b4")
    damaged = replace(b4, stages=(replace(b4.stages[0], channels=104), *b4.stages[1:]))
    assert not MIXED.contains(damaged, load("efficientnet_b0"), 1.8, 1.4).inside


def test_a_network_outside_is_told_which_field_does_not_fit():
    assert MIXED.contains(load("mobilenet_v3_large")).how.startswith("head.channels cannot be 960")
    three = MIXED.contains(load("shufflenet3d_v2"))
    assert not three.inside
    assert three.how == "dims is 2, and not 3"


def test_a_space_of_one_point_is_a_space():
    point = load_space("efficientnet_b0")
    assert point.bases() == 1
    assert 0 < point.least().flops < load("efficientnet_b0").cost().flops
    assert point.draw(random_values(np.random.default_rng(0))).base == load("efficientnet_b0")


def test_video_networks_have_a_space_of_their_own():
    video = load_space("video")
    for name in ("seed_shufflenet3d_v1_g3", "seed_shufflenet3d_v2_x1.0"):
        answer = video.contains(load(name))
        assert answer.inside, answer.how
    rng = np.random.default_rng(0)
    for _ in range(20):
        fitted = video.draw(random_values(rng)).deployed(Budget(2e8))
        assert fitted.share <= 1
        assert fitted.network.dims == 3
