"""The page's data about trials: by hand, as a round trip, and for thousands of them."""

import gzip
import json
import time
from base64 import b64decode
from dataclasses import asdict, replace
from math import inf, isfinite, nan
from random import Random

import pytest
from factories import BUDGET, HOSTILE, failed, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import networks

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.architecture.operators import OPERATORS
from scalesearch.architecture.scaling import Coefficients
from scalesearch.dashboard.entries import CURVE_POINTS, entries, number, packed, thinned
from scalesearch.dashboard.folding import fold
from scalesearch.dashboard.panels.context import Finalist
from scalesearch.dashboard.sizes import Sizes
from scalesearch.search.records import TrialRecord


def unfolded(data):
    """Undo `fold`, written from its description alone."""
    if isinstance(data, list):
        return data
    if "t" in data:
        return [list(row) for row in zip(*map(unfolded, data["t"]), strict=True)]
    if "n" in data:
        items = iter(unfolded(data["l"]))
        return [[next(items) for _ in range(length)] for length in data["n"]]
    columns = [iter(unfolded(column)) for column in data["c"]]
    rows = len(data["m"][0] or unfolded(data["c"][0]))
    return [
        {
            key: next(column)
            for key, column, mask in zip(data["k"], columns, data["m"], strict=True)
            if mask is None or mask[row] == "1"
        }
        for row in range(rows)
    ]


def unpacked(text):
    def refused(constant):
        raise AssertionError(f"{constant} is no JSON")

    (data,) = unfolded(json.loads(gzip.decompress(b64decode(text)), parse_constant=refused))
    return data


def with_document(record, document):
    return replace(record, deployed=replace(record.deployed, document=document))


# By hand


def test_an_entry_is_the_hand_computed_one():
    record = trial(
        7,
        0.4268,
        level=BUDGET / 4,
        reason=None,
        seconds=12.3456789,
        images=20_000,
        curve=((10_000, 2.0), (20_000, 1.5)),
    )
    record = replace(
        record,
        params={"stages.0.operator": "mbconv", "coefficients.depth": 0.98194269312},
        coefficients=Coefficients(1.2, 1.1, 1.15),
        started=1_780_000_000.123,
        finished=1_780_000_012.469,
        worker=1,
        arm="control",
    )
    (entry,) = entries([record], [Finalist(7, 0.43, 0.42, 0.44, 3)], documents.write_text, budget=BUDGET)
    d, p = record.deployed, record.proxy
    assert {name: entry[name] for name in ("key", "run", "number", "name", "arm", "status", "reason")} == {
        "key": "7",
        "run": 0,
        "number": 7,
        "name": "small",
        "arm": "control",
        "status": "complete",
        "reason": None,
    }
    assert entry["levelText"] == "25.0 MFLOPs (1/4 of the budget)"
    assert (entry["level"], entry["accuracy"], entry["loss"]) == (BUDGET / 4, 0.4268, 1.5732)
    assert (entry["seconds"], entry["started"], entry["finished"]) == (12.3457, 1780000000.12, 1780000012.47)
    assert (entry["share"], entry["binding"]) == (pytest.approx(d.share, rel=1e-5), "flops")
    assert entry["pattern"] == "1 × fused_mbconv, 1 × mbconv"
    assert entry["finalist"] == {"accuracy": 0.43, "low": 0.42, "high": 0.44, "seeds": 3}
    assert entry["coefficients"] == [1.2, 1.1, 1.15]
    assert entry["choices"] == {"stages.0.operator": "mbconv", "coefficients.depth": 0.981943}
    for name, member in (("deployed", d), ("proxy", p)):
        told = entry[name]
        assert [told[cost] for cost in ("flops", "params", "activations")] == [
            member.flops,
            member.params,
            member.activations,
        ]
        assert told["resolution"] == member.document["resolution"]
        assert told["realised"] == pytest.approx(member.realised, rel=1e-5)
    (training,) = entry["trainings"]
    assert (training["role"], training["rung"], training["images"]) == ("search", 0, 20_000)
    assert training["curve"] == [[10_000, 2.0], [20_000, 1.5]]


