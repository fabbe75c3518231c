"""Scaling and the fit to a budget: rules of rounding, monotony, and never above the budget."""

import math
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import coefficients, networks
from test_fuzz import limited

from scalesearch import load, scale
from scalesearch.architecture.budget import (
    BAND,
    Bounds,
    Budget,
    OverBudgetError,
    TooDeepError,
    fit,
    repair,
    solve_phi,
)
from scalesearch.architecture.document import to_document
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.proxy import total_stride, with_total_stride
from scalesearch.architecture.rounding import round_channels, round_repeats, round_resolution
from scalesearch.architecture.scaling import Coefficients, compound
from scalesearch.documents import load_recipe, load_space
from scalesearch.documents.network import network_from

MIXED = load_space("mixed")


def test_rounding_follows_the_published_rules():
    # torchvision's _make_divisible: ties up, never more than 10 % down (16 * 1.2 = 19.2 -> 24).
    assert [round_channels(c, 8) for c in (19.2, 44, 4, 12, 11.9, 172)] == [24, 48, 8, 16, 16, 176]
    assert [round_repeats(d) for d in (0.2, 1.0, 1.1, 2.2 * 25)] == [1, 1, 2, 55]
    assert [round_resolution(r) for r in (3, 222, 225.9, 226.1)] == [8, 224, 224, 228]


@given(st.floats(8, 4000), st.sampled_from([4, 8, 24]))
def test_rounded_channels_are_near_and_divisible(channels, divisor):
    rounded = round_channels(channels, divisor)
    assert rounded % divisor == 0
    assert rounded >= 0.9 * channels
    assert rounded - channels <= divisor


@settings(max_examples=60, deadline=None)
@given(networks(), coefficients(), st.floats(-4, 3), st.floats(0, 2))
def test_cost_does_not_fall_with_phi(network, chosen, phi, more):
    # Widths off their rounding grid may round down just below 1, so the base starts on the grid.
    # The same holds for the resolution.
    base = replace(compound(network, chosen, 0.0), resolution=round_resolution(network.resolution))
    assume(all(s.channels % s.multiple == 0 for s in base.stages))
    assume(base.stem.channels % 8 == 0)
    smaller, larger = compound(base, chosen, phi).cost(), compound(base, chosen, phi + more).cost()
    assert smaller.flops <= larger.flops
    assert smaller.params <= larger.params


def share(phi, network, chosen, budget):
    return compound(network, chosen, phi).cost().flops / budget


@settings(max_examples=80, deadline=None)
@given(networks(largest=64), coefficients(), st.floats(5, 9))
def test_fit_is_never_over_budget(network, chosen, exponent):
    budget = 10**exponent
    try:
        fitted = fit(network, chosen, Budget(budget))
    except TooDeepError:
        assert compound(network, chosen, solve_phi(lambda p: share(p, network, chosen, budget))).blocks > 900
        return
    except OverBudgetError as error:
        assert error.share > 1  # noqa: PT017
        return
    assert fitted.share == fitted.network.cost().flops / budget <= 1
    assert [s.operator for s in fitted.network.stages] == [s.operator for s in network.stages]
    assert [s.stride for s in fitted.network.stages] == [s.stride for s in network.stages]


@pytest.mark.parametrize("budget", [5e6, 1e8, 2e9, 2e10])
def test_default_space_reaches_the_band_at_every_level(budget):
    rng = np.random.default_rng(int(budget))
    for index in range(40):
        level = budget * (1, 0.5, 0.25, 0.125)[index % 4]
        with suppress(TooDeepError):
            fitted = MIXED.draw(random_values(rng)).deployed(Budget(level))
            assert BAND <= fitted.share <= 1, (level, fitted.repair)


def test_a_family_that_fills_its_budget_with_depth_alone_is_no_candidate():
    rng, fates = np.random.default_rng(0), Counter()
    for _ in range(300):
        candidate = MIXED.draw(random_values(rng))
        try:
            network = candidate.deployed(Budget(2e10)).network
        except TooDeepError as error:
            fates["refused", "at most 1,000 blocks, but this family's has" in str(error)] += 1
        else:
            fates["read again"] += network_from(to_document(network), "network.yaml") == network
    assert fates["read again"] == 300 - fates["refused", True] < 300


