"""Coefficients by trainings of equal cost: the design against brute force, the answer against a known one."""

import json
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import write_classes
from known_laws import surface_engine

from scalesearch import documents
from scalesearch.architecture.budget import realised_multipliers
from scalesearch.architecture.document import to_document
from scalesearch.architecture.proxy import ProxyPolicy, total_stride
from scalesearch.architecture.rules import RULES
from scalesearch.cli.coefficients import search_coefficients
from scalesearch.cli.coefficients_report import check_design, coefficients_of, make_report
from scalesearch.cli.coefficients_session import CoefficientsSession, Request
from scalesearch.cli.coefficients_tables import print_report
from scalesearch.cli.survey_session import Call
from scalesearch.errors import InputError
from scalesearch.search.directions import (
    BEYOND,
    NAMED,
    design,
    distances,
    growth_of,
    lattice,
    named_shares,
    shares_of,
    small_base,
    spread,
)
from scalesearch.search.surface import fit_surface
from scalesearch.search.survey import read_survey
from scalesearch.training.process import usable_cores

POLICY = ProxyPolicy()
NETWORKS = ("efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0", "mobilenet_v2")


@cache
def base_of(name="efficientnet_b0", growth=4.0, side=32):
    return small_base(documents.load(name), POLICY, growth, 10, side)


@cache
def design_of(name="efficientnet_b0", equal="flops", points=15):
    return design(base_of(name), 4.0, equal, points)


@pytest.fixture(scope="module", params=["flops", "activations"])
def equal(request):
    return request.param


@pytest.fixture(scope="module", params=NETWORKS[:3])
def designed(request, equal):
    return design_of(request.param, equal)


# The base and the design


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("growth", [2.0, 4.0, 8.0])
def test_a_base_costs_a_proxy_over_the_growth(name, growth):
    base = base_of(name, growth).base
    assert 0.9 * POLICY.flops / growth <= base.cost().flops <= POLICY.flops / growth
    assert base.resolution == POLICY.base_resolution
    assert total_stride(base) <= POLICY.total_stride
    assert base.classes == 10


def test_points_are_within_three_percent_of_one_cost_and_differ(designed):
    costs = [getattr(one.network.cost(), designed.equal) for one in designed.points]
    assert designed.limit == 4 * getattr(designed.base.base.cost(), designed.equal)
    assert all(0.97 * designed.limit <= cost <= designed.limit for cost in costs)
    assert len({one.network for one in designed.points}) == len(designed.points) > 10


def test_multipliers_are_the_networks_own_over_the_base(designed):
    base = designed.base.base
    for one in designed.points:
        assert one.realised == realised_multipliers(base, one.network)
        assert one.realised[0] == one.network.blocks / base.blocks
        assert one.realised[2] == one.network.resolution / base.resolution
        assert total_stride(one.network) == total_stride(base)


def test_no_resolution_exceeds_the_datas(designed):
    assert max(one.network.resolution for one in designed.points) == 32
    assert all(20 <= one.network.resolution <= 32 for one in designed.points)
    assert designed.missing["resolution"] == BEYOND  # four times the cost would be 40 pixels


def test_shares_lie_in_the_triangle_and_are_spread(designed):
    shares = np.array([shares_of(one.realised, designed.equal) for one in designed.points])
    assert shares.sum(1) == pytest.approx(1)
    assert shares.min() >= -1e-9
    # All of it but the corner of resolution, which the data's own bounds to log 2.56 / log 4, 0.68.
    assert shares.max(0)[0] > 0.6
    assert shares.max(0)[1] > 0.6
    assert shares.max(0)[2] > 0.45
    assert shares.min(0) == pytest.approx(0, abs=0.1)
    growths = [growth_of(one.realised, designed.equal) for one in designed.points]
    assert max(growths) <= 1.5 * min(growths)
    check_design(designed)


def test_the_named_rules_come_first_and_what_is_missing_has_a_reason(designed):
    names = [one.name for one in designed.points]
    trained = [name for name in NAMED if name in names]
    assert names[: len(trained)] == trained
    assert set(trained) | set(designed.missing) == set(NAMED)
    directions = len(list(lattice())) + len(NAMED)
    assert sum(designed.left_out.values()) + len(designed.points) <= directions


def test_a_named_direction_grows_what_its_name_says(equal):
    points = {one.name: one for one in design_of(equal=equal).points}
    depth, width = points["depth"].realised, points["width"].realised
    assert depth[0] > 3
    assert width[1] > 2
    assert (depth[2], width[0], width[2]) == (1, 1, 1)
    assert depth[1] == pytest.approx(1, abs=0.1)
    assert points["efficientnet"].realised[2] > 1
    assert points["fast"].realised[1] > points["efficientnet"].realised[1]


def test_more_points_extend_a_design():
    found = [[one.name for one in design_of(points=count).points] for count in (5, 15, 40)]
    for short, long in pairwise(found):
        assert long[: len(short)] == short


def test_a_lower_growth_reaches_resolution_alone():
    found = design(base_of(growth=2.6), 2.6, "flops", 15)
    alone = next(one for one in found.points if one.name == "resolution")
    assert alone.realised == pytest.approx((1, 1, 1.6), abs=0.1)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.randoms(use_true_random=False))
