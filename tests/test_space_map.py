"""The map of a space: its numbers against slow counting over single networks, and the command."""

import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from scalesearch import cli
from scalesearch.architecture import space_map
from scalesearch.architecture.budget import BAND, Budget
from scalesearch.architecture.domains import Choice, Range
from scalesearch.architecture.extremes import extremes
from scalesearch.architecture.sampling import Sampler
from scalesearch.architecture.space_map import Share, at_budget, draw_map, eta_squared, groups, quantiles
from scalesearch.dashboard import space_page
from scalesearch.documents import load_space, space_from

MIXED = load_space("mixed")
MEASURES = ("flops", "params", "activations")
SMALL = {
    "name": "small",
    "resolution": 64,
    "stem": {"channels": {"choice": [8, 16]}},
    "stages": [
        {"operator": "mbconv", "channels": {"range": [16, 48], "step": 8}, "repeats": 1, "stride": 2},
        {"operator": "mbconv", "channels": 32, "repeats": {"range": [0, 3]}},
    ],
    "head": {"channels": 64},
    "coefficients": {"depth": {"range": [0.0, 1.0]}},
}


def small(**changes):
    return space_from({**SMALL, **changes}, "small")


@pytest.fixture(scope="module")
def drawn():
    return draw_map(Sampler(MIXED), 300, seed=3)


def candidates(n, seed, stream):
    """The same candidates one by one, as the module documents its streams."""
    rng = np.random.default_rng(seed).spawn(stream + 1)[stream]
    draws = Sampler(MIXED).draw(rng if stream else rng.spawn(1)[0], n)
    return [draws.candidate(row) for row in range(n)]


@pytest.fixture(scope="module")
def alone():
    return [candidate.base.cost() for candidate in candidates(300, 3, 0)]


def test_costs_are_those_of_the_single_networks_drawn(drawn, alone):
    for name in MEASURES:
        assert drawn.cost(name).tolist() == [getattr(cost, name) for cost in alone]


def test_quantiles_are_drawn_values_and_those_of_numpy(drawn):
    levels = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
    for name in MEASURES:
        values = drawn.cost(name)
        assert quantiles(values, levels) == np.quantile(values, levels, method="inverted_cdf").tolist()


@pytest.mark.parametrize("budget", [2e8, 2e9])
def test_shares_of_a_budget_are_those_of_direct_counting(drawn, alone, budget):
    limited = at_budget(Sampler(MIXED), drawn, budget, seed=3, n=20)
    costs = [cost.flops for cost in alone]
    assert limited.within == Share(sum(cost <= budget for cost in costs), 300)
    assert limited.in_band == Share(sum(BAND <= cost / budget <= 1 for cost in costs), 300)
    fits = [candidate.deployed(Budget(budget)) for candidate in candidates(20, 3, 1)]
    assert limited.fitted_in_band == Share(sum(BAND <= fit.share <= 1 for fit in fits), 20)
    assert limited.fitted_within == Share(20, 20)
    assert (limited.fitted.flops <= budget).all()
    assert len(limited.fitted.params) == 20


def test_a_budget_that_some_families_cannot_keep_is_counted_so():
    sampler = Sampler(MIXED)
    limited = at_budget(sampler, draw_map(sampler, 50, 0), 1e5, seed=0, n=300)
    assert 0 < limited.fitted_within.count < 300
    assert len(limited.fitted.flops) == limited.fitted_within.count
    hopeless = at_budget(sampler, draw_map(sampler, 50, 0), 100.0, seed=0, n=20)
    assert (hopeless.fitted_within.count, len(hopeless.fitted.flops)) == (0, 0)


def test_more_samples_begin_with_the_same_pieces(monkeypatch):
    monkeypatch.setattr(space_map, "PIECE", 64)
    sampler, told = Sampler(small()), []
    short, long = draw_map(sampler, 128, 5), draw_map(sampler, 200, 5, told.append)
    assert long.cost("flops")[:128].tolist() == short.cost("flops").tolist()
    assert told == [64, 128, 192, 200]
    assert long.cost("flops").tolist() != draw_map(sampler, 200, 6).cost("flops").tolist()


