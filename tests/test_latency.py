"""Latency: measured on tiny networks, predicted by a model with known answers, kept in the cache."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import networks
from torch import nn
from typer.testing import CliRunner

from scalesearch import load
from scalesearch.architecture.latency import TERMS, LatencyModel, network_terms, segments, terms
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import scale
from scalesearch.cli import latency_session
from scalesearch.cli.latency import latency, milliseconds
from scalesearch.errors import InputError
from scalesearch.training import latency_table
from scalesearch.training.build import build
from scalesearch.training.latency import Conditions, Timing, measure, timing_of, warm_up
from scalesearch.training.latency_fit import fit_model, learn, quieter
from scalesearch.training.latency_sample import sample
from scalesearch.training.latency_table import FILE, Cache, Known, measure_parts

RATES = np.random.default_rng(0).uniform(0.5, 2, len(TERMS))
# About what a core takes: microseconds a call, and fractions of nanoseconds for the rest.
PLANTED = tuple(
    float(rate * (1e-5 if "calls" in term else 1e-10)) for rate, term in zip(RATES, TERMS, strict=True)
)
MODEL = LatencyModel(PLANTED, 1, "planted", {"threads": 1}, 0.1, 7)
TINY = Network(
    "tiny", 16, Stem(8), (Stage("mbconv", 16, 2, 2), Stage("shufflenet_v2", 32, 1, 2)), Head(32), 10
)
TIMING = Timing(0.002, 0.001, 0.003, 9)


def fail_to_measure(*_arguments, **_options):
    raise AssertionError("nothing was to be measured")


# What a network does


@settings(max_examples=30)
@given(networks())
def test_multiply_accumulates_are_those_of_the_cost_but_for_linear_layers(network):
    done = dict(zip(TERMS, network_terms(network), strict=True))
    counted = sum(value for term, value in done.items() if term.endswith(" macs") and "vector" not in term)
    cost = network.cost()
    # A linear layer, squeeze-and-excitation included, has no more multiply-accumulates than weights.
    assert counted <= cost.flops <= counted + done["weights"]
    assert done["weights"] <= cost.params


@settings(max_examples=30)
@given(networks())
def test_segments_are_the_parts_of_a_network_and_name_its_modules(network):
    named = list(segments(network))
    assert sum(terms(one.part) for one in named) == pytest.approx(network_terms(network))
    assert len(named) == network.blocks + 2
    assert named[0].part.input == network.input


@pytest.mark.parametrize("operator", OPERATORS)
def test_equal_keys_do_the_same_and_every_option_is_in_the_key(operator):
    plain = replace(TINY, stem=Stem(24), stages=(Stage(operator, 48, 2),))
    key = {one.path: one.key for one in segments(plain)}
    assert key["s1.b0"] != key["s1.b1"]  # the width changes in the first
    other = replace(plain, stages=(Stage(operator, 48, 2, 1, (("kernel", 5),)),))
    assert not set(key.values()) & {one.key for one in segments(other) if one.path.startswith("s1")}
    higher = replace(plain, resolution=32)
    assert not set(key.values()) & {one.key for one in segments(higher)}


def test_a_layer_kind_without_a_rule_raises():
    class Odd:
        def out(self, x):
            return x

    part = next(segments(TINY)).part
    with pytest.raises(TypeError, match="layer kind Odd"):
        terms(part._replace(layer=Odd()))


# Prediction


@settings(max_examples=30)
@given(networks())
def test_a_prediction_is_the_sum_over_parts(network):
    alone = [float(terms(one.part) @ np.array(PLANTED)) for one in segments(network)]
    assert MODEL.seconds(network) == pytest.approx(sum(alone))


@settings(max_examples=30)
@given(networks(), st.integers(1, 9))
def test_a_network_that_does_more_is_never_predicted_to_be_faster(network, more):
    seconds = MODEL.seconds(network)
    stage = network.stages[-1]
    longer = (*network.stages[:-1], replace(stage, repeats=stage.repeats + more))
    assert MODEL.seconds(replace(network, stages=longer)) > seconds
    assert MODEL.seconds(replace(network, resolution=network.input.size[0] + more)) >= seconds
    assert MODEL.seconds(scale(network, width=2)) > seconds


def test_a_model_survives_its_file_and_refuses_others():
    assert LatencyModel.from_json(json.loads(json.dumps(MODEL.to_json()))) == MODEL
    with pytest.raises(ValueError, match="no term 'magic'"):
        LatencyModel.from_json(MODEL.to_json() | {"coefficients": {"magic": 1.0}})
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite coefficients of at least 0"):
            replace(MODEL, coefficients=(wrong, *PLANTED[1:]))


# The fit


def planted_parts(network, noise=0.0, rng=None):
    found = {}
    for one in segments(network):
        seconds = float(terms(one.part) @ np.array(PLANTED))
        if noise:
            seconds *= float(np.exp(rng.normal(0, noise)))
        found.setdefault(one.key, Timing(seconds, seconds, seconds, 5))
    return found


@pytest.fixture(scope="module")
def sampled():
    return sample(24)


def test_the_sample_repeats_and_holds_every_term(sampled):
    assert sample(3) == sampled[:3]
    done = sum(network_terms(network) for network in sampled)
    assert [term for term, value in zip(TERMS, done, strict=True) if not value] == []
    assert {stage.operator for network in sampled for stage in network.stages} == set(OPERATORS)


def test_the_fit_foretells_networks_that_it_has_not_seen(sampled):
    found = fit_model(sampled, [planted_parts(network) for network in sampled], Conditions(batch=3))
    assert found.error < 0.02
    assert (found.batch, found.networks) == (3, 24)
    for name in ("efficientnet_b0", "shufflenet_v2_x1_0", "mobilenet_v1"):
        assert found.seconds(load(name)) == pytest.approx(MODEL.seconds(load(name)), rel=0.1)


def test_the_fit_of_noisy_timings_has_no_negative_part_and_states_its_error(sampled):
    rng = np.random.default_rng(1)
    noisy = [planted_parts(network, 0.3, rng) for network in sampled]
    found = fit_model(sampled, noisy, Conditions())
    assert min(found.coefficients) >= 0
    assert 0.02 < found.error < 0.5


def test_of_two_rounds_the_quieter_timing_of_each_part_is_kept():
    slow, other = replace(TIMING, median=1.0), replace(TIMING, median=0.5)
    assert quieter({"a": slow, "b": TIMING}, {"a": TIMING, "c": other}) == {
        "a": TIMING,
        "b": TIMING,
        "c": other,
    }


# Measuring


def test_warming_up_ends_once_times_are_steady():
    assert warm_up(iter([9.0] + [1.0] * 99).__next__, 60) == 7
    falling = iter([2.0**-n for n in range(20)] + [2.0**-20] * 99)
    assert warm_up(falling.__next__, 60) > 20
    assert warm_up(iter([2.0**-n for n in range(99)]).__next__, 0) == 1


def test_a_timing_has_the_median_between_its_quartiles():
    assert timing_of([5.0, 1.0, 2.0, 4.0, 3.0]) == Timing(3.0, 2.0, 4.0, 5)


@pytest.mark.parametrize(
    "conditions",
    [Conditions(), Conditions(batch=4, channels_last=False), Conditions(dtype="bfloat16", threads=2)],
)
def test_a_measured_network_states_how_it_was_measured(conditions, one_thread):
    found = measure(TINY, conditions, seconds=0.05)
    assert found.conditions == conditions
    assert found.timing.n >= 5
    assert 0 < found.timing.low <= found.timing.median <= found.timing.high
    assert found.images_per_second == conditions.batch / found.timing.median
    assert found.torch == torch.__version__
    assert found.peak_memory > 2**20
    assert conditions.clock == ("processor" if conditions.threads == 1 else "wall")


def test_processor_time_leaves_out_what_a_pass_waits_for(one_thread):
    class Waiting(nn.Module):
        def forward(self, x):
            import time

            time.sleep(0.02)
            return x

    own = measure(Waiting(), Conditions(), seconds=0.1, shape=(3, 8, 8))
    wall = measure(Waiting(), Conditions(threads=2), seconds=0.1, shape=(3, 8, 8))
    assert own.timing.median < 0.01 < own.wall.median
    assert wall.timing.median > 0.01


def test_a_module_is_measured_like_its_network_and_needs_a_shape(one_thread):
    module = build(TINY)
    assert measure(module, Conditions(), seconds=0.05, shape=(3, 16, 16)).timing.n >= 5
    with pytest.raises(TypeError, match="shape of its input"):
        measure(module, Conditions())


def test_wrong_conditions_are_named():
    for wrong, message in (
        ({"dtype": "int8"}, "a dtype is one of"),
        ({"batch": 0}, "batch must be at least 1"),
    ):
        with pytest.raises(InputError, match=message):
            Conditions(**wrong)


def test_the_parts_of_a_network_are_each_timed(one_thread):
    found = measure_parts(TINY, Conditions(), seconds=0.05)
    assert set(found) == {one.key for one in segments(TINY)}
    assert all(0 < one.low <= one.median <= one.high for one in found.values())
    repeated = next(one.key for one in segments(TINY) if one.path == "s1.b1")
    twice = replace(TINY, stages=(replace(TINY.stages[0], repeats=3), TINY.stages[1]))
    assert measure_parts(twice, Conditions(), seconds=0.05)[repeated].n % 2 == 0  # two blocks, one key


@pytest.mark.long
def test_a_model_is_learnt_on_this_machine_and_orders_networks():
    known = learn(Conditions(), count=12, rounds=1)
    assert known.model.networks == 12
    assert known.model.seconds(load("efficientnet_b0")) > 3 * known.model.seconds(
        replace(TINY, resolution=32)
    )


# The table and its cache


def test_a_table_gives_the_sum_of_its_parts_or_nothing():
    table = Known({one.key: TIMING for one in segments(TINY)})
    assert table.seconds(TINY) == pytest.approx(0.002 * (TINY.blocks + 2))
    assert (table.missing(TINY), Known().missing(TINY)) == (0, 5)
    assert table.seconds(replace(TINY, resolution=32)) is None


def test_the_cache_gives_back_what_it_was_given_and_keeps_conditions_apart(tmp_path):
    cache, said = Cache(fail_to_measure, tmp_path), Known({"a block": TIMING}, MODEL)
    cache.write(Conditions(), said)
    cache.write(Conditions(batch=8), Known({"another": TIMING}))
    assert cache.read(Conditions()) == said
    assert cache.read(Conditions(batch=8)) == Known({"another": TIMING})
    for other in (Conditions(threads=2), Conditions(dtype="float16"), Conditions(channels_last=False)):
        assert cache.read(other) == Known()


def test_another_machine_has_a_table_of_its_own(tmp_path, monkeypatch):
    cache = Cache(fail_to_measure, tmp_path)
    cache.write(Conditions(), Known({"a block": TIMING}))
    monkeypatch.setattr(latency_table, "machine", lambda _device: {"cpu": "another"})
    assert cache.read(Conditions()) == Known()


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        '{"tables": [{"machine": {}, "parts": {"a": [1]}, "model": null}]}',
        '{"tables": [{"machine": {}, "parts": {}, "model": {"coefficients": {"no such term": 1}}}]}',
    ],
)
def test_a_damaged_cache_is_said_and_measured_anew(tmp_path, damage):
    lines = []
    cache = Cache(lines.append, tmp_path)
    (tmp_path / FILE).write_text(damage)
    assert cache.read(Conditions()) == Known()
    assert "is damaged" in lines[0]
    cache.write(Conditions(), Known({"a block": TIMING}))
    del lines[:]
    assert cache.read(Conditions()) == Known({"a block": TIMING})
    assert lines == []


def test_processes_that_keep_latencies_at_once_lose_nothing_of_each_other(tmp_path):
    def keep(number):
        cache = Cache(fail_to_measure, tmp_path)
        for part in range(5):
            cache.write(Conditions(), Known({f"{number}, {part}": TIMING}))
            cache.write(Conditions(batch=2 + number), Known({"own": TIMING}))

    with ThreadPoolExecutor(4) as pool:  # each opens the lock anew, as another process does
        list(pool.map(keep, range(4)))
    cache = Cache(fail_to_measure, tmp_path)
    assert set(cache.read(Conditions()).parts) == {f"{n}, {part}" for n in range(4) for part in range(5)}
    assert all(cache.read(Conditions(batch=2 + number)).parts for number in range(4))


def test_a_table_measured_beside_a_model_that_was_learnt_meanwhile_keeps_it(tmp_path):
    cache = Cache(fail_to_measure, tmp_path)
    before = cache.read(Conditions())
    cache.write(Conditions(), Known({"one": TIMING}, MODEL))
    cache.write(Conditions(), replace(before, parts={"two": TIMING}))
    assert cache.read(Conditions()) == Known({"one": TIMING, "two": TIMING}, MODEL)


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    lines = []
    (tmp_path / "file").touch()
    Cache(lines.append, tmp_path / "file").write(Conditions(), Known())
    assert lines[0].startswith("the latencies cannot be kept in")


# The command


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command with a cache of its own, in which this machine's model is MODEL; it learns nothing."""
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency_session.latency_fit, "learn", fail_to_measure)
    Cache(fail_to_measure).write(Conditions(), Known({}, MODEL))
    app = typer.Typer()
    app.command()(latency)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


