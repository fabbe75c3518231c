"""Scaling rules, the grid of coefficients, measured speed, and what `scale` prints of them."""

import json
import math
import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_imports import command, loaded
from test_published import run

from scalesearch import load
from scalesearch.architecture.budget import BAND, LOWEST_PHI, Budget, OverBudgetError
from scalesearch.architecture.document import from_document
from scalesearch.architecture.rules import RULES, grid, largest, member
from scalesearch.architecture.scaling import Coefficients, compound, scale
from scalesearch.cli import scale_speed
from scalesearch.cli.scale_tables import rate
from scalesearch.training.speed import Speed, choose_effort, images_per_second


@pytest.fixture(autouse=True)
def one_thread_and_numbers_as_usual():
    """Several threads on a busy machine wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)  # measuring a speed sets it, for the whole process


BASES = ("efficientnet_b0", "mobilenet_v2", "shufflenet_v2_x1_0", "shufflenet3d_v2")
B0 = load("efficientnet_b0")
EFFICIENTNET = RULES["efficientnet"].coefficients


def ran(monkeypatch, capsys, *arguments):
    """Run `scale efficientnet_b0` and return its standard output and standard error."""
    code, out, err = run(monkeypatch, capsys, "scale", "efficientnet_b0", *arguments)
    assert code == 0, err
    return out, err


@given(st.sampled_from(sorted(RULES)), st.floats(-20, 20))
def test_every_rule_is_on_the_growth_constraint(name, phi):
    depth, width, resolution = RULES[name].multipliers(phi)
    growth = 1.2 * 1.1**2 * 1.15**2 if name == "efficientnet" else 2
    assert depth * width**2 * resolution**2 == pytest.approx(growth**phi)


def test_rules_grow_what_they_are_named_after_in_equal_shares():
    for name, rule in RULES.items():
        grown = [part for part in ("depth", "width", "resolution") if part in name]
        if grown:
            shares = dict(zip(("depth", "width", "resolution"), rule.coefficients.shares, strict=True))
            assert shares == pytest.approx({p: (p in grown) / len(grown) for p in shares}), name
    assert RULES["uniform"].coefficients.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@given(st.floats(-6, 6))
def test_fast_scaling_has_the_published_exponents(phi):
    s = 2**phi  # Dollar et al. 2021: d = s^0.1, w = s^0.4, r = s^0.05
    assert RULES["fast"].multipliers(phi) == pytest.approx((s**0.1, s**0.4, s**0.05))


def test_fast_scaling_of_b0_is_the_authors_codes_but_for_two_rounding_rules():
    # Their code rounds repeats to the nearest where EfficientNet rounds up, and channels to the nearest
    # multiple of 8 where EfficientNet never goes more than 10 % down. At s = 4 it gives these for B0.
    repeats, widths = [1, 2, 2, 3, 3, 5, 1], [24, 40, 72, 136, 192, 336, 560]
    depth, width, _ = RULES["fast"].multipliers(2)
    assert [round(stage.repeats * depth) for stage in B0.stages] == repeats
    assert [round(stage.channels * width / 8) * 8 for stage in B0.stages] == widths
    ours = member(B0, RULES["fast"].coefficients, 2)
    assert (ours.resolution, ours.stem.channels, ours.head.channels) == (240, 56, 2232)
    assert [stage.channels for stage in ours.stages] == [32, *widths[1:]]  # 24 is 14 % below 27.9
    assert [stage.repeats for stage in ours.stages] == [2, 3, 3, 4, 4, 5, 2]


@pytest.mark.parametrize("name", BASES)
def test_largest_is_within_the_budget_and_the_next_phi_is_over_it(name):
    base = load(name)
    for rule in RULES.values():
        for factor in (0.3, 1, 4):
            budget = factor * base.cost().flops
            try:
                made = largest(base, rule.coefficients, Budget(budget))
            except OverBudgetError:
                assert compound(base, rule.coefficients, LOWEST_PHI).cost().flops > budget
                continue
            assert made.network == member(base, rule.coefficients, made.phi)
            assert made.network.cost().flops == made.share * budget <= budget
            assert member(base, rule.coefficients, made.phi + 2e-5).cost().flops > budget, rule.name
            assert made.repair == ()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.floats(7.5, 10.5))
def test_filling_closes_the_gap_and_never_exceeds_the_budget(name, exponent):
    budget = Budget(10**exponent)
    coefficients = RULES[name].coefficients
    try:
        made = largest(B0, coefficients, budget)
    except OverBudgetError:
        return
    filled = largest(B0, coefficients, budget, fill=True)
    assert BAND <= filled.share <= 1
    assert filled.phi == made.phi
    assert (filled.network == made.network) == (made.share >= BAND) == (filled.repair == ())


def test_a_budget_that_a_rule_cannot_meet_is_refused_with_its_smallest_member():
    with pytest.raises(OverBudgetError) as error:
        largest(B0, RULES["depth"].coefficients, Budget(1e8), fill=True)
    smallest = scale(B0, depth=1e-9).cost().flops
    assert error.value.share == smallest / 1e8
    with pytest.raises(ValueError, match="more than 10,000 blocks"):
        largest(B0, RULES["depth"].coefficients, Budget(1e14))
    with pytest.raises(ValueError, match=r"at phi = 20 a stage has more than 10,000 blocks"):
        member(B0, RULES["depth"].coefficients, 20)


def test_at_equal_flops_fast_scaling_has_fewest_activations_of_the_rules_that_grow_all_three():
    made = {n: largest(B0, RULES[n].coefficients, Budget(8e9)) for n in ("fast", "uniform", "efficientnet")}
    activations = {name: fit.network.cost().activations for name, fit in made.items()}
    assert activations["fast"] < 0.7 * min(activations["uniform"], activations["efficientnet"])


def brute_force(base, step, growth, tolerance):
    """All coefficients by their network, without knowing that each moves sizes of its own."""
    count = int((growth * (1 + tolerance) - 1) / step + 1e-9)
    axis = [round(1 + i * step, 9) for i in range(count + 1)]
    found = {}
    for alpha in axis:
        for beta in axis:
            for gamma in axis:
                if abs(alpha * beta**2 * gamma**2 / growth - 1) <= tolerance + 1e-9:
                    network = compound(base, Coefficients(alpha, beta, gamma), 1)
                    found.setdefault(network, set()).add((alpha, beta, gamma))
    return found


@pytest.mark.parametrize(
    ("name", "step", "growth", "tolerance"),
    [
        ("efficientnet_b0", 0.05, 2, 0.05),
        ("efficientnet_b0", 0.1, 3, 0.1),
        ("shufflenet_v1_g3", 0.1, 2, 0.2),
        ("shufflenet3d_v2", 0.1, 2, 0.1),
    ],
)
def test_grid_is_what_brute_force_finds(name, step, growth, tolerance):
    base = load(name)
    points = grid(base, step, growth, tolerance)
    assert {p.network: set(p.coefficients) for p in points} == brute_force(base, step, growth, tolerance)
    flops = [point.network.cost().flops for point in points]
    assert flops == sorted(flops) == [point.cost.flops for point in points]
    for point in points:
        assert growth * (1 - tolerance) - 1e-6 <= point.growths[0] <= point.growths[1]
        assert point.growths[1] <= growth * (1 + tolerance) + 1e-6


def test_rounding_makes_the_grid_cost_more_than_it_promises():
    points, flops = grid(B0, 0.01), B0.cost().flops
    over = sum(point.cost.flops > point.growths[1] * flops for point in points)
    assert sum(len(point.coefficients) for point in points) > 10 * len(points)
    assert over / len(points) > 0.95


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"step": 0.004}, "a step must be from 0.005 to 1"),
        ({"step": math.nan}, "a step must be from 0.005 to 1"),
        ({"growth": 1}, "growth must be above 1"),
        ({"tolerance": 0.5}, "growth less the tolerance must exceed 1"),
        ({"step": 0.005, "growth": 9, "tolerance": 0.5}, "more than 1,000,000 coefficients"),
    ],
)
def test_an_impossible_grid_is_refused(settings_, message):
    with pytest.raises(ValueError, match=message):
        grid(B0, **settings_)


def test_speed_is_measured_in_turn():
    narrow = scale(load("mobilenet_v2"), width=0.25)
    networks = [replace(narrow, resolution=32, classes=3), replace(narrow, resolution=224, classes=5)]
    order = []

    def note(module, _inputs, output):
        if isinstance(module, torch.nn.Linear):
            order.append(output.shape)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        speeds = images_per_second(networks, batch=4, rounds=5)
    finally:
        hook.remove()
    assert order == [(4, 3), (4, 5)] * 6
    assert len(speeds) == 2
    assert all(0 < speed.low <= speed.median <= speed.high for speed in speeds)


def test_rates_are_short_at_every_speed():
    rates = [
        rate(Speed(each, 0.9 * each, 1.1 * each)) for each in (0.0123, 8.364, 23.45, 456.7, 999.7, 56789)
    ]
    assert rates == ["0.0123±10%", "8.36±10%", "23.4±10%", "457±10%", "1k±10%", "57k±10%"]
    assert rate(Speed(10, 1, 30)) == "10.0±>99%"


def test_effort_follows_the_time_given():
    networks = [scale(load("mobilenet_v2"), width=0.25, resolution=0.3)] * 2
    batch, rounds = choose_effort(networks, device="cpu", seconds=1e-9)
    assert (batch, rounds) == (1, 5)
    batch, rounds = choose_effort(networks, device="cpu", seconds=1e9)
    assert (batch, rounds) == (64, 25)


def test_scale_leaves_the_gap_open_and_says_what_fill_would_do(monkeypatch, capsys):
    out, err = ran(monkeypatch, capsys, "--budget-flops", "2e9")
    expected = largest(B0, EFFICIENTNET, Budget(2e9))
    assert expected.share < BAND
    assert f"{expected.share:.2%} of the budget" in err
    assert "; --fill closes the gap by " in err
    assert "name: efficientnet_b0_2e09" in out
    out, err = ran(monkeypatch, capsys, "--budget-flops", "2e9", "--fill", "--json")
    found = json.loads(out)
    assert BAND <= found["share"] <= 1
    assert found["repair"]
    assert from_document(found["network"]).cost().flops == found["flops"] <= 2e9
    assert found["schema"] == 1


@pytest.mark.parametrize("phi", ["-1.5", "0", "2.25"])
def test_scale_gives_the_member_at_a_phi(phi, monkeypatch, capsys):
    found = json.loads(ran(monkeypatch, capsys, "--phi", phi, "--rule", "uniform", "--json")[0])
    expected = compound(B0, RULES["uniform"].coefficients, float(phi))
    assert from_document(found["network"]) == expected
    assert found["share"] is None
    assert f"phi = {float(phi):g}: depth x" in ran(monkeypatch, capsys, "--phi", phi)[1]


def test_coefficients_of_the_command_line_are_efficientnets(monkeypatch, capsys):
    arguments = ("--budget-flops", "1e9", "--alpha", "1", "--beta", "1", "--gamma", "1.4", "--json")
    found = json.loads(ran(monkeypatch, capsys, *arguments)[0])
    assert (found["realised"]["depth"], found["realised"]["width"]) == (1, 1)
    assert found["coefficients"]["gamma"] == 1.4
    rows = json.loads(ran(monkeypatch, capsys, *arguments, "--rule", "all", "--no-speed")[0])["rules"]
    assert rows[0]["resolution"] == found["resolution"]


def test_all_rules_stand_side_by_side_and_those_that_cannot_say_why(monkeypatch, capsys):
    arguments = ("--rule", "all", "--budget-flops", "2e7", "--no-speed")
    found = json.loads(ran(monkeypatch, capsys, *arguments, "--json")[0])
    assert [row["rule"] for row in found["rules"]] == list(RULES)
    assert found["speed"] is None
    reasons = {row["rule"]: row["reason"] for row in found["rules"] if row["reason"]}
    assert set(reasons) == {"depth", "width"}
    assert "takes 8.661 times the budget" in reasons["depth"]
    for row in found["rules"]:
        if row["reason"] is None:
            assert from_document(row["network"]).cost().flops == row["flops"] == row["share"] * 2e7 <= 2e7
    out, _ = ran(monkeypatch, capsys, *arguments)
    assert "depth: the smallest member of the family takes 8.661 times the budget" in out


def test_the_table_of_rules_fits_80_columns_with_nothing_cut(monkeypatch, capsys):
    monkeypatch.setattr(scale_speed, "SECONDS", 0.1)
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ("--rule", "all", "--budget-flops", "2e6", "--fill", "--device", "cpu")
    out, err = ran(monkeypatch, capsys, *arguments)
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80 + 2 * (">99%" in out)  # where the machine was very busy
    assert "images/s" in lines[1]
    row = next(line for line in lines if line.startswith("fast"))
    assert row.endswith("%")
    assert len(row.split()) == len(lines[1].split())
    assert "measuring the speed of 4 different networks on cpu" in err
    found = json.loads(ran(monkeypatch, capsys, *arguments, "--json")[0])
    assert set(found["speed"]) == {"device", "device_name", "threads", "batch", "rounds", "torch"}
    speeds = [row["images_per_second"] for row in found["rules"] if row["reason"] is None]
    assert all(0 < speed["low"] <= speed["median"] <= speed["high"] for speed in speeds)


def test_networks_that_take_too_long_are_not_measured(monkeypatch, capsys):
    out, err = ran(monkeypatch, capsys, "--rule", "all", "--budget-flops", "1e11", "--device", "cpu")
    assert "no speed: on cpu networks above 5e+10 FLOPs are not measured" in err
    assert "images/s" not in out


@pytest.mark.parametrize("arguments", ["--published", "--grid", "--rule all --budget-flops 3e7 --no-speed"])
def test_narrow_terminals_cut_nothing(arguments, monkeypatch, capsys):
    words = {}
    for columns in (80, 110, 300):
        monkeypatch.setenv("COLUMNS", str(columns))
        out, _ = ran(monkeypatch, capsys, *arguments.split())
        assert max(len(line) for line in out.splitlines()) <= max(columns, 80)
        words[columns] = Counter(re.sub("a terminal of .* there is", "", out, flags=re.DOTALL).split())
    assert words[80] == words[110]
    assert words[80] == words[300] if "--grid" not in arguments else not words[80] - words[300]


def test_the_grid_marks_efficientnets_own_coefficients(monkeypatch, capsys):
    found = json.loads(ran(monkeypatch, capsys, "--grid", "--json")[0])
    (own,) = [point for point in found["points"] if point["efficientnet"]]
    assert own["flops"] == compound(B0, EFFICIENTNET, 1).cost().flops
    assert [1.2, 1.1, 1.15] in own["coefficients"]
    assert own["promised_flops"]["low"] <= EFFICIENTNET.growth * B0.cost().flops + 1
    assert found["coefficients"] == sum(len(point["coefficients"]) for point in found["points"])
    out, _ = ran(monkeypatch, capsys, "--grid")
    (line,) = [line for line in out.splitlines() if line.lstrip().startswith("*") and "1.92-" in line]
    assert line.split()[:4] == [f"*{len(own['coefficients'])}", "1.2", "1.1", "1.15"]


def test_the_rule_stands_beside_each_published_variant(monkeypatch, capsys):
    found = json.loads(ran(monkeypatch, capsys, "--published", "--json")[0])
    assert [row["name"] for row in found["variants"]] == [f"efficientnet_b{n}" for n in range(1, 8)]
    for row in found["variants"]:
        published, scaled = row["published"], row["scaled"]
        assert published["flops"] == load(row["name"]).cost().flops
        assert 0.9 * published["flops"] <= scaled["flops"] <= published["flops"]
        assert len(scaled["repeats"]) == len(published["widths"]) == 7
    assert found["variants"][1]["scaled"]["widths"] == found["variants"][1]["published"]["widths"]
    filled = json.loads(ran(monkeypatch, capsys, "--published", "--fill", "--rule", "fast", "--json")[0])
    assert all(row["scaled"]["share"] >= BAND for row in filled["variants"])
    out, _ = ran(monkeypatch, capsys, "--published", "--rule", "depth")
    assert "efficientnet_b7" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--budget-flops", "4e8", "--rule", "all", "--no-speed"),
        ("--grid", "--step", "0.1", "--tolerance", "0.1"),
    ],
)
def test_comparisons_without_speed_load_nothing_heavy(arguments):
    assert loaded(command("scale", "efficientnet_b0", *arguments)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "give one of --budget-flops and --phi"),
        ("--budget-flops 1e9 --phi 1", "give one of --budget-flops and --phi"),
        ("--phi 1 --fill", "--fill closes the gap below a budget"),
        ("--phi 61", "--phi must be from -60 to 60, but got 61"),
        ("--phi nan", "--phi must be from -60 to 60, but got nan"),
        ("--phi 30 --rule resolution", "--phi 30 gives more than 1e+15 FLOPs"),
        ("--phi 20 --rule depth", "--phi: at phi = 20 a stage has more than 10,000 blocks"),
        ("--budget-flops 1e9 --rule deep", "--rule is one of efficientnet, depth, width, resolution, "),
        (
            "--budget-flops 1e9 --rule fast --beta 1.2",
            "--beta goes with the rule efficientnet, not with fast",
        ),
        ("--budget-flops 1e9 --gamma 0.5", "gamma must be at least 1"),
        ("--budget-flops 1e8 --rule depth", "by the rule depth efficientnet_b0 takes at least 173,"),
        ("--budget-flops 1e14 --rule depth", "by the rule depth the budget takes a stage of more than"),
        ("--budget-flops 1e9 --no-speed", "--no-speed does not go with one rule; it goes with --rule all"),
        ("--rule all", "give --budget-flops"),
        ("--rule all --phi 1", "--phi does not go with --rule all; it goes with one rule"),
        ("--grid --budget-flops 1e9", "--budget-flops does not go with --grid"),
        ("--grid --published", "--published does not go with --grid"),
        ("--grid --step 0.001", "a step must be from 0.005 to 1, but got 0.001"),
        ("--budget-flops 1e9 --step 0.05", "--step does not go with one rule; it goes with --grid"),
        ("--published --rule all", "--published takes one rule, not all"),
        ("--published --classes 10", "--classes does not go with --published"),
    ],
)
def test_options_that_do_not_go_together_get_one_line(arguments, message, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "scale", "efficientnet_b0", *arguments.split())
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("efficientnet_b4", "efficientnet_b4 is a variant of efficientnet_b0: give that"),
        ("efficientnet_v2_s", "efficientnet_v2_s.yaml has no variants"),
    ],
)
def test_published_takes_a_familys_base(network, message, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "scale", network, "--published")
    assert code == 2
    assert message in err
