"""The calibration, the plan that is made from it, and `bench`: figures with known answers, then real ones."""

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from factories import trial
from formula import make
from test_command import call
from test_search import definition

from scalesearch import documents
from scalesearch.architecture.layers import Cost
from scalesearch.cli.options import workers_asked
from scalesearch.cli.plan import Plan, is_short, make_plan, predict_trial, predictor, settings_of, staff
from scalesearch.cli.words import duration_text
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.report import plan_of
from scalesearch.search.store import RunStore
from scalesearch.search.study import Limits
from scalesearch.training import calibration
from scalesearch.training.calibration import Cache, Calibrated, Setting, SpeedModel, fit_speed, pack
from scalesearch.training.crew import Crew
from scalesearch.training.process import usable_cores
from scalesearch.training.recipe import Phase, Recipe
from scalesearch.training.throughput import engine_rate, outside_share

MODEL = SpeedModel(1e-5, 2e-9, 3e-11, 4e-9, closing=0.25, error=0.1)
CPU = calibration.machine("cpu")
NETWORK = calibration.NETWORKS[1]


def calibrated(images_per_second=100.0, model=MODEL, peak_memory=10**9):
    return Calibrated(images_per_second, peak_memory, model, 0.0)


def fail_to_measure(*_arguments, **_options):
    raise AssertionError("nothing was to be measured")


# The model


def test_the_fit_recovers_a_planted_model():
    rng = np.random.default_rng(0)
    costs = [Cost(int(f), int(p), int(a)) for f, p, a in rng.uniform(1e4, 1e7, (8, 3))]
    found = fit_speed(costs, [MODEL.image(cost, 64) for cost in costs], 64)
    for name in ("per_image", "per_activation", "per_flop", "per_param"):
        assert getattr(found, name) == pytest.approx(getattr(MODEL, name), rel=1e-6)
    assert found.error < 1e-9


def test_the_fit_has_no_negative_part_and_states_its_error():
    rng = np.random.default_rng(1)
    costs = [Cost(int(f), int(p), int(a)) for f, p, a in rng.uniform(1e5, 1e7, (12, 3))]
    noisy = [MODEL.image(cost, 64) * rng.uniform(0.8, 1.25) for cost in costs]
    found = fit_speed(costs, noisy, 64)
    assert min(found.per_image, found.per_activation, found.per_flop, found.per_param) >= 0
    errors = sorted(abs(s / found.image(c, 64) - 1) for c, s in zip(costs, noisy, strict=True))
    assert found.error == pytest.approx((errors[5] + errors[6]) / 2)
    assert found.error > 0.02


def test_a_training_is_its_images_by_phase_and_its_closing():
    recipe = Recipe(phases=(Phase(0.25, 0.5), Phase(0.75, 1.0)), norm_batches=2)
    small = MODEL.image(replace(NETWORK, resolution=10).cost(), 64)
    full = MODEL.image(NETWORK.cost(), 64)
    expected = 1000 * (0.25 * small + 0.75 * full) + 0.25 * (300 + 2 * 64) * full
    assert MODEL.training(NETWORK, recipe, 1000, 300) == pytest.approx(expected)


# The cache


def test_the_cache_gives_back_what_was_written_for_this_machine_alone(tmp_path):
    said = []
    cache = Cache(said.append, tmp_path / "new")
    other = CPU | {"cores": 999}
    assert cache.read(CPU) == {}
    cache.write(CPU, {Setting(2, 1): calibrated(), Setting(1, 2): calibrated(50.0)})
    cache.write(other, {Setting(999): calibrated(7.0)})
    cache.write(CPU, {Setting(2, 1): calibrated(120.0)})
    assert Cache(said.append, tmp_path / "new").read(CPU) == {
        Setting(2, 1): calibrated(120.0),
        Setting(1, 2): calibrated(50.0),
    }
    assert cache.read(other) == {Setting(999): calibrated(7.0)}
    assert cache.read(CPU | {"torch": "0"}) == {}
    assert not said


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"machines": [{}]}', '{"machines": [{"machine": {}, "settings": {"2x1": {}}}]}']
)
def test_a_damaged_cache_is_said_in_one_line_and_measured_anew(tmp_path, monkeypatch, text):
    said, cores = [], usable_cores()
    (tmp_path / calibration.FILE).write_text(text)
    fresh = {setting: calibrated() for setting in calibration.settings_to_compare("cpu", cores)}
    monkeypatch.setattr(calibration, "measure", lambda _device, settings: {s: fresh[s] for s in settings})
    staff(0, "cpu", short=False, say=said.append, cache=tmp_path)
    assert sum("is damaged (" in line for line in said) == 1
    monkeypatch.setattr(calibration, "measure", fail_to_measure)
    said.clear()
    staff(0, "cpu", short=False, say=said.append, cache=tmp_path)
    assert len(said) == 1
    assert "calibration: " in said[0]


