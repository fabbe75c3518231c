"""The description against torch: shape, parameters and cost of random networks and of published ones."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from strategies import OPTIONS, networks
from torch.utils.flop_counter import FlopCounterMode

from scalesearch import build, load
from scalesearch.architecture.document import from_document, to_document
from scalesearch.architecture.network import Stage
from scalesearch.architecture.operators import OPERATORS

PUBLISHED = json.loads((Path(__file__).parent / "data" / "published.json").read_text())


def counted(network):
    """What torch counts on the built module: multiply-accumulates, parameters, convolution outputs."""
    module = build(network).eval()
    outputs = []
    for part in module.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.register_forward_hook(lambda _m, _i, out: outputs.append(out.numel()))
    image = torch.zeros(1, network.in_channels, *network.input.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = module(image)
    params = sum(p.numel() for p in module.parameters() if p.requires_grad)
    return logits.shape, counter.get_total_flops(), params, sum(outputs)


def test_every_operator_has_a_strategy():
    assert set(OPTIONS) == set(OPERATORS)
    for name, options in OPTIONS.items():
        assert set(options) == set(OPERATORS[name].options)


@settings(max_examples=60, deadline=None)
@given(networks())
def test_described_cost_is_what_torch_counts(network):
    shape, flops, params, activations = counted(network)
    cost = network.cost()
    assert shape == (1, network.classes)
    assert (2 * cost.flops, cost.params, cost.activations) == (flops, params, activations)
    assert sum(row.flops for row in network.rows()) == cost.flops
    assert network.layers().cost(network.input) == cost


@settings(max_examples=20, deadline=None)
@given(networks(largest=24))
def test_forward_and_backward_run_without_nan(network):
    torch.manual_seed(0)
    module = build(network).train()
    logits = module(torch.randn(3, network.in_channels, *network.input.size))
    logits.square().mean().backward()
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


@settings(max_examples=100, deadline=None)
@given(networks())
def test_document_of_a_network_reads_back_as_the_network(network):
    assert from_document(to_document(network)) == network
    assert to_document(from_document(to_document(network))) == to_document(network)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_network_is_exact(name):
    expected, network = PUBLISHED[name], load(name)
    cost = network.cost()
    assert network.resolution == expected["resolution"]
    assert (cost.params, cost.flops) == (expected["params"], expected["flops"])
    if "activations" in expected:
        assert cost.activations == expected["activations"]


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


def test_odd_width_of_a_shuffle_unit_is_refused_in_one_clear_line():
    network = from_document(
        {
            "name": "odd",
            "resolution": 32,
            "stem": {"channels": 8},
            "stages": [{"operator": "shufflenet_v2", "channels": 7, "repeats": 1}],
        }
    )
    with pytest.raises(ValueError, match="even number of channels, but got 7"):
        network.cost()
