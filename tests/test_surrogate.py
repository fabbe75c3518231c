"""The model of the search: features of networks, and choices that repeat and that find low losses."""

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from scalesearch.architecture.budget import UnfitError
from scalesearch.architecture.document import from_document
from scalesearch.architecture.domains import random_values
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.documents import load_space
from scalesearch.search.features import FEATURES, feature_matrix, features
from scalesearch.search.surrogate import (
    ACQUISITIONS,
    MODELS,
    ROWS,
    Surrogate,
    _found,
    _milestone,
    standardised,
    telling,
)

BLOCK = {"operator": "mbconv", "stride": 1, "kernel": 3, "expand": 2, "se": 0.0}
KNOWN = {
    "name": "known",
    "resolution": 16,
    "classes": 10,
    "stem": {"channels": 8, "stride": 1, "act": "relu"},
    "stages": [
        BLOCK | {"channels": 8, "repeats": 3},
        BLOCK | {"operator": "depthwise_separable", "channels": 32, "repeats": 1, "stride": 2, "kernel": 5},
    ],
    "head": {"channels": 64},
}
for option in ("expand", "se"):
    del KNOWN["stages"][1][option]
NAMES = sorted(f"{model} {acquisition}" for model in MODELS for acquisition in ACQUISITIONS)


def named(network):
    return dict(zip(FEATURES, features(network).tolist(), strict=True))


def proxies(count, seed):
    rng, policy, space = np.random.default_rng(seed), ProxyPolicy(), load_space("mixed")
    found = []
    while len(found) < count:
        candidate = space.draw(random_values(rng))
        with suppress(UnfitError):  # a shape that is too dear even at its narrowest
            found.append(candidate.proxy(policy, policy.flops, 10, 32).network)
    return found


