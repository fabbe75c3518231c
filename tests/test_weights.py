"""Torchvision's own modules against the map of names: the same function, to the last bit."""

from dataclasses import replace

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import empty, filled, logits, theirs
from strategies import OPTIONS, networks

from scalesearch import build, load
from scalesearch.architecture.network import Head
from scalesearch.errors import InputError
from scalesearch.training.weights import export_torchvision, load_torchvision, to_torchvision

LARGE = ["efficientnet_b7", "efficientnet_v2_l"]
NAMES = [
    *(f"efficientnet_b{k}" for k in range(7)),
    *(f"efficientnet_v2_{size}" for size in "sm"),
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "mobilenet_v2",
    "mobilenet_v3_large",
    *(pytest.param(name, marks=pytest.mark.long) for name in LARGE),
]


@pytest.mark.parametrize("name", NAMES)
def test_same_weights_give_the_same_logits_in_both_directions(name):
    network = load(name)
    state = filled(theirs, name)
    expected = logits(empty(theirs, name), state)
    assert expected.std() > 0.01
    ours = load_torchvision(state, network)
    assert torch.equal(logits(empty(build, network), ours), expected)
    there = export_torchvision(ours, network)
    assert torch.equal(logits(empty(theirs, name), there), expected)
    print(f"{name}: {len(state)} tensors, {expected.numel()} logits, max |difference| 0 both ways")


@pytest.mark.parametrize("name", [*NAMES[:-2], *LARGE])
def test_map_is_one_to_one_and_in_order(name):
    network = load(name)
    names = to_torchvision(network)
    assert list(names) == list(empty(build, network).state_dict())
    assert list(names.values()) == list(empty(theirs, name).state_dict())
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("width", [0.25, 0.75, 1.4])
def test_map_follows_the_width_by_rule(width):
    """Widths without a document: the map is of rules, not of the names of one network."""
    module = empty(torchvision.models.mobilenet_v2, width_mult=width)
    base = load("mobilenet_v2")
    blocks = list(module.features)[1:-1]
    first = iter(blocks)
    stages = []
    for stage in base.stages:
        out = [next(first) for _ in range(stage.repeats)][-1].out_channels
        stages.append(replace(stage, channels=out))
    network = replace(
        base,
        stem=replace(base.stem, channels=module.features[0][0].out_channels),
        stages=tuple(stages),
        head=replace(base.head, channels=module.last_channel),
    )
    state = filled(torchvision.models.mobilenet_v2, width_mult=width)
    assert torch.equal(logits(empty(build, network), load_torchvision(state, network)), logits(module, state))


def refusal(network):
    """Why torchvision has no names for a network, or None where it has them."""
    try:
        to_torchvision(network)
    except InputError as error:
        return str(error)
    return None


def test_random_networks_are_mapped_one_to_one_or_refused_in_one_line():
    mapped = []

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(sorted(OPTIONS)).flatmap(lambda operator: networks((operator,))))
    def check(network):
        refused = refusal(network)
        if refused is not None:
            assert "torchvision" in refused
            assert "\n" not in refused
            return
        names = to_torchvision(network)
        assert list(names) == list(empty(build, network).state_dict())
        assert len(set(names.values())) == len(names)
        mapped.append(network)

    check()
    print(f"{len(mapped)} of 150 random networks have names")
    assert len(mapped) >= 15


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "efficientnet_b0"])
def test_weights_there_and_back_are_the_same_tensors(name):
    network = load(name)
    state = filled(build, network)
    back = load_torchvision(export_torchvision(state, network), network)
    assert list(back) == list(state)
    assert all(back[tensor] is state[tensor] for tensor in state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shufflenet_v1_g3", "stage 1: torchvision has no counterpart of shufflenet_v1"),
        ("mobilenet_v1", "stage 1: torchvision has no counterpart of depthwise_separable"),
        ("shufflenet3d_v2", "for dims=2, but got dims=3"),
    ],
)
def test_network_without_counterpart_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        to_torchvision(load(name))


def test_mixture_and_unknown_head_are_refused():
    base, other = load("efficientnet_b0"), load("mobilenet_v2")
    with pytest.raises(InputError, match=r"mixes mbconv with squeeze-and-excitation and mbconv$"):
        to_torchvision(replace(base, stages=(*base.stages, other.stages[-1])))
    with pytest.raises(InputError, match="mbconv with a hidden layer in the head, but hidden=64"):
        to_torchvision(replace(base, head=Head(hidden=64)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc.bias"), "lack 1 tensors, the first fc.bias"),
        (lambda s: s.update(other=torch.ones(1)), "have besides 1 tensors, the first other"),
        (lambda s: s.update({"fc.bias": torch.ones(9)}), r"fc.bias needs the shape \(1000,\), not \(9,\)"),
        (lambda s: s.update({"fc.bias": 3}), r"fc.bias needs the shape \(1000,\), not int"),
        (lambda s: s.update({"conv1.0.weight": torch.ones(24, 3, 1, 1)}), "conv1.0.weight needs the shape"),
    ],
)
def test_state_that_does_not_fit_is_refused(change, message):
    state = filled(theirs, "shufflenet_v2_x0_5")
    change(state)
    with pytest.raises(InputError, match=message):
        load_torchvision(state, load("shufflenet_v2_x0_5"))


def test_export_refuses_weights_of_another_network():
    state = filled(build, load("shufflenet_v2_x0_5"))
    with pytest.raises(InputError, match=r"stem|s1|head"):
        export_torchvision(state, load("shufflenet_v2_x1_0"))


def test_checkpoint_older_than_the_counters_of_batch_norm_loads():
    network = load("shufflenet_v2_x0_5")
    state = filled(theirs, network.name)
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    ours = load_torchvision(old, network)
    assert len(ours) == len(state) > len(old)
    assert torch.equal(logits(empty(build, network), ours), logits(empty(theirs, network.name), state))