@pytest.mark.parametrize(("count", "n"), [(0, 50), (3, 1000), (20, 40), (50, 50)])
def test_the_interval_of_a_share_is_wilsons(count, n):
    expected = binomtest(count, n).proportion_ci(method="wilson")
    assert Share(count, n).interval == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_eta_squared_is_that_of_a_grouped_table():
    rng = np.random.default_rng(0)
    group = rng.integers(7, size=2000)
    rows = np.stack([0.5 * group + rng.normal(size=2000), rng.normal(size=2000), np.full(2000, 4.0)])
    found = eta_squared(group, rows - rows.mean(axis=1, keepdims=True))
    for row, value in zip(rows[:2], found, strict=False):
        table = pd.DataFrame({"group": group, "value": row})
        means = table.groupby("group")["value"].transform("mean")
        assert value == pytest.approx(means.var(ddof=0) / table["value"].var(ddof=0))
    assert found[0] == pytest.approx(0.5, abs=0.05)  # the variance of 0.5 * group is 1, as the noise's
    assert found[1] < 0.02
    assert found[2] == 0


def test_leaves_are_grouped_by_value_or_in_bins():
    assert groups(Choice(("a", "b")), np.array([1, 0], dtype=np.int16))[1] == 2
    index, count = groups(Range(16, 48, step=8), np.array([16, 48, 24]))
    assert (index.tolist(), count) == ([0, 4, 1], 5)
    index, count = groups(Range(0.0, 1.0), np.array([0.0, 0.5, 1.0]))
    assert (index.tolist(), count) == ([0, 16, 31], 32)
    index, count = groups(Range(1.0, 100.0, log=True), np.array([1.0, 10.0, 100.0]))
    assert (index.tolist(), count) == ([0, 16, 31], 32)
    index, count = groups(Range(8, 1000), np.array([8, 1000]))
    assert (index.tolist(), count) == ([0, 31], 32)
    assert groups(Range(3, 3), np.array([3, 3]))[1] == 1


def test_influence_names_the_leaf_that_decides_and_none_that_does_not():
    document = {"resolution": {"choice": [32, 256]}, "drop_path": {"range": [0.0, 0.3]}}
    found = draw_map(Sampler(small(**document)), 5000, 0).influences
    shares = {influence.leaf: influence.shares for influence in found}
    assert found[0].leaf == "resolution"
    assert shares["resolution"]["flops"] > 0.85
    assert shares["resolution"]["params"] < 0.01
    assert shares["drop_path"]["flops"] < 0.03
    assert not any(leaf.startswith("coefficients") for leaf in shares)


def test_a_space_of_one_network_has_no_influence_and_one_bin():
    document = {"stem": {"channels": 8}, "stages": [SMALL["stages"][0] | {"channels": 16}]}
    found = draw_map(Sampler(small(**document)), 10, 0)
    assert len(set(found.cost("flops").tolist())) == 1
    assert all(share == 0 for influence in found.influences for share in influence.shares.values())
    assert space_map.histogram(found.cost("flops"))[1].sum() == 10


# The command


def run(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["scalesearch", "space", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    written = capsys.readouterr()
    return end.value.code, written.out, written.err


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL))
    return str(path)


def test_json_holds_exact_numbers(capsys, monkeypatch, document):
    arguments = (document, "--samples", "500", "--budget-flops", "2e6", "--json")
    code, out, _ = run(capsys, monkeypatch, *arguments)
    told, space = json.loads(out), small()
    assert not code
    assert (told["schema"], told["bases"], told["samples"], told["seed"]) == (1, space.bases(), 500, 0)
    least, greatest = extremes(space, 1000)
    for name in MEASURES:
        cost = told["costs"][name]
        # Of 40 bases 500 draws meet the cheapest and the dearest.
        assert cost["quantiles"]["min"] == cost["least"] == getattr(least, name)
        assert cost["quantiles"]["max"] == cost["greatest"] == getattr(greatest, name)
        assert sum(cost["histogram"]["counts"]) == 500
        assert 10 ** cost["histogram"]["log10_edges"][0] == pytest.approx(cost["least"])
    budget = told["budget"]
    assert budget["plain"]["within"]["n"] == 500
    assert budget["fitted"]["in_band"]["n"] == space_map.FITTED
    assert budget["fitted"]["flops"]["max"] <= 2e6
    leaves = {leaf["leaf"] for leaf in told["influence"]["leaves"]}
    assert leaves == {"stem.channels", "stages.0.channels", "stages.1.repeats"}
    again = json.loads(run(capsys, monkeypatch, *arguments)[1])
    assert again["costs"] == told["costs"]
    assert again["budget"] == budget