def test_features_of_a_small_network_are_those_counted_by_hand():
    found, cost = named(from_document(KNOWN)), from_document(KNOWN).cost()
    expected = {
        "params": math.log2(cost.params),
        "depth": 2,
        "resolution": 4,
        "stages": 1,
        "stem_width": 3,
        "last_width": 5,
        "head_width": 6,
        "last_side": 3,
        "mean_side": (3 * 4 + 3) / 4,
        "mean_width": (3 * 3 + 5) / 4,
        "narrowest": 3,
        "widening": 2,
        "kernel": (3 * 3 + 5) / 4,
        "expand": 3 / 4,
        "se": 0,
        "shortcuts": 3 / 4,
        "blocks_mbconv": 3 / 4,
        "blocks_depthwise_separable": 1 / 4,
        "act_relu": 1,
        "act_silu": 0,
        **{f"width_{n}": width for n, width in enumerate((3, 3, 3, 5))},
        **{f"side_{n}": side for n, side in enumerate((4, 4, 4, 3))},
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_shares_of_flops_and_of_blocks_are_shares_of_the_whole():
    for network in proxies(6, 0):
        found = named(network)
        ends = found["stem_flops"] + found["head_flops"]
        assert ends + sum(v for k, v in found.items() if k in _prefixed("flops_", _operators())) == approx(1)
        assert ends + sum(found[f"flops_{n}"] for n in range(4)) == approx(1)
        assert sum(found[f"blocks_{name}"] for name in _operators()) == approx(1)


def approx(value):
    return pytest.approx(value, rel=1e-9)


def _operators():
    return [name.removeprefix("blocks_") for name in FEATURES if name.startswith("blocks_")]


def _prefixed(prefix, names):
    return {prefix + name for name in names}


def test_features_are_finite_and_none_but_those_of_a_missing_operator_is_constant():
    table = feature_matrix(proxies(24, 1))
    assert table.shape == (24, len(FEATURES))
    assert np.isfinite(table).all()
    constant = {name for name, column in zip(FEATURES, table.T, strict=True) if np.ptp(column) == 0}
    assert constant == {"flops_mobilenet_v3", "blocks_mobilenet_v3"}  # `mixed` does not offer it


def test_the_name_of_a_network_plays_no_part_and_every_part_of_it_does():
    network = from_document(KNOWN)
    assert np.array_equal(features(network), features(replace(network, name="another")))
    first, second = network.stages
    others = [
        replace(network, resolution=24),
        replace(network, stem=replace(network.stem, act="silu")),
        replace(network, stages=(replace(first, repeats=2), second)),
        replace(network, stages=(first, replace(second, channels=40))),
        replace(network, head=replace(network.head, channels=None)),
    ]
    assert all(not np.array_equal(features(network), features(other)) for other in others)


def landscape(seed, n=120, k=8):
    """Return features, and losses that rise with the first three of them, with a little chance."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k)) * rng.uniform(0.1, 100, size=k)
    slope = (x / x.std(axis=0))[:, :3].sum(axis=1)
    return x, np.exp(0.1 * slope + 0.02 * rng.normal(size=n))


def search(surrogate, x, losses, trainings, seed):
    """Return the rows that a surrogate trains one after another."""
    rng, left, trained = np.random.default_rng(seed), list(range(len(x))), []
    for _ in range(trainings):
        trained.append(left.pop(surrogate.choose(x[left], x[trained], losses[trained], x[:0], rng)))
    return trained


@pytest.mark.parametrize("name", NAMES)
def test_every_model_finds_lower_losses_than_random_draws_where_features_decide_them(name):
    model, acquisition = name.split()
    ahead = []
    for seed in range(2):
        x, losses = landscape(seed)
        trained = search(Surrogate(6, model, acquisition), x, losses, 14, seed)
        ahead.append(losses.mean() - losses[trained[6:]].mean())
        # Of 120 the best eighth: random draws reach it with a chance of 1 - (7 / 8) ** 14 = 0.85 at best.
        assert losses[trained].min() <= np.quantile(losses, 1 / 8)
    # The deviation of the mean of 8 random draws is 0.35 of that of one.
    assert np.mean(ahead) > 0.7 * losses.std()


@pytest.mark.parametrize("model", sorted(MODELS))
def test_choices_repeat_exactly_and_depend_on_the_source_of_chance(model):
    x, losses = landscape(3)
    arguments = x[40:], x[:40], losses[:40], x[:0]

    def chosen(seed):
        return Surrogate(model=model, acquisition="thompson").choose(*arguments, np.random.default_rng(seed))

    assert [chosen(seed) for seed in range(6)] == [chosen(seed) for seed in range(6)]
    assert len({chosen(seed) for seed in range(12)}) > 1


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_units_of_a_feature_do_not_matter(model):
    x, losses = landscape(4)
    factors, shifts = np.full(8, 1.0), np.zeros(8)
    factors[2], shifts[5] = 1024, 512

    def chosen(table):
        surrogate, rng = Surrogate(model=model, acquisition="improvement"), np.random.default_rng(0)
        return surrogate.choose(table[40:], table[:40], losses[:40], table[:0], rng)

    assert chosen(x) == chosen(x * factors + shifts)


def test_the_first_choices_are_random_and_every_candidate_may_be_among_them():
    x, losses = landscape(5, n=12)
    surrogate = Surrogate(startup=5)
    chosen = {
        surrogate.choose(x[:6], x[6:10], losses[6:10], x[:0], np.random.default_rng(seed))
        for seed in range(100)
    }
    assert chosen == set(range(6))


@pytest.mark.parametrize("model", sorted(MODELS))
def test_failed_trainings_count_as_the_worst(model):
    x, losses = landscape(6)
    worst = losses.copy()
    failed = losses > np.quantile(losses, 0.8)
    worst[failed] = losses[~failed].max()
    broken = np.where(failed, np.where(np.arange(len(x)) % 2, np.nan, np.inf), losses)

    def chosen(known):
        surrogate = Surrogate(model=model, acquisition="bound")
        return surrogate.choose(x[60:], x[:60], known[:60], x[:0], np.random.default_rng(0))

    assert chosen(broken) == chosen(worst)
    assert standardised(broken) == pytest.approx(standardised(worst))


@pytest.mark.parametrize("losses", [[math.nan] * 12, [1.0] * 12, [1.0] * 11 + [math.inf]])
def test_losses_that_order_nothing_leave_a_random_choice(losses):
    x, _ = landscape(7, n=24)
    chosen = {
        Surrogate().choose(x[12:], x[:12], np.array(losses), x[:0], np.random.default_rng(seed))
        for seed in range(40)
    }
    assert len(chosen) > 6


def test_a_network_under_way_turns_the_model_to_other_ones():
    """Two equal groups of unknown candidates: with one of them under way, the other tells more."""
    known = np.linspace(-1, 1, 12)[:, None] * [1.0, 0.0]
    losses = np.exp(0.01 * np.arange(12) % 3)
    pool = np.array([[0.0, 6.0], [0.0, 6.1], [0.0, -6.0]])

    def chosen(pending):
        surrogate = Surrogate(model="gp", acquisition="bound")
        return surrogate.choose(
            pool, known, losses, np.array(pending).reshape(-1, 2), np.random.default_rng(0)
        )

    assert chosen([[0.0, -6.0], [0.0, -6.1]]) in (0, 1)
    assert chosen([[0.0, 6.0], [0.0, 6.1]]) == 2


def test_of_many_results_the_best_ones_and_an_even_share_of_the_others_tell():
    losses = np.random.default_rng(0).permutation(1000).astype(float)
    losses[losses > 900] = math.inf
    rows = telling(losses)
    assert len(set(rows)) == ROWS
    assert rows.tolist() == sorted(rows)
    kept = losses[rows]
    assert set(range(ROWS // 2)) <= set(kept[np.isfinite(kept)])
    others = np.sort(kept[np.isfinite(kept)])[ROWS // 2 :]
    assert np.diff(others).max() <= 1000 / (ROWS - ROWS // 2)
    assert np.isinf(kept).any()
    assert telling(losses[:ROWS]).tolist() == list(range(ROWS))


@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_choice_after_many_results_asks_for_few_of_them_and_takes_a_good_one(model):
    x, losses = landscape(8, n=1300)
    asked = []

    class Table:
        def __getitem__(self, rows):
            asked.extend(rows)
            return x[100:][rows]

    rng = np.random.default_rng(0)
    chosen = Surrogate(model=model).choose(x[:100], Table(), losses[100:], x[:0], rng)
    assert len(set(asked)) <= 2 * ROWS
    assert losses[chosen] <= np.quantile(losses[:100], 0.1)


def test_what_was_chosen_before_in_a_process_changes_no_choice():
    """A model's parameters are sought now and then: a run that is resumed must find the same ones."""
    x, losses = landscape(9)

    def chosen(counts):
        surrogate = Surrogate(acquisition="improvement")
        return [surrogate.choose(x[80:], x[:n], losses[:n], x[:0], np.random.default_rng(n)) for n in counts]

    whole = chosen(range(30, 60))
    _found.cache_clear()
    assert chosen(range(47, 60)) == whole[17:]
    sought = {_milestone(n) for n in range(2, 1000)}
    assert {2, 3, 19, 20, 22, 24} <= sought
    assert len(sought) < 65


@pytest.mark.parametrize(
    "wrong",
    [{"model": "oracle"}, {"acquisition": "greed"}, {"startup": -1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_unknown_parts_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Surrogate(**wrong)


def test_an_empty_pool_is_refused():
    with pytest.raises(ValueError, match="at least one candidate"):
        Surrogate().choose(
            np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), np.random.default_rng()
        )