def test_the_cost_of_a_family_of_many_thousand_blocks_is_known_in_a_moment():
    """Half an hour where every block was counted: its cheap units repeat millions of times on the way."""
    unit = {"channels": 8, "repeats": 2, "stride": 2, "options": (("kernel", 5),)}
    stages = Stage("shufflenet_v2", **unit), Stage("shufflenet_v1", **unit | {"channels": 24})
    family = Network("deep", 27, Stem(8, stride=2, pool=True), stages, Head(None))
    with limited(), pytest.raises(TooDeepError):
        fit(family, Coefficients(1.74, 1.013, 1.018), Budget(1.3e8))


def test_a_family_that_grows_in_resolution_alone_is_refused_by_a_limit_on_parameters_at_once():
    b0 = load("efficientnet_b0")
    with pytest.raises(OverBudgetError):
        fit(b0, Coefficients.from_shares(0, 0), Budget(params=10))


def test_repair_leaves_a_network_in_the_band_alone_and_says_what_it_did():
    b0 = load("efficientnet_b0")
    cost = b0.cost().flops
    assert repair(b0, Budget(cost).share) == (b0, ())
    repaired, used = repair(b0, Budget(cost * 1.1).share)
    assert used
    assert 0.97 <= repaired.cost().flops / (cost * 1.1) <= 1


def test_scale_from_python_is_the_compound_member():
    b0 = load("efficientnet_b0")
    assert scale(b0, depth=1.2, width=1.1, resolution=1.15) == compound(b0, Coefficients(), 1)
    assert scale(b0) == b0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1.1, 4))
def test_coefficients_stay_on_the_growth_constraint(depth, rest, growth):
    chosen = Coefficients.from_shares(depth, (1 - depth) * rest, growth)
    assert chosen.growth == pytest.approx(growth)
    assert min(chosen.alpha, chosen.beta, chosen.gamma) >= 1
    assert sum(chosen.shares) == pytest.approx(1)
    assert chosen.shares[0] == pytest.approx(depth, abs=1e-9)


def test_efficientnets_coefficients_are_inside_the_parametrisation():
    published = Coefficients(1.2, 1.1, 1.15)
    again = Coefficients.from_shares(published.shares[0], published.shares[1], published.growth)
    assert (again.alpha, again.beta, again.gamma) == pytest.approx((1.2, 1.1, 1.15))


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from([2, 4, 8]))
def test_stride_plan_keeps_the_last_downsamplings(network, wanted):
    planned = with_total_stride(network, wanted)
    assert total_stride(planned) == min(wanted, total_stride(network))
    strides = [s.stride for s in planned.stages]
    kept = [i for i, s in enumerate(network.stages) if s.stride == 2]
    assert [i for i, s in enumerate(strides) if s == 2] == kept[-int(math.log2(wanted)) :]


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0"])
def test_proxies_of_a_level_cost_the_same(name):
    policy = load_recipe("proxy").proxy
    rng = np.random.default_rng(0)
    bases = [MIXED.draw(random_values(rng)) for _ in range(20)]
    too_large = smaller = 0
    for candidate in [*bases, *(type(bases[0])(load(name), c.coefficients) for c in bases)]:
        try:
            proxy = candidate.proxy(policy, policy.flops, 10, 32)
        except OverBudgetError:  # even its narrowest form is larger; a search draws another shape
            too_large += 1
            continue
        assert 0.97 <= proxy.share <= 1
        assert 8 <= proxy.network.resolution <= 32
        smaller += proxy.network.resolution < policy.min_resolution
        assert proxy.network.classes == 10
    assert too_large <= 2
    assert smaller <= 8


def test_clamped_resolution_is_recorded():
    wide = Coefficients.from_shares(0.0, 0.1)
    fitted = fit(load("efficientnet_b0"), wide, Budget(1e8), bounds=Bounds(200, 240))
    assert fitted.clamped
    assert 200 <= fitted.network.resolution <= 240
    assert not fit(load("efficientnet_b0"), wide, Budget(1e8)).clamped