def test_a_candidate_is_what_its_longest_complete_search_training_says():
    short, long = trial(0, 0.5), replace(trial(0, 0.6), rung=1)
    stopped = replace(trial(0, None, status="interrupted"), rung=2)
    final = replace(trial(0, 0.9, role="final"), rung=1)
    first, second = entries([final, trial(1, 0.1), stopped, long, short], (), documents.write_text)
    assert (first["accuracy"], first["status"], second["accuracy"]) == (0.6, "complete", 0.1)
    told = [(one["role"], one["rung"], one["accuracy"]) for one in first["trainings"]]
    assert told == [("search", 0, 0.5), ("search", 1, 0.6), ("search", 2, None), ("final", 1, 0.9)]


def test_a_failed_candidate_has_its_reason_and_no_numbers():
    (entry,) = entries([failed(3, "loss\nis nan")], (), documents.write_text, run=1, several=True)
    assert (entry["key"], entry["status"], entry["reason"]) == ("1:3", "failed", "loss is nan")
    assert (entry["accuracy"], entry["loss"], entry["finalist"]) == (None, None, None)


def test_a_thinned_point_is_the_mean_of_its_neighbours():
    curve = ((1, 4.0), (2, 2.0), (3, 8.0), (4, 6.0), (5, 1.0))
    assert thinned(curve, 3) == [[2, 3.0], [4, 7.0], [5, 1.0]]
    assert thinned(curve, 5) == [list(point) for point in curve]
    assert thinned(((1, nan), (2, 1.0)), 1) == [[2, None]]
    assert thinned((), 3) == []


@given(st.floats() | st.none())
def test_a_number_keeps_six_digits_or_is_nothing(value):
    kept = number(value)
    if value is None or not isfinite(value):
        assert kept is None
    else:
        assert kept == pytest.approx(value, rel=5.1e-6, abs=1e-307)


# Sizes, against the network's own table


@settings(max_examples=60)
@given(st.sampled_from([2, 3]).flatmap(lambda dims: networks(dims=dims)))
def test_sizes_are_those_of_the_table(network):
    found = SIZES.of(to_document(network))
    assert found == [row.out_size for row in network.rows()[:-1]]


SIZES = Sizes()  # shared by all examples, as by all trials of a page


def test_a_part_that_cannot_be_built_has_no_size_and_stops_nothing():
    document = trial().deployed.document
    hostile = {**document, "stages": [document["stages"][0], {**document["stages"][1], "operator": "<b>"}]}
    assert [size is None for size in Sizes().of(hostile)] == [False, False, True]


# Through the page and back


NUMBERS = st.floats() | st.none()
TEXTS = st.sampled_from(HOSTILE) | st.text(max_size=20)


@st.composite
def records(draw):
    accuracy, seconds = draw(NUMBERS), draw(st.floats())
    curve = tuple(draw(st.lists(st.tuples(st.integers(0, 10**6), st.floats()), max_size=4)))
    status = draw(st.sampled_from(["complete", "failed", "interrupted"]))
    record = trial(draw(st.integers(0, 3)), accuracy, status=status, seconds=seconds, curve=curve)
    network = to_document(draw(networks()))
    record = with_document(record, network | {"name": draw(TEXTS)})
    return replace(
        record,
        params=draw(st.dictionaries(TEXTS, st.floats() | st.integers() | st.booleans() | TEXTS, max_size=4)),
        rung=draw(st.integers(0, 2)),
        started=draw(st.floats()),
        outcome=replace(record.outcome, reason=draw(TEXTS | st.none())),
    )


@settings(max_examples=30)
@given(st.lists(records(), max_size=3))
def test_every_record_survives_the_page_and_nan_becomes_nothing(drawn):
    made = entries(drawn, (), documents.write_text)
    assert unpacked(packed({"entries": made}))["entries"] == made
    assert sum(len(entry["trainings"]) for entry in made) == len(drawn)
    for entry in made:
        own = [one for one in drawn if one.number == entry["number"]]
        told = [one["accuracy"] for one in entry["trainings"]]
        finite = [a if a is not None and isfinite(a) else None for a in (o.outcome.val_accuracy for o in own)]
        assert sorted(map(str, told)) == sorted(map(str, finite))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.sampled_from(["a", "b", "c", "k", "n", "t", "__proto__"]), inner, max_size=4)
    ),
    max_leaves=25,
)