def test_spread_is_greedy_and_within_half_of_brute_force(count, random):
    some = random.sample(list(design_of(points=40).points), 9)
    chosen = spread(some[:1], some[1:], count, "flops")
    for number in range(1, count):
        # Each is the farthest from those before it among all that are left.
        before, left = chosen[:number], [one for one in some if one not in chosen[:number]]
        nearest = {one.name: distances([one], before, "flops").min() for one in left}
        assert nearest[chosen[number].name] == max(nearest.values())

    def least(group):
        gaps = distances(list(group), list(group), "flops")
        return gaps[np.triu_indices(len(group), 1)].min()

    best = max(least(group) for group in combinations(some, count) if some[0] in group)
    assert least(chosen) >= best / 2 - 1e-12  # Gonzalez 1985, theorem 2.2


def test_shares_of_rules_are_their_shares_of_growth():
    assert named_shares("efficientnet", "flops") == pytest.approx(RULES["efficientnet"].coefficients.shares)
    assert named_shares("width", "activations") == pytest.approx((0, 1, 0))
    a, b, g = (np.log(value) for value in (1.2, 1.1, 1.15))
    assert named_shares("efficientnet", "activations") == pytest.approx(
        np.array([a, b, 2 * g]) / (a + b + 2 * g)
    )


def test_a_network_that_does_not_get_so_small_is_refused_with_its_least_cost():
    with pytest.raises(InputError, match="--growth: mobilenet_v3_large at 20 px costs at least"):
        base_of("mobilenet_v3_large", 60.0)


# The report


def rows_of(found, loss, seeds=2, images=100):
    rng = np.random.default_rng(0)
    return [
        {
            "name": one.name,
            "seed": seed,
            "status": "complete",
            "val_loss": loss(shares_of(one.realised, found.equal)) + rng.normal(0, 1e-4),
            "val_accuracy": 0.5,
            "images": images,
        }
        for one in found.points
        for seed in range(seeds)
    ]


def bowl(optimum):
    return lambda shares: 1 + 0.4 * sum((s - o) ** 2 for s, o in zip(shares, optimum, strict=True))


def test_coefficients_of_flops_are_the_surfaces_own():
    found = design_of()
    report = make_report(found, rows_of(found, bowl((0.4, 0.35, 0.25))))
    alpha, beta, gamma = (report["coefficients"][name][0] for name in ("alpha", "beta", "gamma"))
    assert (alpha, beta, gamma) == pytest.approx((2**0.4, 2**0.175, 2**0.125), abs=0.01)
    assert alpha * beta**2 * gamma**2 == pytest.approx(2)


def test_swapped_multipliers_would_be_seen(equal):
    found = design_of(equal=equal)
    for optimum in ((0.5, 0.2, 0.3), (0.2, 0.5, 0.3), (0.2, 0.3, 0.5)):
        report = make_report(found, rows_of(found, bowl(optimum)))
        powers = (1, 2, 2) if equal == "flops" else (1, 1, 2)
        logs = np.array(optimum) / powers
        logs /= logs @ (1, 2, 2)
        for name, expected in zip(("alpha", "beta", "gamma"), 2**logs, strict=True):
            value, low, high = report["coefficients"][name]
            assert value == pytest.approx(expected, abs=0.02)
            assert low <= value <= high


def test_rules_are_judged_where_points_are_near():
    found = design_of()
    report = make_report(found, rows_of(found, bowl(RULES["efficientnet"].coefficients.shares)))
    rules = report["rules"]
    assert rules["efficientnet"]["inside"] is True
    assert rules["width"]["inside"] is rules["depth"]["inside"] is False
    assert rules["resolution"]["inside"] is None  # no point is near resolution alone
    assert "1.2/1.1/1.15 is inside the plateau" in report["verdict"]
    assert report["not_trained"] == {"resolution": BEYOND}


def test_data_that_bound_the_resolution_leave_gamma_open():
    found = design(base_of(side=20), 4.0, "flops", 12)
    assert {one.network.resolution for one in found.points} == {20}
    report = make_report(found, rows_of(found, bowl((0.4, 0.6, 0.0))))
    assert report["not_identified"] == "gamma"
    assert report["coefficients"]["gamma"] == [1, 1, 1]
    assert report["coefficients"]["alpha"][0] == pytest.approx(2**0.4, abs=0.02)
    assert report["rules"]["resolution"]["inside"] is None
    assert "gamma is not identified" in report["verdict"]


def test_failed_trainings_are_counted_and_left_out():
    found = design_of()
    rows = rows_of(found, bowl((0.4, 0.35, 0.25)))
    rows[0] |= {"status": "failed", "val_loss": None}
    report = make_report(found, rows)
    assert (report["failed"], report["trainings"]) == (1, 29)
    assert [len(point["losses"]) for point in report["points"]] == [1, *[2] * 14]