def test_processes_that_calibrate_at_once_lose_nothing_of_each_other(tmp_path):
    def keep(number):
        for cores in range(5):
            Cache(print, tmp_path).write(CPU | {"cores": 10 * number + cores}, {Setting(1): calibrated()})
            Cache(print, tmp_path).write(CPU, {Setting(1, 10 * number + cores + 1): calibrated()})

    with ThreadPoolExecutor(4) as pool:  # each opens the lock anew, as another process does
        list(pool.map(keep, range(4)))
    assert len(Cache(print, tmp_path).read(CPU)) == 20
    assert all(Cache(print, tmp_path).read(CPU | {"cores": 10 * n + c}) for n in range(4) for c in range(5))


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    said = []
    (tmp_path / "file").write_text("")
    Cache(said.append, tmp_path / "file").write(CPU, {Setting(1): calibrated()})
    assert len(said) == 1
    assert "cannot be kept" in said[0]


# Who works


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("cores", [1, 2, 3, 16, 192])
def test_workers_never_take_more_than_the_cores(device, cores):
    for workers in {0, 1, 2, cores // 2, cores - 1, cores} - {-1}:
        if workers <= cores:
            settings = settings_of(workers, device, cores)
            assert settings
            assert all(1 <= s.workers * s.threads <= cores for s in settings)
            assert all(workers in (0, s.workers) for s in settings)
    with pytest.raises(InputError, match=f"at most {cores} run at once here, but got {cores + 1}"):
        settings_of(cores + 1, device, cores)


def test_a_container_s_share_of_processor_time_bounds_the_cores(tmp_path):
    everything = usable_cores(tmp_path)
    assert everything == usable_cores(tmp_path / "none") >= 1
    for text, cores in (("max 100000", everything), ("150000 100000", 1), ("20000 100000", 1)):
        (tmp_path / "cpu.max").write_text(text)
        assert usable_cores(tmp_path) == cores
    old = tmp_path / "old"
    (old / "cpu").mkdir(parents=True)
    for quota, cores in ((-1, everything), (100000, 1)):
        (old / "cpu/cpu.cfs_quota_us").write_text(f"{quota}\n")
        (old / "cpu/cpu.cfs_period_us").write_text("100000\n")
        assert usable_cores(old) == cores


def test_the_faster_setting_is_chosen_and_a_number_is_obeyed(tmp_path, monkeypatch):
    cores = usable_cores()
    settings = calibration.settings_to_compare("cpu", cores)
    key = calibration.machine("cpu")
    monkeypatch.setattr(calibration, "measure", fail_to_measure)
    for faster in settings:
        figures = {s: calibrated(200.0 if s == faster else 100.0) for s in settings}
        Cache(print, tmp_path).write(key, figures)
        assert staff(0, "cpu", short=False, say=print, cache=tmp_path).setting == faster
        assert staff(1, "cpu", short=False, say=print, cache=tmp_path).setting == Setting(1, cores)


def test_a_short_run_does_not_wait_for_a_calibration(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "measure", fail_to_measure)
    said = []
    found = staff(0, "cpu", short=True, say=said.append, cache=tmp_path)
    assert (found.setting, found.model) == (Setting(usable_cores(), 1), None)
    assert len(said) == 1
    assert is_short(Limits(time=59), 20_000)
    assert is_short(Limits(trials=2), 20_000)
    assert not is_short(Limits(time=60), 20_000)
    assert not is_short(Limits(trials=3), 20_000)


GIB = 2**30
RATES = {1: 1000.0, 2: 1800.0, 4: 2600.0}


@pytest.mark.parametrize(
    ("rates", "peak", "free", "expected"),
    [
        (RATES, 1 * GIB, 80 * GIB, 4),
        (RATES, 8 * GIB, 24 * GIB, 2),  # 4 x (1.25 x 8 + 0.6) GiB do not fit
        (RATES, 60 * GIB, 80 * GIB, 1),
        (RATES, 200 * GIB, 80 * GIB, 1),  # not even one: the training itself says so
        ({1: 1000.0, 2: 1040.0, 4: 2600.0}, GIB, 80 * GIB, 1),  # no gain at the first step
        ({1: 1000.0, 2: 1800.0, 4: 1810.0}, GIB, 80 * GIB, 2),
        ({1: 1000.0}, GIB, 80 * GIB, 1),
    ],
)
def test_a_gpu_takes_as_many_processes_as_gain_and_fit(rates, peak, free, expected):
    assert pack(rates, peak, free) == expected
    found = {Setting(n): calibrated(rate, peak_memory=peak) for n, rate in rates.items()}
    assert calibration.choose("cuda", found, free_memory=free) == Setting(expected)


def test_the_largest_training_so_far_counts_for_packing():
    found = {Setting(n): calibrated(rate, peak_memory=GIB) for n, rate in RATES.items()}
    assert calibration.choose("cuda", found, peak_memory=8 * GIB, free_memory=24 * GIB) == Setting(2)


@pytest.mark.parametrize(("text", "number"), [("auto", 0), ("0", 0), ("3", 3)])
def test_workers_are_auto_or_a_number(text, number):
    assert workers_asked(text) == number


@pytest.mark.parametrize("text", ["-1", "two", "1.5", ""])
def test_other_workers_are_refused(text):
    with pytest.raises(InputError, match="--workers is auto or a whole number"):
        workers_asked(text)


# The plan


def test_the_plan_s_numbers_agree_with_each_other():
    plan = Plan(typical=20.0, low=15.0, high=30.0, final=25.0, finals=6, share=0.12, workers=2)
    assert plan.trials_in(480) == 2 * math.floor(480 * 0.88 / 20) == 42
    assert plan.trials_in(1) == 2  # those that begin at once
    assert plan.seconds_for(42) == 21 * 20 + 3 * 25
    assert plan.text(Limits(time=480), 0) == (
        "predicted: a training takes about 20 s (15 s to 30 s), so 8 min on 2 workers give about 42 trials"
    )
    assert "so 40 trials and 6 re-trainings of the best on 2 workers take about 8 min" in plan.text(
        Limits(trials=42), done=2
    )
    assert "longer than the 10 s given" in plan.text(Limits(time=10), 0)
    with_rungs = replace(plan, load=2.0)  # a third goes on to trainings three times as long
    assert with_rungs.trials_in(480) == 2 * math.floor(480 * 0.88 / 40)
    assert with_rungs.seconds_for(42) == 21 * 40 + 3 * 25


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (21.4, "21 s"), (480, "8 min"), (6000, "1 h 40 min"), (7200, "2 h")],
)
def test_durations_read_well(seconds, text):
    assert duration_text(seconds) == text


