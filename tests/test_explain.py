"""Published multipliers beside the formula: phi, deviations, and whether any phi is exact."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_imports import command, loaded
from test_published import run

from scalesearch.architecture.explain import exact_interval, explain
from scalesearch.architecture.scaling import Coefficients, compound
from scalesearch.documents import find_network

PAPER = Coefficients(1.2, 1.1, 1.15)

# Implied phi of depth, width and resolution; least-squares phi; deviations in percent; phi of the FLOPs;
# the exact interval on a grid of 0.001.
TABLE = {
    "efficientnet_b1": (0.52, 0.00, 0.49, 0.437, -1.6, 4.3, -0.8, 0.88, (0.001, 0.032)),
    "efficientnet_b2": (1.00, 1.00, 1.07, 1.021, 0.4, 0.2, -0.6, 1.45, (1.000, 1.029)),
    "efficientnet_b3": (1.85, 1.91, 2.09, 1.933, 1.6, 0.2, -2.2, 2.38, (1.886, 1.940)),
    "efficientnet_b4": (3.22, 3.53, 3.78, 3.445, 4.1, -0.8, -4.6, 3.73, (3.507, 3.553)),
    "efficientnet_b5": (4.32, 4.93, 5.09, 4.654, 6.2, -2.6, -5.9, 5.03, None),
    "efficientnet_b6": (5.24, 6.17, 6.14, 5.659, 7.9, -4.7, -6.4, 5.98, None),
    "efficientnet_b7": (6.21, 7.27, 7.05, 6.629, 8.0, -6.0, -5.7, 7.02, None),
}


def explained(name, coefficients=PAPER):
    entry = find_network(name)
    multipliers = entry.variant.multipliers
    return explain(entry.network, entry.base, multipliers.depth, multipliers.width, coefficients)


def same_sizes(network, other):
    """Equal channels and repeats, resolution aside."""
    return (network.stem, network.stages, network.head.channels) == (
        other.stem,
        other.stages,
        other.head.channels,
    )


@pytest.mark.parametrize("name", TABLE)
def test_published_efficientnets_beside_the_formula(name):
    depth, width, side, phi, of_depth, of_width, of_side, of_flops, exact = TABLE[name]
    found = explained(name)
    assert found.phi == pytest.approx(phi, abs=6e-4)
    implied = [found.implied[key] for key in ("depth", "width", "resolution", "flops")]
    assert implied == pytest.approx([depth, width, side, of_flops], abs=6e-3)
    assert [100 * d for d in found.deviations] == pytest.approx([of_depth, of_width, of_side], abs=0.06)
    if exact is None:
        assert found.exact is None
    else:
        low, high = found.exact
        assert exact[0] - 0.001 <= low <= exact[0]
        assert exact[1] <= high <= exact[1] + 0.001 + 1e-12


@pytest.mark.parametrize("name", TABLE)
def test_exact_interval_is_what_a_grid_of_phi_finds(name):
    entry = find_network(name)
    interval = exact_interval(entry.network, entry.base, PAPER)
    grid = np.arange(-1000, 9000) / 1000 + 0.00037  # beside the ends
    near = [phi for phi in grid if interval is None or interval[0] - 0.1 < phi < interval[1] + 0.1]
    hits = [
        phi
        for phi in near[:: 1 if interval else 4]
        if same_sizes(compound(entry.base, PAPER, phi), entry.network)
    ]
    inside = [phi for phi in near if interval and interval[0] < phi < interval[1]]
    assert hits == inside


@settings(max_examples=20, deadline=None)
@given(st.floats(-2, 6), st.floats(1.05, 1.4), st.floats(1.02, 1.2))
def test_a_member_of_the_family_is_always_explained_exactly(phi, alpha, beta):
    base, coefficients = find_network("efficientnet_b0").network, Coefficients(alpha, beta, 1.1)
    interval = exact_interval(compound(base, coefficients, phi), base, coefficients)
    assert interval is not None
    assert interval[0] - 1e-9 <= phi <= interval[1] + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(TABLE)), st.floats(1, 1.4), st.floats(1.01, 1.4), st.floats(1, 1.4))
def test_phi_is_the_least_squares_solution(name, alpha, beta, gamma):
    found = explained(name, Coefficients(alpha, beta, gamma))
    steps = np.log([alpha, beta, gamma])
    (phi,), *_ = np.linalg.lstsq(steps[:, None], np.log(found.multipliers), rcond=None)
    assert found.phi == pytest.approx(phi, abs=1e-9)
    assert (found.implied["depth"] is None) == (alpha == 1)


def test_explain_prints_published_figures_beside_the_formula(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "explain", "efficientnet_b5")
    assert code == 0
    assert "No phi gives the exact channels and repeats" in " ".join(out.split())
    assert "+6.2%" in out
    assert "phi from 3.507 to 3.554" in run(monkeypatch, capsys, "explain", "efficientnet_b4")[1]
    assert loaded(command("explain", "efficientnet_b4")) == []


def test_explain_as_json_follows_the_coefficients(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "explain", "efficientnet_b4", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["published"]["depth"] == 1.8
    assert found["published"]["flops"] == 4393771024
    assert found["phi"]["least_squares"] == pytest.approx(3.445, abs=6e-4)
    assert found["exact_phi"] == pytest.approx([3.507, 3.554], abs=1e-3)
    other = ("--alpha", "1.3", "--beta", "1.2", "--gamma", "1")
    found = json.loads(run(monkeypatch, capsys, "explain", "efficientnet_b4", *other, "--json")[1])
    assert found["coefficients"]["alpha"] == 1.3
    assert found["phi"]["resolution"] is None
    assert found["exact_phi"] is None


def test_any_variant_with_multipliers_is_explained(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "explain", "mobilenet_v1_0.5", "--json")
    assert code == 0
    assert json.loads(out)["phi"]["width"] == pytest.approx(np.log(0.5) / np.log(1.1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["efficientnet_b0"], "but efficientnet_b0 states none; in its document are efficientnet_b1, "),
        (["efficientnet_v2_s"], "needs a variant with published width and depth multipliers"),
        (["shufflenet_v2_x0_5"], "but shufflenet_v2_x0_5 states none"),
        (["efficientnet_b1", "--alpha", "0.9"], "alpha must be from 1 to 100, but got 0.9"),
        (["efficientnet_b1", "--alpha", "1", "--beta", "1", "--gamma", "1"], "must exceed 1"),
        (["efficientnet_b1", "--gamma", "nan"], "gamma must be from 1 to 100, but got nan"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_line(arguments, message, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "explain", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
