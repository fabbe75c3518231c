"""Costs, scaling and fit of whole arrays of networks are those of single networks."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import networks

from scalesearch import documents, load
from scalesearch.architecture.batch import Batch
from scalesearch.architecture.batch_fit import fit_all
from scalesearch.architecture.batch_scaling import scaled
from scalesearch.architecture.budget import BAND, Budget, UnfitError, fit
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import Coefficients, compound
from scalesearch.documents import load_space

MIXED = load_space("mixed")
MEASURES = ("flops", "params", "activations")


def drawn(count, seed=0, space=MIXED):
    rng = np.random.default_rng(seed)
    return [space.draw(random_values(rng)) for _ in range(count)]


def coefficients(candidates):
    chosen = [candidate.coefficients for candidate in candidates]
    return [np.array([getattr(c, name) for c in chosen]) for name in ("alpha", "beta", "gamma")]


def assert_costs(batch, singles):
    costs = batch.cost()
    for name in MEASURES:
        assert getattr(costs, name).tolist() == [getattr(n.cost(), name) for n in singles], name


def test_costs_of_the_default_space_are_those_of_single_networks():
    singles = [candidate.base for candidate in drawn(400)]
    assert_costs(Batch.of(singles), singles)


@pytest.mark.parametrize("operator", sorted(OPERATORS))
@pytest.mark.parametrize("dims", [2, 3])
def test_costs_of_every_operator_are_those_of_single_networks(operator, dims):
    @settings(max_examples=15, deadline=None)
    @given(st.lists(networks((operator,), dims=dims), min_size=1, max_size=4))
    def check(singles):
        singles = [replace(n, classes=7) for n in singles]
        assert_costs(Batch.of(singles), singles)

    check()


def test_published_networks_cost_what_they_cost_alone():
    images = [load(name) for name in documents.known_networks()]
    images = [network for network in images if network.dims == 2 and network.classes == 1000]
    assert len(images) > 40
    assert_costs(Batch.of(images), images)


def test_a_width_between_those_of_a_table_is_counted_by_itself_and_fitted():
    """A quarter of a ShuffleNetV1 unit's width without groups is rounded: no polynomial holds it."""
    odd, b0 = load("shufflenet_v1_g1_x1_seed567"), load("efficientnet_b0")
    assert any(stage.channels % 4 for stage in odd.stages)
    assert_costs(Batch.of([b0, odd, b0]), [b0, odd, b0])
    fitted = fit(odd, Coefficients(1.0, 1.0, 1.2), Budget(5e8))
    assert BAND <= fitted.share == fitted.network.cost().flops / 5e8 <= 1


def test_only_the_measures_asked_for_are_counted():
    batch = Batch.of([load("efficientnet_b0")])
    assert batch.cost(("params",)).params.tolist() == [5_288_548]
    assert batch.cost(("params",)).flops.tolist() == [0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(-8, 6))
def test_scaled_arrays_are_the_members_of_each_family(seed, phi):
    candidates = drawn(12, seed)
    batch = Batch.of([candidate.base for candidate in candidates])
    # Powers as Python has them: NumPy's may differ in the last bit, which decides where a width is halfway.
    powers = (np.array([one**phi for one in column.tolist()]) for column in coefficients(candidates))
    grown = scaled(batch, *powers)
    for row, candidate in enumerate(candidates):
        assert grown.network(row, candidate.base) == compound(candidate.base, candidate.coefficients, phi)


def raised(candidate):
    """Whether widths depend on each other, so that the cost may fall with phi and have several solutions."""
    return any(stage.operator == "shufflenet_v1" for stage in candidate.base.stages)


@pytest.mark.parametrize(
    "limits",
    [{"flops": 3e8}, {"params": 2e6}, {"flops": 1e9, "params": 3e6, "activations": 8e6}, {"flops": 4e6}],
)
def test_fitted_arrays_are_the_fits_of_single_families(limits):
    candidates = drawn(60, seed=1)
    fits = fit_all(Batch.of([c.base for c in candidates]), *coefficients(candidates), limits)
    for row, candidate in enumerate(candidates):
        try:
            alone = fit(candidate.base, candidate.coefficients, Budget(**limits))
        except UnfitError:
            assert fits.share[row] > 1
            continue
        assert fits.share[row] <= 1
        if raised(candidate):
            assert min(fits.share[row], alone.share) >= BAND or fits.share[row] == alone.share
        else:
            assert fits.batch.network(row, candidate.base) == alone.network
            assert fits.share[row] == alone.share
