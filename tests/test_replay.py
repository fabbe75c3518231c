"""The replay of searches on a table of trainings: pools, races, regrets, and a table with a known answer."""

import json
from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import replay
import replay_methods
import search
import search_figures

from scalesearch.architecture.document import to_document
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.documents import space_from
from scalesearch.errors import InputError
from scalesearch.search.comparison import expected_best
from scalesearch.search.features import FEATURES, feature_matrix, features
from scalesearch.search.surrogate import MODELS, Surrogate

SHORT, LONG = 100, 300
ROW = {
    "operator": {"choice": ["mbconv", "shufflenet_v2"]},
    "channels": {"range": [16, 64], "step": 8},
    "repeats": {"range": [0, 3]},
    "stride": 2,
    "kernel": {"choice": [3, 5]},
    "expand": {"range": [1.0, 6.0], "log": True},
}
SPACE = space_from(
    {
        "name": "small",
        "resolution": 32,
        "stem": {"channels": 16, "act": {"choice": ["relu", "silu"]}},
        "stages": [ROW | {"repeats": {"range": [1, 4]}}, ROW],
        "head": {"channels": {"choice": [None, 64]}},
        "coefficients": {"growth": 2, "depth": {"range": [0.0, 1.0]}, "width": {"range": [0.0, 1.0]}},
    },
    "small",
)
FITTING = replay_methods.Fitting(SPACE, ProxyPolicy(flops=1e6), classes=10, side=32)
BUDGET = 1.5e6  # of plain Optuna: about half of the bases are over it


