"""The description against torch: shape, parameters and cost of random networks and of published ones."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import OPTIONS, networks
from torch.utils.flop_counter import FlopCounterMode

from scalesearch import build, load
from scalesearch.architecture.document import from_document, to_document
from scalesearch.architecture.network import Network, Stage
from scalesearch.architecture.operators import OPERATORS
from scalesearch.documents import network_from
from scalesearch.errors import InputError

PUBLISHED = json.loads((Path(__file__).parent / "data" / "published.json").read_text())


def counted(network):
    """What torch counts on the built module: multiply-accumulates, parameters, convolution outputs."""
    outputs = []
    with torch.device("meta"):  # shapes alone are counted
        module = build(network).eval()
        image = torch.zeros(1, network.in_channels, *network.input.size)
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Conv3d):
            part.register_forward_hook(lambda _m, _i, out: outputs.append(out.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = module(image)
    params = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return logits.shape, counter.get_total_flops(), params, sum(outputs)


def test_every_operator_has_a_strategy():
    assert set(OPTIONS) == set(OPERATORS)
    for name, options in OPTIONS.items():
        assert set(options) == set(OPERATORS[name].options)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("operators", [*((name,) for name in OPERATORS), tuple(OPERATORS)], ids="+".join)
def test_described_cost_is_what_torch_counts(operators, dims):
    @settings(max_examples=8, deadline=None)
    @given(networks(operators, largest=40 if dims == 2 else 20, dims=dims))
    def check(network):
        shape, flops, params, activations = counted(network)
        cost = network.cost()
        assert shape == (1, network.classes)
        assert (2 * cost.flops, cost.params, cost.activations) == (flops, params, activations)
        assert sum(row.flops for row in network.rows()) == cost.flops
        assert network.layers().cost(network.input) == cost

    check()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("operator", OPERATORS)
def test_forward_and_backward_run_without_nan(operator, dims):
    @settings(max_examples=3, deadline=None)
    @given(networks((operator,), largest=16 if dims == 3 else 24, dims=dims))
    def check(network):
        torch.manual_seed(0)
        module = build(network).train()
        logits = module(torch.randn(3, network.in_channels, *network.input.size))
        logits.square().mean().backward()
        assert torch.isfinite(logits).all()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters())

    check()


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([2, 3]).flatmap(lambda dims: networks(dims=dims)))
def test_document_of_a_network_reads_back_as_the_network(network):
    assert from_document(to_document(network)) == network
    assert to_document(from_document(to_document(network))) == to_document(network)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0"])
def test_published_network_is_exact_when_built(name):
    expected = PUBLISHED[name]
    _, flops, params, _ = counted(load(name))
    assert (params, flops) == (expected["params"], 2 * expected["flops"])


def test_squeeze_is_taken_from_the_blocks_input_and_expansion_left_out_where_it_widens_nothing():
    module = build(load("efficientnet_b0"))
    assert not hasattr(module.s1.b0, "expand")
    assert module.s2.b0.se.body.reduce.weight.shape == (4, 96, 1, 1)  # 16 input channels, not 96
    assert module.s2.b0.se.body.reduce.bias is not None


def test_stochastic_depth_drops_whole_samples_with_a_linear_schedule_over_all_blocks():
    network = load("efficientnet_b0")
    module = build(network)
    rates = [part.rate for part in module.modules() if type(part).__name__ == "DropPath"]
    shortcuts = [2, 4, 6, 7, 9, 10, 12, 13, 14]  # blocks with stride 1 and equal channels
    assert rates == pytest.approx([0.2 * block / 16 for block in shortcuts])
    drop = next(p for p in module.modules() if type(p).__name__ == "DropPath" and p.rate > 0.1).train()
    out = drop(torch.ones(400, 3, 2, 2)).flatten(1)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / (1 - drop.rate)])
    assert (out.amin(1) == out.amax(1)).all()
    assert 0 < (out[:, 0] == 0).float().mean() < 2.5 * drop.rate


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"operator": "nope", "channels": 8, "repeats": 1}, "an operator is one of"),
        (
            {"operator": "mbconv", "channels": 0, "repeats": 1},
            "channels must be a whole number of at least 1",
        ),
        (
            {"operator": "mbconv", "channels": 8, "repeats": 1, "options": (("kernel", 4),)},
            "kernel must be odd",
        ),
        ({"operator": "shufflenet_v2", "channels": 8, "repeats": 1, "options": (("se", 0.2),)}, "takes no"),
    ],
)
def test_broken_rule_is_named(row, message):
    with pytest.raises(ValueError, match=message):
        Stage(**row)


def unchecked(operator, channels, in_channels=24, stride=2, **options):
    row = {"operator": operator, "channels": channels, "repeats": 2, "stride": stride, **options}
    return {"name": "broken", "resolution": 33, "stem": {"channels": in_channels}, "stages": [row]}


def refused(document):
    """The one line with which a network is refused, the same from its cost, its layers and its module."""
    network = from_document(document)
    messages = set()
    for ask in (Network.cost, lambda n: n.layers().out(n.input), build):
        with pytest.raises(ValueError) as error:
            ask(network)
        messages.add(str(error.value))
    (message,) = messages
    with pytest.raises(InputError, match=r"^broken\.yaml: ") as error:
        network_from(document, "broken.yaml")
    assert message in str(error.value)
    assert "\n" not in message
    return message


@given(st.integers(0, 100), st.sampled_from([1, 2]))
def test_odd_width_of_a_shuffle_unit_is_refused_in_one_clear_line(half, stride):
    channels = 2 * half + 1
    message = refused(unchecked("shufflenet_v2", channels, stride=stride))
    assert message == f"shufflenet_v2 needs an even number of channels, but got {channels}"


@given(st.sampled_from([2, 3, 4, 8]), st.integers(7, 80), st.sampled_from([1, 2]))
def test_width_whose_quarter_the_groups_do_not_divide_is_refused(groups, quarter, stride):
    assume(quarter % groups)
    message = refused(unchecked("shufflenet_v1", 4 * quarter, groups=groups, stride=stride))
    assert f"multiple of groups={groups}" in message
    assert f"but got {4 * quarter} channels" in message


@given(st.sampled_from([1, 2, 4, 8]), st.integers(1, 4))
def test_shuffle_unit_with_a_stride_must_add_channels(groups, times):
    channels = 32 * times
    message = refused(unchecked("shufflenet_v1", channels, channels, groups=groups))
    assert (
        f"needs channels above in_channels by a multiple of groups, but got {channels} to {channels}"
        in message
    )


@pytest.mark.parametrize(("groups", "in_channels"), [(3, 16), (8, 12), (4, 10)])
def test_groups_that_do_not_divide_what_comes_in_are_refused(groups, in_channels):
    message = refused(unchecked("shufflenet_v1", 96, in_channels, groups=groups))
    assert f"groups={groups}" in message
    assert str(in_channels) in message


@pytest.mark.parametrize("frames", [4, 8, 12, 17, 24])
def test_video_shortcut_of_shufflenet_v1_refuses_odd_frame_counts(frames):
    network = replace(load("seed_shufflenet3d_v1_g3"), resolution=(frames, 32, 32))
    odd = "average pooling over 2 frames needs a number of frames that it divides, but got [0-9]*[13579]$"
    with pytest.raises(ValueError, match=odd):
        network.cost()
    assert replace(load("seed_shufflenet3d_v2_x1.0"), resolution=(frames, 32, 32)).cost().flops > 0


@pytest.mark.parametrize("frames", [16, 32])
def test_video_of_even_frame_counts_is_counted_as_torch_does(frames):
    network = replace(load("seed_shufflenet3d_v1_g3"), resolution=(frames, 33, 47))
    _, flops, params, _ = counted(network)
    assert (2 * network.cost().flops, network.cost().params) == (flops, params)