def test_the_plan_lies_between_the_cheapest_and_the_dearest_level():
    study = definition()
    predict = predictor(MODEL, study, Recipe(), 5000)
    plan = make_plan(study, predict, workers=2, error=0.0)
    again = make_plan(study, predict, workers=2, error=0.0)
    assert plan == again
    assert plan.low < plan.typical < plan.final < 1.5 * plan.high
    assert (plan.finals, plan.workers) == (4, 2)
    wider = make_plan(study, predict, workers=2, error=0.1)
    assert (wider.low, wider.high) == pytest.approx((0.9 * plan.low, 1.1 * plan.high))


def test_every_training_is_recorded_with_its_prediction(tmp_path):
    study = definition()
    predict = predict_trial(predictor(MODEL, study, Recipe(), 5000))
    with RunStore(tmp_path) as store, LocalEngine(2, make(pause=0.02)) as engine:
        Driver(study, store, engine, predict=predict).run(Limits(trials=4))
        trials = store.finished
    assert {t.role for t in trials} == {"search", "final"}
    assert all(t.predicted_seconds == predict(t) for t in trials if t.repeats is None)
    plan = plan_of(trials)
    ratios = [t.outcome.seconds / t.predicted_seconds for t in trials if t.repeats is None]
    assert plan["ratio"] == pytest.approx(np.median(ratios))
    assert plan["trainings"] == len(ratios)
    assert plan["ratio_quartiles"][0] <= plan["ratio"] <= plan["ratio_quartiles"][1]


