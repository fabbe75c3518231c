"""The scaling law on data from known laws."""

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.special import huber

from scalesearch.errors import InputError
from scalesearch.search.law import InsufficientEvidence, fit_law, hold_out
from scalesearch.search.powerlaw import descend

SIZES = np.geomspace(1e6, 6e7, 7)


def trainings(law, sizes=SIZES, noise=0.0, seed=0, seeds=3):
    """Simulate `seeds` trainings of each size with the relative `noise`."""
    rng = np.random.default_rng(seed)
    return [(float(c), s, float(law(c) * np.exp(rng.normal(0, noise)))) for c in sizes for s in range(seeds)]


def curve(a, b, c):
    return lambda macs: a * macs**-b + c


USUAL = curve(12, 0.3, 0.08)


@pytest.mark.parametrize(
    ("a", "b", "c"), [(12, 0.3, 0.08), (2, 0.15, 0.0), (40, 0.4, 0.3), (3000, 0.8, 0.02), (9, 0.2, 0.01)]
)
def test_a_law_without_noise_is_recovered(a, b, c):
    law = fit_law(trainings(curve(a, b, c)), resamples=3)
    assert (law.a, law.b, law.c) == pytest.approx((a, b, c), rel=1e-3, abs=1e-4)
    assert law.predict(2e8).value == pytest.approx(curve(a, b, c)(2e8), rel=1e-3)


@pytest.mark.parametrize("noise", [0.005, 0.03, 0.2])
@pytest.mark.parametrize("truth", [(12, 0.3, 0.08), (2, 0.15, 0.0), (0.9, 0.05, 0.1), (40, 0.4, 0.3)])
def test_no_start_of_scipy_finds_a_better_fit(truth, noise):
    points = trainings(curve(*truth), noise=noise, seed=3)
    sizes, _, errors = (np.array(column) for column in zip(*points, strict=True))
    x, y = np.log(sizes / 1e7), np.log(errors)
    scale = 1.345 * np.sqrt(np.median(np.var(y.reshape(7, 3), axis=1, ddof=1)))

    def residuals(values):
        return np.log(np.exp(values[0] - values[1] * x) + values[2]) - y

    bounds = ([-np.inf, 0, 0], [np.inf, 5, np.inf])
    fits = [
        least_squares(residuals, [-2, b, c * errors.min()], bounds=bounds, loss="huber", f_scale=scale)
        for b, c in [(0.1, 0.01), (0.4, 0.5), (0.8, 0.9)]
    ]
    rival = min(fits, key=lambda fit: fit.cost)
    law = fit_law(points, resamples=3)
    own = huber(scale, np.log(law.a * sizes**-law.b + law.c) - y).sum()
    assert own <= rival.cost * (1 + 1e-5)


def test_on_the_bound_the_fit_is_a_straight_line_in_logarithms():
    # Falling ever faster: no floor above 0 fits better than none.
    points = trainings(
        lambda m: 0.5 * np.exp(-0.02 * np.log(m / 1e6) ** 2 - 0.1 * np.log(m / 1e6)), noise=0.03
    )
    law = fit_law(points, resamples=3)
    sizes, _, errors = (np.array(column) for column in zip(*points, strict=True))
    x, y = np.log(sizes / 1e7), np.log(errors)
    scale = 1.345 * np.sqrt(np.median(np.var(y.reshape(7, 3), axis=1, ddof=1)))
    line = least_squares(lambda v: v[0] - v[1] * x - y, [-1, 0.1], loss="huber", f_scale=scale, xtol=1e-12)
    assert law.c == 0
    assert law.b == pytest.approx(line.x[1], rel=1e-4)
    assert law.a * 1e7**-law.b == pytest.approx(np.exp(line.x[0]), rel=1e-4)


