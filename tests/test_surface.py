"""The response surface on known quadratics, against brute force over a fine grid and SciPy's optimiser."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, minimize
from scipy.spatial import Delaunay

from scalesearch.architecture.scaling import Coefficients
from scalesearch.errors import InputError
from scalesearch.search.quadratic import hull, lowest, terms
from scalesearch.search.surface import ScaledPoint, Shares, fit_surface

POWERS = np.array([1, 2, 2])
CORNERS = np.eye(3)


def bowl(shares):
    """A loss that is least at the shares 0.3, 0.4, 0.3."""
    x, z = shares[0] - 0.3, shares[2] - 0.3
    return 1 + 0.3 * (x**2 + z**2 + 0.5 * x * z)


def flat(shares):
    return 1.0


def design(rng, n=14):
    """Draw the shares of n points: the three corners and others inside."""
    return np.vstack([CORNERS, rng.dirichlet([1.5, 1.5, 1.5], n - 3)])


def trained(shares, loss, noise=0.0, seeds=3, growth=2.0, rng=None):
    rng = np.random.default_rng(0) if rng is None else rng
    return [
        ScaledPoint(
            *(growth ** (s / POWERS)).tolist(), tuple((loss(s) + rng.normal(0, noise, seeds)).tolist())
        )
        for s in shares
    ]


def triple(shares, growth=2.0):
    return (growth ** (np.asarray(shares) / POWERS)).tolist()


@pytest.mark.parametrize("growth", [1.5, 2.0, 4.0])
def test_a_quadratic_without_noise_is_recovered(growth):
    rng = np.random.default_rng(1)
    surface = fit_surface(trained(design(rng), bowl, growth=growth), resamples=5)
    assert surface.optimum == pytest.approx((0.3, 0.4, 0.3))
    assert not surface.at_edge
    for shares in rng.dirichlet([1, 1, 1], 20):
        assert surface.loss(shares) == pytest.approx(bowl(shares))
    found = surface.coefficients(2.0)
    known = Coefficients.from_shares(0.3, 0.4, 2.0)
    for name in ("alpha", "beta", "gamma"):
        assert found[name].value == pytest.approx(getattr(known, name))
    assert surface.plateau(*triple((0.2, 0.4, 0.4), growth)).difference == pytest.approx(
        bowl((0.2, 0.4, 0.4)) - 1
    )


def test_the_optimum_is_that_of_brute_force_and_of_scipy():
    rng = np.random.default_rng(2)
    for _ in range(20):
        places = design(rng, 8)[3 * int(rng.integers(2)) :][:, [0, 2]]  # with and without the corners
        fit = rng.normal(size=6)
        edges, walls = hull(places)
        found = lowest(fit[None], edges, walls)[0]
        value = float(terms(found) @ fit)
        grid = np.stack(np.meshgrid(np.linspace(0, 1, 301), np.linspace(0, 1, 301)), -1).reshape(-1, 2)
        inside = grid[Delaunay(places).find_simplex(grid) >= 0]
        least = float((terms(inside) @ fit).min())
        assert value <= least + 1e-12
        assert value == pytest.approx(least, abs=0.03)
        assert (walls @ np.append(found, 1)).max() <= 1e-9
        rivals = [
            minimize(
                lambda place, fit=fit: float(terms(place) @ fit),
                start,
                method="SLSQP",
                constraints=LinearConstraint(walls[:, :2], ub=-walls[:, 2]),
            ).fun
            for start in places
        ]
        assert value == pytest.approx(min(rivals), abs=1e-5)


def test_rows_are_minimised_independently():
    rng = np.random.default_rng(3)
    edges, walls = hull(design(rng)[:, [0, 2]])
    fits = rng.normal(size=(30, 6))
    together = lowest(fits, edges, walls)
    assert together == pytest.approx(np.vstack([lowest(fit[None], edges, walls) for fit in fits]))


def test_intervals_cover_the_optimum_and_the_plateau_holds_it():
    rng = np.random.default_rng(4)
    true = triple((0.3, 0.4, 0.3))
    covered, held, alphas, errors = np.zeros(3), 0, [], []
    for _ in range(100):
        surface = fit_surface(trained(design(rng), bowl, 0.01, rng=rng), resamples=200)
        found = surface.coefficients().values()
        alpha = surface.coefficients()["alpha"]
        alphas.append(alpha.value)
        errors.append((alpha.high - alpha.low) / (2 * 1.96))
        covered += [each.low <= value <= each.high for each, value in zip(found, true, strict=True)]
        held += surface.plateau(*true).inside
    assert (covered >= 85).all()
    assert np.median(errors) == pytest.approx(np.std(alphas), rel=0.3)  # nor are they wider than they must be
    assert held >= 95


def test_noise_alone_gives_a_plateau_that_holds_everything():
    rng = np.random.default_rng(5)
    whole = 0
    for case in range(100):
        shares = design(rng)
        surface = fit_surface(trained(shares, flat, 0.01, 1 + case % 3, rng=rng), resamples=2)
        whole += all(surface.plateau(*triple(s)).inside for s in shares)
    assert whole >= 90


def test_a_triple_far_from_the_optimum_is_outside_the_plateau():
    points = trained(design(np.random.default_rng(6)), bowl, 0.02)
    surface = fit_surface(points)
    near, far = surface.plateau(1.2, 1.1, 1.15), surface.plateau(2, 1, 1)
    assert near.inside
    assert near.low <= 0 <= near.high
    assert not far.inside
    assert 0 < far.low < far.difference < far.high
    assert far.difference == pytest.approx(bowl((1, 0, 0)) - 1, abs=0.03)
    words = surface.verdict()
    assert "1.2/1.1/1.15 is inside the plateau (loss +0.0" in words
    assert "42 trainings of 14 points" in words
    assert "2/1/1 is worse than the optimum" in surface.verdict(2, 1, 1)


def test_an_accuracy_given_for_a_loss_puts_the_optimum_on_the_edge():
    surface = fit_surface(trained(design(np.random.default_rng(7)), lambda s: -bowl(s)), resamples=5)
    assert surface.at_edge
    assert max(surface.optimum) == pytest.approx(1)  # a corner
    assert "the true one may lie beyond" in surface.verdict()


def test_the_optimum_stays_within_the_trained_points():
    shares = np.random.default_rng(8).dirichlet([1, 1, 1], 12) * 0.3 + np.array([0.7, 0.0, 0.0])
    surface = fit_surface(trained(shares, bowl, 0.001))
    assert surface.at_edge
    corners = Delaunay(shares[:, [0, 2]] * (1 + 1e-6) - shares[:, [0, 2]].mean(0) * 1e-6)
    assert (corners.find_simplex(surface.samples[:, [0, 2]]) >= 0).all()


def test_points_of_more_seeds_weigh_more():
    points = trained(design(np.random.default_rng(9)), bowl, 0.02)
    doubled = [
        ScaledPoint(p.depth, p.width, p.resolution, p.losses * (1 + (i == 4))) for i, p in enumerate(points)
    ]
    every = [(p, loss) for p in doubled for loss in p.losses]
    rows = terms(np.array([[np.log2(p.depth), 2 * np.log2(p.resolution)] for p, _ in every]))
    rival = np.linalg.lstsq(rows, np.array([loss for _, loss in every]), rcond=None)[0]
    assert fit_surface(doubled, resamples=2).fit == pytest.approx(rival)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("given", [0.0, 0.2])
def test_one_shared_multiplier_leaves_a_curve(axis, given):
    split = np.linspace(0, 1, 7) * (1 - given)
    shares = np.insert(np.stack([split, 1 - given - split], 1), axis, given, axis=1)
    first = next(a for a in range(3) if a != axis)

    def loss(s):
        return 1 + 0.4 * (s[first] / (1 - given) - 0.35) ** 2

    surface = fit_surface(trained(shares, loss, 1e-4, 2))
    name = ("depth", "width", "resolution")[axis]
    assert surface.fixed == name
    assert surface.optimum[first] == pytest.approx(0.35 * (1 - given), abs=0.01)
    assert surface.optimum[axis] == pytest.approx(given)
    assert sum(surface.optimum) == pytest.approx(1)
    assert not surface.at_edge
    assert (
        f"{('alpha', 'beta', 'gamma')[axis]} is not identified: all points share one {name}"
        in surface.verdict()
    )
    assert surface.plateau(*triple(surface.optimum)).inside
    assert not surface.plateau(*triple(np.eye(3)[first])).inside
    with pytest.raises(InputError, match=f"only {name} grows"):
        surface.plateau(*triple(np.eye(3)[axis]))


def test_the_seed_decides_the_interval():
    points = trained(design(np.random.default_rng(10)), bowl, 0.02)
    first, again, other = (fit_surface(points, seed=seed, resamples=50).coefficients() for seed in (0, 0, 1))
    assert first == again != other
    wide = fit_surface(points, level=0.99).coefficients()["alpha"]
    narrow = fit_surface(points, level=0.5).coefficients()["alpha"]
    assert wide.low < narrow.low < narrow.high < wide.high


GOOD = trained(design(np.random.default_rng(11)), bowl)


@pytest.mark.parametrize(
    ("points", "rule"),
    [
        (GOOD[:7], "6 coefficients need at least 8 points, got 7"),
        ([], "differ in two multipliers, got 0"),
        ([ScaledPoint(1.0, 1.0, 2.0, (1.0,))] * 9, "differ in two multipliers"),
        ([*GOOD, ScaledPoint(0.0, 1.1, 1.1, (1.0,))], "multipliers must be above 0"),
        ([*GOOD, ScaledPoint(1.0, 1.0, 1.0, (1.0,))], "above 1, got"),
        ([*GOOD, ScaledPoint(2.0, 1.1, 1.2, ())], "every point needs a training"),
        ([*GOOD, ScaledPoint(2.0, 1.1, 1.2, (float("nan"),))], "finite loss"),
        ([*GOOD, ScaledPoint(2.0, 1.4, 1.2, (1.0,))], "one growth, got 2 to"),
        (trained([(t, 0.5 - t / 2, 0.5 - t / 2) for t in np.linspace(0, 1, 9)], bowl), "lie on a curve"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused_by_rule_and_value(points, rule):
    with pytest.raises(InputError, match=rule):
        fit_surface(points)


def test_a_step_that_does_not_grow_is_refused():
    surface = fit_surface(GOOD, resamples=2)
    assert isinstance(surface.optimum, Shares)
    with pytest.raises(InputError, match="above 1, got 1"):
        surface.coefficients(1)
    with pytest.raises(InputError, match="above 1, got"):
        surface.plateau(1, 1, 1)