def test_trainings_without_a_prediction_give_no_ratio():
    assert plan_of([trial(0, seconds=3.0)]) is None
    known = replace(trial(1, seconds=3.0), predicted_seconds=2.0)
    assert plan_of([trial(0, seconds=9.0), known])["ratio"] == 1.5


# Real trainings


def test_real_trainings_give_a_model_that_agrees_with_the_engine(tmp_path):
    """Bounds are wide: other processes share the machine. What is checked is the order of magnitude."""
    setting = Setting(1, 1)
    found = calibration.measure("cpu", [setting], seconds=0.1)[setting]
    assert 0 <= found.model.error < 1
    assert 0.02 < found.model.closing < 3
    with Crew(1, 1) as crew:
        [rate] = crew.all(engine_rate, NETWORK, seconds=0.2)
        [share] = crew.all(outside_share, NETWORK, seconds=0.2)
        with pytest.raises(RuntimeError, match="ValueError: the share of time"):
            crew.all(outside_share, NETWORK, device="cuda")
        [threads] = crew.all(_threads)
    assert 0.1 < rate * found.model.image(NETWORK.cost(), 64) < 10
    assert 0 < share < 0.8
    assert threads == 1


def _threads():
    import torch

    return torch.get_num_threads()


def test_a_measuring_process_that_dies_is_an_error():
    with Crew(1, 1) as crew, pytest.raises(RuntimeError, match="ended with exit code 3"):
        crew.all(os._exit, 3)


@pytest.fixture(scope="module")
def known_machine(tmp_path_factory):
    """A cache folder with a calibration of this machine."""
    folder = tmp_path_factory.mktemp("cache")
    settings = calibration.settings_to_compare("cpu", usable_cores())
    figures = {s: calibrated(100.0 * s.workers) for s in settings}
    Cache(print, folder).write(CPU, figures)
    return folder


@pytest.mark.slow
def test_run_prints_the_plan_and_records_how_it_came_out(tmp_path, known_machine):
    study = tmp_path / "small.yaml"
    study.write_text("name: small\nrungs: [300]\nfinals: {candidates: 1, seeds: 1}\n")
    arguments = [
        "run",
        "--export",
        "network",
        "--budget-flops",
        "2e9",
        "--study",
        study,
        "--data",
        "digits",
        "--trials",
        "2",
    ]
    code, out, err = call(*arguments, "--json", cwd=tmp_path, SCALESEARCH_CACHE=str(known_machine))
    assert code == 0, err
    told = " ".join(err.split())
    assert "calibration: " in told
    assert "predicted: a training takes about" in told
    assert "2 trials and 1 re-training of the best on" in told
    plan = json.loads(out)["plan"]
    assert plan["trainings"] == 3
    low, high = plan["ratio_quartiles"]
    assert 0 < low <= plan["ratio"] <= high
    assert plan["actual_seconds_per_trial"] > 0
    assert f"trainings took {plan['ratio']:.2f} times the predicted seconds (median of 3" in told


@pytest.mark.long
def test_bench_measures_both_loops_within_its_budget(tmp_path, known_machine):
    code, out, err = call(
        "bench", "--budget", "15s", "--json", cwd=tmp_path, SCALESEARCH_CACHE=str(known_machine)
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["machine"] == CPU
    assert found["data"] == "synthetic"
    assert found["workers"] * found["threads"] <= usable_cores()
    assert set(found["calibration"]) == {
        str(s) for s in calibration.settings_to_compare("cpu", usable_cores())
    }
    names = [row["name"] for row in found["networks"]] + found["left_out"]
    assert names == ["efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0", "fused_mbconv"]
    assert found["images"] == {
        "default_study": documents.load_study("default").rungs[0],
        "eight_epochs": 360_000,
    }
    for row in found["networks"]:
        for loop in ("engine", "naive", "ratio"):
            assert 0 < row[loop]["low"] <= row[loop]["median"] <= row[loop]["high"]
            assert row[loop]["n"] >= 1
        assert 0 < row["outside_share"]["median"] < 1
        hours = row["trainings_per_hour"]
        assert hours["engine"]["default_study"] > hours["engine"]["eight_epochs"] > 0
        # No more than its images allow, if the smaller sides of the recipe were free.
        assert hours["naive"]["eight_epochs"] < 3600 * row["naive"]["median"] / 360_000