def test_no_resample_is_fitted_worse_than_by_a_straight_line():
    rng = np.random.default_rng(6)
    x = np.repeat(np.linspace(-2, 2, 7), 3)
    y = np.log(0.3) - 0.5 * x + rng.normal(0, 0.02, 21)
    counts = rng.multinomial(21, np.full(21, 1 / 21), 30)
    values, losses = descend(x, y, counts, np.tile([np.log(0.3), 0.3, 0.03], (30, 1)), 0.03)
    for row, found in zip(counts, losses, strict=True):
        u, v = np.repeat(x, row), np.repeat(y, row)
        line = least_squares(lambda w, u=u, v=v: w[0] - w[1] * u - v, [-1, 0.3], loss="huber", f_scale=0.03)
        assert found <= line.cost * (1 + 1e-6)
    assert 0.1 < (values[:, 2] == 0).mean() < 0.9


def test_one_failed_training_moves_the_law_little():
    points = trainings(USUAL, noise=0.01, seed=4)
    spoiled = [*points[:-1], (*points[-1][:2], 0.9)]
    clean, robust = fit_law(points, resamples=3), fit_law(spoiled, resamples=3)
    assert robust.predict(6e7).value == pytest.approx(clean.predict(6e7).value, rel=0.03)
    # Least squares on the same data would be pulled up by a third of log(0.9 / 0.135) at the largest size.
    assert np.exp(np.log(0.9 / USUAL(6e7)) / 3) > 1.5


def test_intervals_cover_the_law():
    inside = np.zeros(4)
    for case in range(40):
        law = fit_law(trainings(USUAL, noise=0.02, seed=100 + case), resamples=100)
        b, c = law.intervals["b"], law.intervals["c"]
        near, far = law.predict(3e6), law.predict(1.2e8)
        assert near.low < near.value < near.high
        inside += [
            near.low <= USUAL(3e6) <= near.high,
            far.low <= USUAL(1.2e8) <= far.high,
            b[0] <= 0.3 <= b[1],
            c[0] <= 0.08 <= c[1],
        ]
    assert (inside / 40 >= 0.85).all()


def test_intervals_widen_beyond_the_trained_sizes_and_end_at_four_times_the_largest():
    law = fit_law(trainings(USUAL, noise=0.02), resamples=60)
    assert law.supported_to == pytest.approx(2.4e8)
    widths = [p.high - p.low for p in map(law.predict, (6e7, 2.4e8 * 0.999, 1e10))]
    assert widths == sorted(widths)
    assert [law.predict(macs).supported for macs in (1e6, 6e7, 2.3e8, 2.5e8)] == [True, True, True, False]
    assert "not supported by evidence beyond 2.4e+08" in law.statement()
    assert "21 trainings of 7 sizes, 1e+06 to 6e+07 MACs" in law.statement()


def test_a_floor_that_the_sizes_do_not_reach_is_called_not_identified():
    # Over so gentle a fall a floor of half the error and none at all fit the noise alike.
    vague = fit_law(trainings(curve(0.9, 0.05, 0.1), noise=0.03, seed=1), resamples=60)
    assert vague.intervals["c"][0] == 0
    assert vague.intervals["c"][1] > vague.smallest_error / 2
    assert not vague.c_identified
    assert "the floor c is not identified" in vague.statement()
    sharp = fit_law(trainings(curve(40, 0.4, 0.08), np.geomspace(1e6, 3e9, 9), 0.01), resamples=60)
    assert sharp.c_identified
    assert "not identified" not in sharp.statement()
    assert sharp.intervals["c"][0] < 0.08 < sharp.intervals["c"][1]


def test_without_a_floor_the_interval_of_c_holds_0():
    law = fit_law(trainings(curve(400, 0.5, 0.0), np.geomspace(1e6, 1e9, 8), 0.02, seed=1), resamples=60)
    assert law.intervals["c"][0] == 0
    assert law.c_identified  # it is known to be small


