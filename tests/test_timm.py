"""timm's module from the strings written here against the module built here: parameters and logits."""

from dataclasses import replace

import pytest
import torch
from handed_over import MIXED, STAGES, small
from hypothesis import HealthCheck, given, settings
from random_weights import filled
from strategies import networks

from scalesearch import build, load
from scalesearch.architecture.network import Head, Stage, Stem
from scalesearch.handover.forms import timm

OPERATORS = ("mbconv", "fused_mbconv", "mobilenet_v3", "depthwise_separable")
# As timm's own source has them, but for repeats that it writes in one string and not as r1 twice.
KNOWN = {
    "efficientnet_b0": (
        ("ds_r1_k3_s1_c16_se0.25",),
        ("ir_r2_k3_s2_e6_c24_se0.25",),
        ("ir_r2_k5_s2_e6_c40_se0.25",),
        ("ir_r3_k3_s2_e6_c80_se0.25",),
        ("ir_r3_k5_s1_e6_c112_se0.25",),
        ("ir_r4_k5_s2_e6_c192_se0.25",),
        ("ir_r1_k3_s1_e6_c320_se0.25",),
    ),
    "efficientnet_v2_s": (
        ("cn_r2_k3_s1_c24_skip",),
        ("er_r4_k3_s2_e4_c48",),
        ("er_r4_k3_s2_e4_c64",),
        ("ir_r6_k3_s2_e4_c128_se0.25",),
        ("ir_r9_k3_s1_e6_c160_se0.25",),
        ("ir_r15_k3_s2_e6_c256_se0.25",),
    ),
    "mobilenet_v1": (
        ("dsa_r1_k3_s1_c64",),
        ("dsa_r1_k3_s2_c128",),
        ("dsa_r1_k3_s1_c128",),
        ("dsa_r1_k3_s2_c256",),
        ("dsa_r1_k3_s1_c256",),
        ("dsa_r1_k3_s2_c512",),
        ("dsa_r5_k3_s1_c512",),
        ("dsa_r1_k3_s2_c1024",),
        ("dsa_r1_k3_s1_c1024",),
    ),
}


@pytest.fixture(autouse=True)
def _one_thread(one_thread):
    """Small networks wait for threads."""


def both(network, side=None):
    """The logits of the network built here and of timm's, with the same weights; their parameters, too."""
    state, made = filled(build, network), timm.build(timm.definition(network)).eval()
    ours = build(network).eval()
    ours.load_state_dict(state)
    timm.load(made, state, timm.names(state, made))
    size = network.input.size if side is None else (side, side)
    images = torch.randn(2, network.in_channels, *size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found, theirs = ours(images), made(images)
    return found, theirs, sum(parameter.numel() for parameter in made.parameters())


def assert_equal(network, side=None):
    ours, theirs, params = both(network, side)
    assert params == network.cost().params
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5 * float(ours.abs().max()))


@pytest.mark.parametrize("name", KNOWN)
def test_published_networks_have_the_strings_of_timms_own_source(name):
    assert timm.definition(load(name)).arch_def == KNOWN[name]


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_b0",
        "mobilenet_v3_large",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in (
                "mobilenet_v1",
                "mobilenet_v2",
                "efficientnet_b7",
                "efficientnet_v2_s",
                "efficientnet_v2_l",
            )
        ),
    ],
)
def test_published_networks_are_timms(name):
    assert_equal(replace(load(name), classes=7), side=33)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_network_of_each_operator_is_timms(operator):
    assert_equal(small(STAGES[operator]))


def drops(module):
    return [part.drop_prob for part in module.modules() if type(part).__name__ == "DropPath"]


@pytest.mark.parametrize(
    "head",
    [Head(16), Head(16, act="relu"), Head(16, act="silu", hidden=24), Head(None), Head(None, hidden=24)],
)
def test_stochastic_depth_and_dropout_are_the_same_for_every_head(head):
    network = replace(MIXED, head=replace(head, dropout=0.3))
    made = timm.build(timm.definition(network))
    assert made.drop_rate == 0.3
    ours = [part.rate for part in build(network).modules() if type(part).__name__ == "DropPath"]
    # timm makes one for each block, used where there is a shortcut; all our rates are among them.
    assert all(min(abs(rate - other) for other in drops(made)) < 1e-9 for rate in ours)
    assert_equal(network)


def test_norms_have_the_networks_epsilon_and_momentum():
    network = replace(MIXED, norm_eps=1e-3, norm_momentum=0.01)
    made = timm.build(timm.definition(network))
    norms = [part for part in made.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (small(STAGES["shufflenet_v1"]), "no shufflenet_v1 block"),
        (small(STAGES["shufflenet_v2"]), "no shufflenet_v2 block"),
        (small(STAGES["mbconv"], dims=3, resolution=(4, 16, 16)), "images alone"),
        (small(STAGES["mbconv"], stem=Stem(8, stride=1)), "stride 2, not 1"),
        (small(STAGES["mbconv"], stem=Stem(8, pool=True)), "no pooling"),
        (small(STAGES["mbconv"], stem=Stem(8, kernel=5), head=Head(16, hidden=8)), "3x3 kernel, not 5"),
        (
            small(STAGES["mbconv"], stem=Stem(8, act="relu"), head=Head(16, hidden=8)),
            "activation of the stem",
        ),
        (small(Stage("mbconv", 16, 1, options=(("expand", 2.5),)), stem=Stem(10)), "multiples of 8, not 25"),
        (small(Stage("mbconv", 16, 1, 3)), "stride 1 or 2, not 3"),
        (small(Stage("fused_mbconv", 16, 1, options=(("expand", 1), ("se", 0.25)))), "no squeeze-and-excit"),
        (small(STAGES["mbconv"], STAGES["mobilenet_v3"]), "one kind of squeeze-and-excitation"),
        (small(Stage("mbconv", 16, 1, options=(("act", "sigmoid"),))), "no word for the activation sigmoid"),
        (small(Stage("mbconv", 8, 1, 2), resolution=2), "a map of one pixel"),
    ],
)
def test_what_timm_cannot_say_has_a_reason(network, reason):
    with pytest.raises(timm.InexpressibleError, match=reason):
        timm.definition(network)


def agrees_or_has_a_reason(network):
    try:
        timm.definition(network)
    except timm.InexpressibleError:
        return
    assert_equal(network)


checked = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(checked, max_examples=12)
@given(networks(operators=OPERATORS))
def test_random_networks_are_timms_or_have_a_reason(network):
    agrees_or_has_a_reason(replace(network, stem=Stem(16, act=network.stem.act)))


@pytest.mark.long
@settings(checked, max_examples=400)
@given(networks(operators=OPERATORS))
def test_many_random_networks_are_timms_or_have_a_reason(network):
    agrees_or_has_a_reason(replace(network, stem=Stem(16, act=network.stem.act)))