def test_too_few_points_are_said_by_the_surfaces_rule():
    found = design_of()
    report = make_report(found, rows_of(found, bowl((0.4, 0.35, 0.25)))[:10])
    assert report["coefficients"] is None
    assert report["missing"] == "6 coefficients need at least 8 points, got 5"
    with pytest.raises(InputError, match="6 coefficients need at least 8 points, got 5"):
        check_design(design_of(points=5))


# The whole session, with a formula in place of the training


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("pictures"), {"cat": 20, "dog": 20})


def session(pictures, folder, optimum, kind="flops", seeds=2, fail=(), points=15):
    base = small_base(documents.load("efficientnet_b0"), POLICY, 4.0, 2, 32).base
    engine = surface_engine(to_document(base), optimum, kind, fail=fail)
    request = Request(documents.load("efficientnet_b0"), 2e8, 4.0, points, seeds, 200, kind)
    call = Call(str(pictures), 50.0, "cpu", usable_cores(), str(folder))
    return CoefficientsSession(request, call, engine)


def test_a_session_finds_a_known_optimum_and_scales_the_network_by_it(tmp_path, pictures, equal, capsys):
    optimum = (0.3, 0.4, 0.3)
    report, code = session(pictures, tmp_path / "found", optimum, equal).run(lambda: False)
    assert code == 0
    assert json.loads((tmp_path / "found/coefficients.json").read_text()) == json.loads(json.dumps(report))
    logs = np.array(optimum) / ((1, 2, 2) if equal == "flops" else (1, 1, 2))
    for name, expected in zip(("alpha", "beta", "gamma"), 2 ** (logs / (logs @ (1, 2, 2))), strict=True):
        _, low, high = report["coefficients"][name]
        assert low <= expected <= high
    network = documents.load(tmp_path / "found/network.yaml")
    assert network.cost().flops == report["deployed"]["flops"]
    assert 0.97 * 2e8 <= network.cost().flops <= 2e8
    assert network.classes == 2
    table = read_survey(tmp_path / "found/trainings.parquet")
    assert list(table["seed"]) == [0] * 15 + [1] * 15
    capsys.readouterr()
    print_report(report)
    shown = capsys.readouterr().out
    assert report["verdict"] in shown
    assert "it is no claim about other bases" in shown


def test_a_session_goes_on_and_more_points_and_seeds_extend_it(tmp_path, pictures, capsys):
    folder, optimum = tmp_path / "found", (0.3, 0.4, 0.3)
    asked = iter(range(1000))
    report, code = session(pictures, folder, optimum, seeds=1, points=8).run(lambda: next(asked) >= 5)
    assert (code, report["left"], report["coefficients"]) == (130, 3, None)
    before = list(read_survey(folder / "trainings.parquet")["key"])
    assert len(before) == 5
    # Of the three that are left one fails: a point too few, and what is trained is kept.
    report, code = session(pictures, folder, optimum, seeds=1, points=8, fail=(2,)).run(lambda: False)
    assert (code, report["missing"]) == (1, "6 coefficients need at least 8 points, got 7")
    assert "6 coefficients need at least 8 points, got 7; what is trained is kept" in capsys.readouterr().err
    assert not (folder / "network.yaml").exists()
    report, code = session(pictures, folder, optimum, seeds=2, points=10).run(lambda: False)
    assert (code, report["planned"], report["left"], report["failed"]) == (0, 20, 0, 1)
    assert list(read_survey(folder / "trainings.parquet")["key"])[:5] == before
    assert (folder / "network.yaml").exists()


# The command


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth": 1.0}, "--growth must be above 1 and at most 100, but got 1.0"),
        ({"equal": "latency"}, "--equal is flops or activations, but got 'latency'"),
        ({"budget_flops": "-3"}, "--budget-flops must be positive"),
        ({"network": "efficientnet_b99"}, "efficientnet_b99"),
        ({"network": "shufflenet3d_v2"}, "trainings are on colour images, but .* is for others"),
        ({"time": "soon"}, "a time is a number with s, m, h or d"),
        ({"workers": "many"}, "--workers is auto or a whole number"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    given = {"network": "efficientnet_b0", "budget_flops": "2e9", **options}
    with pytest.raises(InputError, match=message):
        search_coefficients(given.pop("network"), given.pop("budget_flops"), **given)


def test_a_budget_below_the_family_is_refused_before_training(tmp_path, pictures):
    request = Request(documents.load("efficientnet_b0"), 1e4, 4.0, 15, 1, 200, "flops")
    call = Call(str(pictures), 50.0, "cpu", 1, str(tmp_path / "found"))
    with pytest.raises(InputError, match="--budget-flops: the smallest member of efficientnet_b0's family"):
        CoefficientsSession(request, call).run(lambda: False)
    assert not (tmp_path / "found").exists()


def test_intervals_hold_for_any_growth_of_a_step():
    found = design_of()
    report = make_report(found, rows_of(found, bowl((0.4, 0.35, 0.25))))
    from scalesearch.cli.coefficients_report import _points

    losses = {point["name"]: point["losses"] for point in report["points"]}
    surface = fit_surface(_points(found, losses))
    own, rival = coefficients_of(surface, "flops", 3.0), surface.coefficients(3.0)
    for name in ("alpha", "beta", "gamma"):
        assert own[name] == pytest.approx(rival[name])