@pytest.mark.parametrize("case", range(12))
def test_odd_data_are_fitted_without_a_warning(case):
    rng = np.random.default_rng(case)
    shapes = [
        lambda m: 0.1,
        lambda m: 1e-9 * m,
        lambda m: 0.9 if m < 2e6 else 0.1,
        lambda m: rng.uniform(1e-4, 1),
    ]
    points = trainings(shapes[case % 4], noise=[0.0, 0.05, 2.0][case % 3], seed=case)
    law = fit_law(points, resamples=100)
    assert np.isfinite(law.samples).all()
    assert (law.samples >= 0).all()
    found = law.predict(6e7)
    assert found.low <= found.high


def test_an_error_that_rises_with_size_is_not_made_to_fall():
    law = fit_law(trainings(lambda macs: 0.01 * macs**0.1), resamples=3)
    assert law.predict(6e7).value == pytest.approx(law.predict(1e6).value, rel=0.01)


def test_held_out_size_is_predicted_from_the_others():
    points = trainings(USUAL, noise=0.005, seed=5)
    last = [error for macs, _, error in points if macs == SIZES[-1]]
    found = hold_out(points, resamples=60)
    assert found.size == SIZES[-1]
    assert found.actual == pytest.approx(np.mean(last))
    assert found.error == pytest.approx(found.predicted - found.actual)
    assert found.low <= USUAL(SIZES[-1]) <= found.high
    assert found.supported
    # What was trained there has no say in the prediction.
    worse = [(m, s, e * 1.5 if m == SIZES[-1] else e) for m, s, e in points]
    other = hold_out(worse, resamples=60)
    assert other.predicted == found.predicted
    assert other.error == pytest.approx(found.predicted - 1.5 * found.actual)
    assert other.error < 0 < other.actual - other.high


def test_a_wrong_law_fails_the_hold_out():
    # A line in log C instead of a power: predicted from the smaller sizes it lies far too low.
    def line(points):
        x, y = (np.array(v) for v in zip(*[(np.log(m), e) for m, _, e in points], strict=True))
        return np.polynomial.Polynomial.fit(x, y, 1)

    points = trainings(curve(40, 0.4, 0.08), np.geomspace(1e6, 3e8, 8), 0.01)
    found = hold_out(points, resamples=60)
    assert abs(found.error) < 0.01
    rest = [p for p in points if p[0] != found.size]
    assert line(rest)(np.log(found.size)) - found.actual < -0.02


def test_a_gap_of_more_than_four_times_is_flagged():
    found = hold_out(trainings(USUAL, [1e6, 2e6, 4e6, 8e6, 1.6e7, 3e7, 1.3e8]), resamples=3)
    assert not found.supported


@pytest.mark.parametrize(
    ("points", "rule"),
    [
        (trainings(USUAL, np.geomspace(1e6, 1e8, 5)), "at least 6 sizes, got 5"),
        (trainings(USUAL, np.geomspace(1e6, 3e7, 8)), "at least 1.5 decades, got 1.48"),
        (trainings(USUAL, seeds=2), "at least 3 seeds of each size, got 2"),
        (trainings(USUAL)[:-1], "got 2 of size 6"),
        ([], "at least 6 sizes, got 0"),
    ],
)
def test_too_little_evidence_is_refused_by_rule_and_value(points, rule):
    for fit in (fit_law, hold_out):
        with pytest.raises(InsufficientEvidence, match=rule):
            fit(points, resamples=3)


@pytest.mark.parametrize(
    ("point", "rule"),
    [((1e6, 9, 0.0), "above 0"), ((-1.0, 0, 0.5), "above 0"), ((1e6, 0, 0.5), "seed 0 is given twice")],
)
def test_impossible_points_are_refused(point, rule):
    with pytest.raises(InputError, match=rule):
        fit_law([*trainings(USUAL), point])
    with pytest.raises(InputError, match="above 0"):
        fit_law(trainings(USUAL), resamples=3).predict(0)