@pytest.fixture
def document(tmp_path):
    from scalesearch import documents
    from scalesearch.architecture.document import to_document

    (tmp_path / "tiny.yaml").write_text(documents.write_text(to_document(TINY)))
    return "tiny.yaml"


def test_measured_and_predicted_stand_beside_each_other(command, document):
    head = [one.key for one in segments(TINY)][-1]
    Cache(fail_to_measure).write(Conditions(), Known({head: TIMING}, MODEL))
    found = command(document, "--batch", "1,2", "--time", "0.1s", "--table", "--json")
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    one, two = report["latencies"]
    assert (report["schema"], report["conditions"]["clock"]) == (1, "processor")
    assert (one["batch"], two["batch"]) == (1, 2)
    assert one["predicted"] == pytest.approx(MODEL.seconds(TINY))
    assert one["error"] == pytest.approx(one["predicted"] / one["seconds"]["median"] - 1)
    assert two["predicted"] is None  # no model of this batch is kept
    assert [part["part"] for part in one["parts"]] == [part.key for part in segments(TINY)]
    assert one["parts_seconds"] == pytest.approx(sum(part["median"] for part in one["parts"]))
    known = Cache(fail_to_measure).read(Conditions())
    assert known.missing(TINY) == 0  # the table is kept
    assert known.parts[head] == TIMING  # what it had is not measured again
    assert known.model == MODEL