@cache
def drawn(count, seed=0):
    """Return the proxies of `count` random candidates with their values."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        values, suggest = {}, random_values(rng)

        def noted(name, domain, values=values, suggest=suggest):
            values[name] = suggest(name, domain)
            return values[name]

        proxy = SPACE.draw(noted).proxy(FITTING.policy, FITTING.policy.flops, 10, 32)
        found.append((proxy.network, values))
    return found


def easy(params):
    """Return a loss that a few leaves decide: the least is 1 for a deep first stage with silu."""
    return 1 + 0.1 * (4 - params["stages.0.repeats"]) + 0.5 * (params["stem.act"] == "relu")


def frame_of(losses, lengths=(SHORT,), seeds=(0,), seed=0):
    """Return the table of a survey: made-up losses (length, seed, n) of random networks."""
    networks, rows = drawn(np.shape(losses)[-1], seed), []
    for images, by_seed in zip(lengths, losses, strict=True):
        for number, at in zip(seeds, by_seed, strict=True):
            for index, (loss, (network, values)) in enumerate(zip(at, networks, strict=True)):
                rows.append(
                    {
                        "name": f"network_{index}",
                        "network": json.dumps(to_document(network)),
                        "sampled": json.dumps(values),
                        "images": images,
                        "seed": number,
                        "val_loss": loss,
                        "val_accuracy": None if loss is None else 1 / (1 + loss),
                    }
                )
    return pd.DataFrame(rows)


def table_of(losses, **more):
    return replay.read_table(frame_of(losses, **more))


def whole(table, *lengths):
    """Return every network as a pool, with the outcome of its first seed."""
    loss = {n: np.array([seeds[0][0] for seeds in table.outcomes[n]]) for n in lengths}
    return replay.Pool(table.view, loss, {n: 1 / (1 + losses) for n, losses in loss.items()})


@pytest.fixture(scope="module")
def landscape():
    table = table_of([[[easy(values) for _, values in drawn(60)]]])
    return whole(table, SHORT)


@pytest.fixture(scope="module")
def makers():
    return search.makers(FITTING, replay_methods.draw_cloud(FITTING, 40, seed=9), BUDGET)


@pytest.mark.parametrize("name", search.METHODS)
def test_no_method_trains_a_network_twice_and_all_end_with_the_whole_pool(name, makers):
    pool = whole(table_of([[[easy(values) for _, values in drawn(12)]]]), SHORT)
    method = makers[name](pool.view, 3)
    steps = replay.race(method, pool.loss[SHORT], SHORT, 99)
    assert sorted(step.row for step in steps) == list(range(12))
    assert method.asks >= 12


@pytest.mark.parametrize("name", ["random", "surrogate", "tpe", "plain_optuna"])
def test_a_replay_repeats_exactly_and_another_seed_gives_another(name, makers, landscape):
    def rows(seed):
        steps = replay.race(makers[name](landscape.view, seed), landscape.loss[SHORT], SHORT, 12)
        return [step.row for step in steps]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_regret_never_rises_and_is_zero_from_the_best_network_on():
    rng = np.random.default_rng(0)
    pool = whole(table_of([[rng.uniform(1, 2, size=12)]]), SHORT)
    best = int(np.argmin(pool.loss[SHORT]))
    for seed in range(10):
        steps = replay.race(replay_methods.Random(seed), pool.loss[SHORT], SHORT, 12)
        regret, points = replay.regrets(replay.incumbents(steps, pool), pool, SHORT)
        at = [step.row for step in steps].index(best)
        assert (np.diff(regret) <= 0).all()
        assert (regret[at:] == 0).all()
        assert (regret[:at] > 0).all()
        assert (points[at:] == 0).all()  # here the lowest loss has the highest accuracy
        assert (points[:at] > 0).all()


def test_random_order_has_the_expected_regret_of_draws_without_replacement():
    losses = np.random.default_rng(1).uniform(1, 2, size=7)
    pool = whole(table_of([[losses]]), SHORT)
    runs = []
    for seed in range(1500):
        steps = replay.race(replay_methods.Random(seed), losses, SHORT, 7)
        runs.append(replay.regrets(replay.incumbents(steps, pool), pool, SHORT)[0])
    for n in range(1, 8):
        every = np.mean([min(losses[list(some)]) for some in combinations(range(7), n)]) - losses.min()
        assert expected_best(losses, n) - losses.min() == pytest.approx(every)
        error = np.std(runs, axis=0)[n - 1] / len(runs) ** 0.5
        assert abs(np.mean(runs, axis=0)[n - 1] - every) <= 4 * error + 1e-12


@pytest.mark.parametrize("name", ["surrogate", "surrogate_nearest", "tpe"])
def test_methods_that_learn_train_lower_losses_than_the_pool_has_on_average(name, makers, landscape):
    """One that took the losses for scores would train higher ones."""
    losses, learned = landscape.loss[SHORT], []
    for seed in range(3):
        steps = replay.race(makers[name](landscape.view, seed), losses, SHORT, 20)
        rows = [step.row for step in steps]
        left = np.setdiff1d(np.arange(len(losses)), rows[:10])
        learned.append(losses[left].mean() - losses[rows[10:]].mean())
    assert np.mean(learned) > 0.25 * losses.std()


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "plain_optuna"])
def test_the_best_trial_of_a_study_is_the_lowest_loss_that_was_trained(kind, makers, landscape):
    losses = landscape.loss[SHORT] + np.arange(60) / 1000
    method = makers[kind](landscape.view, 0)
    steps = replay.race(method, losses, SHORT, 6)
    study = method._study if kind == "plain_optuna" else method._proposer.study
    assert study.best_value == losses[[step.row for step in steps]].min()


def test_a_model_that_is_shown_losses_with_the_sign_turned_trains_the_worst(landscape):
    losses = landscape.loss[SHORT]

    def mean_of(shown):
        rng = np.random.default_rng(0)
        method = replay_methods.Chosen(landscape.view, Surrogate(), rng)
        steps = replay.race(method, shown, SHORT, 25)
        return losses[[step.row for step in steps[10:]]].mean()

    assert mean_of(losses) < losses.mean() < mean_of(losses.max() + 1 - losses)


def test_the_longest_training_decides_whom_a_search_holds():
    pool = whole(
        table_of([[[3.0, 1.0, 2.0, 0.5]], [[1.5, 1.9, 1.8, 1.0]]], lengths=(SHORT, LONG)), SHORT, LONG
    )
    steps = [
        replay.Step(*at) for at in ((0, SHORT), (1, SHORT), (2, SHORT), (2, LONG), (3, SHORT), (0, LONG))
    ]
    assert replay.incumbents(steps, pool) == [0, 1, 1, 2, 2, 0]
    # 300, 600 and 900 images: three short trainings, with a long one, and everything but the last.
    at = search.at_images(steps, pool, LONG, [300, 600, 899])
    assert at == pytest.approx([0.9, 0.8, 0.8])


class InOrder:
    """Trains networks in the order of the table."""

    asks = 0

    def choose(self, left):
        return int(left[0])

    def learn(self, row, loss):
        self.told = [*getattr(self, "told", []), (row, loss)]


def test_halving_trains_the_best_of_three_longer_and_tells_short_results_alone():
    short, long = [3.0, 1.0, 2.0, 5.0, 6.0, 4.0, 0.1], [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0]
    pool = whole(table_of([[short], [long]], lengths=(SHORT, LONG)), SHORT, LONG)
    method = InOrder()
    steps = replay.race_halving(method, pool, (SHORT, LONG), 3, 10_000)
    rows = [(step.row, step.images) for step in steps]
    three = [[(n, SHORT) for n in group] for group in ((0, 1, 2), (3, 4, 5), (6,))]
    assert rows == [*three[0], (1, LONG), *three[1], (5, LONG), *three[2]]
    assert method.told == list(enumerate(short))
    cut = replay.race_halving(InOrder(), pool, (SHORT, LONG), 3, 3 * SHORT + LONG)
    assert [(step.row, step.images) for step in cut] == rows[:4]


def test_a_resample_has_each_drawn_network_once_with_one_of_its_seeds():
    losses = [[np.arange(1.0, 41), np.arange(101.0, 141)]]
    table = table_of(losses, seeds=(0, 1))
    for seed in range(5):
        pool = replay.resample(table, [SHORT], np.random.default_rng(seed))
        rows = np.round((pool.loss[SHORT] - 1) % 100).astype(int)
        assert len(set(rows)) == len(rows)
        assert 15 <= len(rows) <= 35  # on average 40 * (1 - 1 / e) = 25.3
        assert [pool.view.params[i] for i in range(len(pool))] == [table.view.params[row] for row in rows]
        assert 0 < (pool.loss[SHORT] > 100).mean() < 1
        assert pool.accuracy[SHORT] == pytest.approx(1 / (1 + pool.loss[SHORT]))


def test_only_networks_with_every_length_are_in_a_pool_and_none_is_an_error():
    frame = frame_of([[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]]], lengths=(SHORT, LONG))
    partly = replay.read_table(frame[(frame["images"] == SHORT) | (frame["name"] == "network_1")])
    assert partly.having(SHORT).tolist() == [0, 1, 2]
    assert partly.having(SHORT, LONG).tolist() == [1]
    apart = frame[(frame["images"] == SHORT) == (frame["name"] == "network_1")]
    with pytest.raises(InputError, match=r"trained on 100, 300 images"):
        replay.resample(replay.read_table(apart), [SHORT, LONG], np.random.default_rng())


def test_a_failed_training_counts_as_the_worst_of_its_length():
    table = table_of([[[1.0, None, 3.0]]])
    assert table.outcomes[SHORT][1] == [(3.0, 0.25)]


def test_the_nearest_network_is_nearest_in_standardised_features_and_left():
    table = np.array([[0.0, 0.0, 7.0], [3.0, 0.0, 7.0], [0.0, 900.0, 7.0], [3.0, 900.0, 7.0]])
    nearest, every = replay_methods.Nearest(table), np.arange(4)
    assert [nearest.to(row, every) for row in table] == [0, 1, 2, 3]
    assert nearest.to(np.array([0.1, 100.0, -50.0]), every) == 0
    # Deviations are 1.5 and 450: 2.9 / 1.5 + 100 / 450 = 2.2 to row 1, 0.1 / 1.5 + 800 / 450 = 1.8 to row 2.
    assert nearest.to(np.array([0.1, 100.0, -50.0]), every[1:]) == 2
    assert nearest.to(np.array([0.1, 100.0, -50.0]), every[[1, 3]]) == 1


def test_a_proposal_finds_its_own_network_in_the_table():
    networks, values = zip(*drawn(30), strict=True)
    nearest = replay_methods.Nearest(feature_matrix(networks))
    for row, params in enumerate(values):
        candidate = SPACE.draw(lambda name, _domain, params=params: params[name])
        found = nearest.to(FITTING.features(candidate), np.arange(30))
        assert np.array_equal(features(networks[found]), features(networks[row]))


def test_a_sampler_learns_the_values_of_what_was_trained():
    values = [v for _, v in drawn(20)]
    view = replay.View(values, feature_matrix([network for network, _ in drawn(20)]))
    for name in ("tpe", "nsga2"):
        method = replay_methods.Sampled(FITTING, view, name, 0)
        steps = replay.race(method, np.arange(20.0), SHORT, 8)
        told = [t for t in method._proposer.study.trials if t.state.name == "COMPLETE"]
        assert [t.value for t in told] == [float(step.row) for step in steps]
        for trial, step in zip(told, steps, strict=True):
            assert trial.params.items() >= values[step.row].items()
            assert name == "tpe" or set(trial.params) == set(SPACE.domains())


def test_plain_optuna_pays_asks_for_proposals_over_the_budget(landscape):
    def asks(flops):
        method = replay_methods.PlainOptuna(FITTING, landscape.view, flops, 0)
        replay.race(method, landscape.loss[SHORT], SHORT, 10)
        return method.asks

    assert asks(1e12) == 10
    assert asks(BUDGET) > 12
    with pytest.raises(InputError, match="cost more than 1"):
        asks(1)


def test_the_sign_test_agrees_with_all_sign_changes():
    differences = np.array([0.5, 0.3, 0.4, -0.1, 0.2, 0.6])
    signs = np.array([[1 - 2 * (n >> bit & 1) for bit in range(6)] for n in range(64)])
    exact = (np.abs(signs @ differences) >= differences.sum() - 1e-12).mean()
    assert search_figures.sign_test(differences, 0) == pytest.approx(exact, abs=0.01)
    assert search_figures.sign_test(np.zeros(6), 0) == 1


def test_trainings_to_a_regret_are_counted_from_one():
    regret = np.array([[0.4, 0.2, 0.0], [0.4, 0.0, 0.0]])
    assert search_figures.first_at_most(regret, 0.4) == 1
    assert search_figures.first_at_most(regret, 0.15) == 2
    assert search_figures.first_at_most(regret + 1, 0.5) is None


def timeless(report):
    """Return a report without what depends on the machine."""
    if isinstance(report, dict):
        return {key: timeless(part) for key, part in report.items() if not key.startswith("milliseconds")}
    return report


def test_the_report_of_a_table_with_a_known_answer(makers, capsys):
    known = feature_matrix([network for network, _ in drawn(40)])
    depth, width = (known[:, FEATURES.index(name)] for name in ("depth", "mean_width"))
    losses = 1 + 0.1 * depth / depth.std() + 0.1 * width / width.std()
    table = table_of([[losses], [losses / 2]], lengths=(SHORT, LONG))
    plan = search.Plan(
        makers, dict.fromkeys(("random", "surrogate"), 20), {"gp": MODELS["gp"]}, seeds=6, seed=0, processes=1
    )
    report = search.reported(table, plan, eta=3)
    known = report["short"]["methods"]
    assert known["surrogate"]["mean_regret"][-1] < known["random"]["mean_regret"][-1]
    assert report["regressions"]["models"]["gp"]["spearman"] > 0.5
    spent = report["long"]["methods"]
    assert spent["random, halving"]["loss"][0]["mean"] <= spent["random, all on 300"]["loss"][0]["mean"]
    several = search.reported(table, replace(plan, processes=2), eta=3)
    assert timeless(several) == timeless(report)
    json.dumps(report, allow_nan=False)
    search_figures.print_report(report)
    assert "surrogate" in capsys.readouterr().out
