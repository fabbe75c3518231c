"""Objectives: each against its formula, its direction, and what Optuna is told and given."""

import math
from dataclasses import replace

import optuna
import pytest
from factories import BUDGET, failed, trial

from scalesearch.architecture.space import SearchSpace
from scalesearch.search.objectives import OBJECTIVES, check_objectives, directions, measured, told
from scalesearch.search.rungs import front_numbers
from scalesearch.search.storages.trials import write_optuna
from scalesearch.search.study import Study

ONE = SearchSpace("one", {"resolution": 32, "stem": {"channels": 16}, "stages": [
    {"operator": "mbconv", "channels": 16, "repeats": 1, "kernel": 3, "expand": 4}
]}, {"depth": 0.3, "width": 0.5, "growth": 2})  # fmt: skip
LEARNED = ("accuracy", "mnasnet", "efficientnet_v2")


def dearer(record, name, factor=2):
    """Return the same trial with one cost of the deployed network, or of the proxy, larger."""
    member = "proxy" if name == "training_time" else "deployed"
    cost = "activations" if name == "training_time" else name
    part = getattr(record, member)
    return replace(record, **{member: replace(part, **{cost: getattr(part, cost) * factor})})


def better(name, one, two):
    """Return whether one trial is better than another, by the objective's own direction."""
    a, b = (told([name], record, BUDGET)[0] for record in (one, two))
    return a < b if OBJECTIVES[name].direction == "minimize" else a > b


@pytest.mark.parametrize("name", ["flops", "params", "activations", "training_time"])
def test_a_dearer_network_is_worse_by_its_own_cost_alone(name):
    assert better(name, trial(), dearer(trial(), name))
    others = [n for n in ("flops", "params", "activations", "training_time") if n != name]
    assert measured(others, trial(), BUDGET) == measured(others, dearer(trial(), name), BUDGET)


@pytest.mark.parametrize("name", LEARNED)
def test_a_more_accurate_network_is_better(name):
    assert better(name, trial(accuracy=0.7), trial(accuracy=0.6))


@pytest.mark.parametrize(
    ("name", "costs"), [("mnasnet", ["flops"]), ("efficientnet_v2", ["params", "training_time"])]
)
def test_rewards_are_better_for_cheaper_networks_of_equal_accuracy(name, costs):
    for cost in costs:
        assert better(name, trial(), dearer(trial(), cost))


def test_rewards_are_those_of_their_papers():
    """The power laws written as logarithms: each doubling of a cost takes its exponent times ln 2."""
    record = replace(trial(accuracy=0.6), deployed=replace(trial().deployed, flops=int(BUDGET) // 2))
    assert math.log(measured(["mnasnet"], record, BUDGET)[0]) == pytest.approx(
        math.log(0.6) + 0.07 * math.log(2)
    )
    double = [math.log(measured(["mnasnet"], one, BUDGET)[0]) for one in (record, dearer(record, "flops"))]
    assert double[1] - double[0] == pytest.approx(-0.07 * math.log(2))
    start = math.log(measured(["efficientnet_v2"], record, BUDGET)[0])
    size, time = math.log(record.deployed.params), math.log(record.proxy.activations)
    assert start == pytest.approx(math.log(0.6) - 0.07 * time - 0.05 * size)


def test_costs_are_told_as_logarithms_and_written_in_their_units():
    record = trial()
    names = ["flops", "params", "activations", "training_time"]
    costs = [record.deployed.flops, record.deployed.params, record.deployed.activations]
    assert measured(names, record, BUDGET) == [*costs, record.proxy.activations]
    assert told(names, record, BUDGET) == pytest.approx(
        [math.log10(c) for c in measured(names, record, BUDGET)]
    )
    assert told(["accuracy"], record, BUDGET) == [record.outcome.val_loss]


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_what_is_not_finite_is_a_failure_and_never_told(loss):
    record = trial()
    odd = replace(record, outcome=replace(record.outcome, val_loss=loss))
    assert told(["flops", "accuracy"], odd, BUDGET) is None
    assert told(["flops", "accuracy"], failed(), BUDGET) is None
    assert told(["flops"], odd, BUDGET) is not None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("accuracy", "speed"), "an objective is one of accuracy, flops.*got 'speed'"),
        (("accuracy", "flops", "accuracy"), "stands once"),
        (("flops", "params"), "accuracy, mnasnet or efficientnet_v2, but got flops, params"),
        ((), "but got none"),
    ],
)
def test_wrong_objectives_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        check_objectives(names)
    with pytest.raises(ValueError, match=message):
        Study("s", objectives=names)


@pytest.mark.parametrize(
    "names",
    [("accuracy", "flops"), ("mnasnet",), ("params", "efficientnet_v2", "activations"), ("accuracy",)],
)
def test_optunas_storage_has_the_objectives_in_their_directions(tmp_path, names):
    """Optuna's own front of the written study is the one that peeling by our values gives."""
    rows = [(0.5, 1.0), (0.6, 2.0), (0.7, 3.0), (0.4, 1.5), (0.65, 3.5)]
    trials = [
        dearer(dearer(trial(n, accuracy, flops=int(1e6 * cost)), "params", cost), "activations", cost)
        for n, (accuracy, cost) in enumerate(rows)
    ]
    path = tmp_path / "optuna.journal"
    write_optuna(path, "s", ONE, [*trials, failed(5)], names, BUDGET)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert study.metric_names == [OBJECTIVES[name].name for name in names]
    assert [str(d.name).lower() for d in study.directions] == directions(names)
    assert [t.values for t in study.trials] == [*(measured(names, t, BUDGET) for t in trials), None]
    sign = [1 if d == "minimize" else -1 for d in directions(names)]
    fronts = front_numbers(
        [[s * v for s, v in zip(sign, measured(names, t, BUDGET), strict=True)] for t in trials]
    )
    assert {t.number for t in study.best_trials} == {n for n, front in enumerate(fronts) if front == 0}


def test_the_front_of_accuracy_and_flops_holds_the_accurate_and_the_cheap(tmp_path):
    """Spelled out by hand, so that a swapped direction cannot hide behind itself."""
    rows = [(0.5, 1), (0.7, 3), (0.4, 2), (0.6, 4)]
    path = tmp_path / "optuna.journal"
    write_optuna(
        path,
        "s",
        ONE,
        [trial(n, a, flops=c * 10**6) for n, (a, c) in enumerate(rows)],
        ("accuracy", "flops"),
        BUDGET,
    )
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
    assert {t.number for t in study.best_trials} == {0, 1}