def test_predictions_are_checked_on_random_networks_and_the_model_written(command, tmp_path):
    found = command("--check", "3", "--budget-flops", "5e6", "--time", "0.05s", "--write", "m.json", "--json")
    assert found.exit_code == 0, found.output
    checked = json.loads(found.stdout)["check"]
    assert len(checked["networks"]) == 3
    errors = [abs(one["predicted"] / one["seconds"] - 1) for one in checked["networks"]]
    assert checked["median_error"] == pytest.approx(float(np.median(errors)))
    low, high = checked["median_error_interval"]
    assert min(errors) <= low <= high <= max(errors) == checked["largest_error"]
    assert set(checked["rank"]) == {"predicted", "flops", "activations"}
    assert latency_session.read_model(tmp_path / "m.json") == MODEL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a network"),
        (["tiny", "--batch", "0"], "--batch is whole numbers of at least 1"),
        (["tiny", "--batch", "1,"], "--batch has a name between any two commas"),
        (["--check", "5"], "--check needs --budget-flops"),
        (["--write", "x", "--batch", "1,8"], "are of one batch"),
        (["tiny", "--time", "1h"], "--time: a measurement takes at most"),
        (["--write", "missing/phone.json"], "--write missing/phone.json: there is no folder missing"),
        (["--write", "cache"], "--write cache: this is there and is no file"),
        (["no_such_network"], "no_such_network"),
        (["efficientnet_b0", "--device", "tpu"], "--device is auto, cpu"),
        (["efficientnet_b0", "--threads", "4096"], "--threads: at most"),
        (["efficientnet_b0", "--dtype", "int8"], "a dtype is one of"),
    ],
)
def test_a_wrong_request_is_one_line(command, arguments, message):
    found = command(*arguments)
    assert isinstance(found.exception, InputError), found.output
    assert message in str(found.exception)


def test_a_model_that_cannot_be_written_in_the_end_is_one_line_and_leaves_the_old_file(
    command, tmp_path, monkeypatch
):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    (tmp_path / "m.json").write_text("old")
    monkeypatch.setattr("os.fsync", full)
    found = command("--write", "m.json")
    assert isinstance(found.exception, InputError), found.output
    assert str(found.exception) == "m.json cannot be written: No space left on device"
    assert (tmp_path / "m.json").read_text() == "old"
    assert not list(tmp_path.glob(".m.json*"))


def test_milliseconds_have_three_digits_at_most():
    assert [milliseconds(one) for one in (0.005, 0.0123456, 1.5, 0.00000123)] == [
        "5",
        "12.3",
        "1500",
        "0.00123",
    ]


def test_a_timing_is_a_row_in_the_table(tmp_path):
    Cache(fail_to_measure, tmp_path).write(Conditions(), Known({"a block": TIMING}))
    stored = json.loads((tmp_path / FILE).read_text())
    assert stored["tables"][0]["parts"] == {"a block": list(asdict(TIMING).values())}