@settings(max_examples=150)
@given(st.lists(JSON, max_size=6))
def test_folding_loses_nothing_and_keeps_the_order_of_keys(data):
    assert json.dumps(unfolded(fold(data))) == json.dumps(data)


def test_packing_is_deterministic():
    made = entries([trial()], (), documents.write_text)
    assert packed(made) == packed(json.loads(json.dumps(made)))


# Thousands


def many(count):
    """Return records that differ in every stage, in their choices and in the noise of their curves."""
    rng = Random(0)
    base = trial(0, 0.5).deployed
    names = sorted(set(OPERATORS) - {"shufflenet_v1"})

    def stage():
        row = {
            "operator": rng.choice(names),
            "channels": 8 * rng.randint(1, 90),
            "repeats": rng.randint(1, 30),
            "stride": 1,
            "kernel": rng.choice([3, 5]),
        }
        options = {"expand": rng.choice([1, 3, 4, 6]), "se": rng.choice([0.1, 0.25])}
        return row | (options if "mbconv" in row["operator"] else {})

    def one(index):
        curve = tuple((400 * step, 2 + rng.random()) for step in range(1, 51))
        stages = [stage() for _ in range(7)]
        choices = {f"stages.{n}.{name}": value for n, row in enumerate(stages) for name, value in row.items()}
        record = trial(index, rng.randint(0, 2500) / 2500, seconds=rng.random(), curve=curve)
        costs = {name: rng.randint(10**6, 10**9) for name in ("flops", "params", "activations")}
        document = base.document | {"name": f"trial_{index}", "stages": stages}
        member = replace(base, document=document, phi=rng.random(), **costs)
        return replace(record, params=choices, deployed=member)

    return [one(index) for index in range(count)]


def test_five_thousand_trials_take_little_room_and_time():
    trials = many(5000)
    started = time.process_time()
    made = entries(trials, (), documents.write_text, budget=BUDGET)
    text = packed({"entries": made})
    assert time.process_time() - started < 6  # about 2 on an idle core
    assert len(text) < 1.6e6
    assert sum(len(entry["trainings"][0]["curve"]) for entry in made) <= CURVE_POINTS
    assert all(entry["yaml"] is None for entry in made)


def test_a_few_trials_keep_their_whole_curves():
    curve = tuple((step, 1.0) for step in range(50))
    (entry,) = entries([trial(curve=curve)], (), documents.write_text)
    assert len(entry["trainings"][0]["curve"]) == 50


def test_records_from_disk_make_the_same_entries():
    record = trial(0, 0.5, curve=((1, 2.0),), images=1)
    again = TrialRecord.from_json(json.loads(json.dumps(asdict(record))))
    assert entries([again], (), documents.write_text) == entries([record], (), documents.write_text)


@pytest.mark.parametrize("key", ["a: b", "# no", "true", "Ä", "- x", "", 1, *HOSTILE])
@pytest.mark.parametrize("part", ["document", "stem", "stage"])
def test_a_document_with_a_key_that_is_no_word_is_written_by_the_library(part, key):
    record = trial(0)
    document = json.loads(json.dumps(record.deployed.document))
    {"document": document, "stem": document["stem"], "stage": document["stages"][0]}[part][key] = 1
    order = [name for name in document if name not in ("stem", "stages", "head")]
    document = {name: document[name] for name in (*order, "stem", "stages", "head")}
    record = replace(record, deployed=replace(record.deployed, document=document))
    (entry,) = entries([record], (), documents.write_text)
    assert entry["yaml"] == documents.write_text(document)
    assert entry["document"] == {}


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_no_moment_is_not_a_number(value):
    (entry,) = entries([replace(trial(), started=value)], (), documents.write_text)
    assert entry["started"] is None