def test_text_fits_eighty_columns_and_says_what_a_rejection_loop_wastes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    budget = ("--budget-flops", "3e9")
    code, out, err = run(capsys, monkeypatch, "efficientnet_v2_s_blocks", "--samples", "20000", *budget)
    assert (code or 0, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    for words in (
        "as drawn",
        "FLOPs",
        "params",
        "activations",
        "exact",
        "20,000",
        "1 in ",
        "stages.0.kernel",
    ):
        assert words in out
    told = " ".join(out.split())
    in_band = re.search(r"draws in the band [^ ]+% 1 in (\d+) ", told)[1]
    assert f"A rejection loop keeps one draw in {in_band}; the fit by construction 100%" in told


@pytest.mark.parametrize("options", [(), ("--budget-flops", "4e8")])
def test_a_page_is_written_and_names_no_address(capsys, monkeypatch, tmp_path, document, options):
    page, drawn = tmp_path / "map.html", []
    write = space_page.write_page
    monkeypatch.setattr(space_page, "write_page", lambda *to: (drawn.append(to[1]), write(*to)))
    given = (document, "--samples", "200", "--page", str(page), *options)
    code, out, err = run(capsys, monkeypatch, *given)
    assert (code or 0, err) == (0, f"page: {page}\n")
    assert "as drawn" in out
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text.split("<script>")[0])
    figures = [panel["views"][0]["figure"] for panel in drawn[0].panels]
    assert len(figures) == 5
    assert sum("shapes" in figure["layout"] for figure in figures) == (2 if options else 0)
    assert ("What the fit keeps" in text) == bool(options)


def test_subcommands_still_work_and_map_may_be_named(capsys, monkeypatch, document):
    assert run(capsys, monkeypatch, "contains", "mixed", "efficientnet_b0")[1].startswith(
        "efficientnet_b0 is"
    )
    for arguments in ((document,), ("map", document), ("--samples", "20", document)):
        assert "4 free leaves" in run(capsys, monkeypatch, *arguments, "--samples", "20")[1]
    for arguments in (("--help",), ("contains", "--help"), ("mixed", "--help")):
        assert "Usage" in run(capsys, monkeypatch, *arguments)[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mixd",), "mixed"),
        (("mixed", "--samples", "0"), "--samples must be from 1 to 20,000,000, but got 0"),
        (("mixed", "--samples", "1000000000"), "but got 1,000,000,000"),
        (("mixed", "--seed", "-1"), "--seed must be 0 or more, but got -1"),
        (("mixed", "--budget-flops", "1e13"), "at most 1e+12, but got 1e+13"),
        (("mixed", "--budget-flops", "-3"), "must be positive"),
        (("mixed", "--budget-flops", "100"), "is below the smallest network of the space mixed, which takes"),
        (("mixed", "--page", "nowhere/map.html"), "in a folder that exists, but got 'nowhere/map.html'"),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, arguments, words):
    code, out, err = run(capsys, monkeypatch, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_a_space_that_arrays_cannot_hold_names_the_leaf(capsys, monkeypatch, tmp_path):
    stage = SMALL["stages"][0] | {"expand": {"range": [1.0, 6.0]}}
    path = tmp_path / "open.yaml"
    path.write_text(json.dumps(SMALL | {"stages": [stage]}))
    code, _, err = run(capsys, monkeypatch, str(path))
    assert code == 2
    assert "stages.0.expand may be any number in between" in err
