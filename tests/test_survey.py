"""Surveys: networks drawn evenly over their range, trainings that a killed process takes up again."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import BASE
from formula import make
from hypothesis import given
from hypothesis import strategies as st

from scalesearch import documents
from scalesearch.architecture.document import from_document, to_document
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.cli.evaluation import make_evaluate
from scalesearch.cli.trust import trust
from scalesearch.cli.trust_report import make_report
from scalesearch.cli.trust_scores import Scored
from scalesearch.errors import InputError, RunHeldError
from scalesearch.search.drawing import Drawing, Drawn, draw, kept, spread_order
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.samplers import replay
from scalesearch.search.survey import Origin, SurveyTable, carry_out, plan, read_survey
from scalesearch.search.survey_document import Block
from scalesearch.training.data import load
from scalesearch.training.graph import DEFAULT
from scalesearch.training.process import usable_cores

ORIGIN = Origin({"batch_size": 64}, "digits", "f" * 64, {"scalesearch": "0.1.0"}, "a machine")
MEASURED = ["seconds", "peak_memory"]  # what differs between repeats of a training


def small(channels):
    head = {"name": f"of_{channels}", "resolution": 16, "classes": 10}
    stages = [{**BASE["stages"][0], "channels": channels, "repeats": 1}]
    network = to_document(from_document({**BASE, **head, "stages": stages}))
    return Drawn(network, {"deployed_params": channels, "deployed_activations": 1, "pattern": "fused_mbconv"})


NETWORKS = [small(channels) for channels in (8, 16, 24)]
BLOCKS = (Block(256, 2), Block(128, 3), Block(256, 3))


def rows_of(path):
    frame = read_survey(path).drop(columns=MEASURED)
    return json.loads(frame.to_json(orient="records"))


# Drawing


@given(st.integers(1, 700), st.data())
def test_every_beginning_of_the_order_covers_the_range(count, data):
    order = spread_order(count)
    assert sorted(order) == list(range(count))
    first = data.draw(st.integers(1, count))
    marks = [*sorted(order[:first]), count]
    assert marks[0] == 0
    assert max(high - low for low, high in pairwise(marks)) <= max(1, 2 * count / first)


@pytest.fixture(scope="module")
def drawing():
    return Drawing(documents.load_space("mixed"), ProxyPolicy(), 2e9, 10, 32, 5, 3)


@pytest.fixture(scope="module")
def drawn(drawing):
    return draw(drawing)


def test_drawn_networks_are_on_the_budget_and_differ(drawn):
    costs = [from_document(one.network).cost().flops for one in drawn]
    assert all(0.97 * 10e6 <= cost <= 10e6 for cost in costs)
    assert all(0.97 * 2e9 <= one.labels["deployed_flops"] <= 2e9 for one in drawn)
    unnamed = {json.dumps({**one.network, "name": ""}) for one in drawn}
    assert len(unnamed) == len(drawn) == 5
    assert [one.labels["number"] for one in drawn] == list(range(5))


def test_drawn_networks_come_one_from_each_stratum(drawn):
    by_place = dict(zip(spread_order(5), drawn, strict=True))
    activations = [from_document(by_place[place].network).cost().activations for place in range(5)]
    assert activations == sorted(activations)
    assert len(set(activations)) == 5


def test_labels_give_the_candidate_again(drawing, drawn):
    for one in drawn[:2]:
        candidate = drawing.space.draw(replay(json.loads(one.labels["sampled"])))
        proxy = candidate.proxy(drawing.policy, drawing.policy.flops, 10, 32)
        assert from_document(one.network) == from_document(to_document(proxy.network))
        assert one.labels["gamma"] == candidate.coefficients.gamma
        assert one.labels["gamma_identified"] is not proxy.clamped


def test_a_space_of_one_network_cannot_give_three():
    space = documents.load_space("efficientnet_b0")
    with pytest.raises(InputError, match="gives 1 different proxies, but 3 networks are asked for"):
        draw(Drawing(space, ProxyPolicy(), 4e8, 10, 32, 3, 0))


def test_drawn_networks_are_kept_and_belong_to_one_drawing(tmp_path):
    path = tmp_path / "networks.parquet"
    assert kept(path, {"seed": 0}, lambda: NETWORKS) == NETWORKS
    assert kept(path, {"seed": 0}, lambda: pytest.fail("drawn again")) == NETWORKS
    with pytest.raises(InputError, match="holds the networks of another survey"):
        kept(path, {"seed": 1}, lambda: NETWORKS)


# Planning


def test_a_plan_has_each_training_once_in_order():
    planned = plan(BLOCKS, NETWORKS, ORIGIN)
    found = [(one.name, one.images) for one in planned]
    short = [(name, 128) for name in ("of_8", "of_16", "of_24")]
    assert found == [("of_8", 256), ("of_16", 256), *short, ("of_24", 256)]
    assert len({one.key for one in planned}) == len(planned)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainings": "[{images: 0, networks: 3}]"}, "trainings.0: images and networks must be at least 1"),
        ({"trainings": "[{images: 5, networks: 3, seeds: []}]"}, "seeds are whole numbers of at least 0"),
        ({"trainings": "[{images: 5, network: 3}]"}, "trainings.0.network: there is no such field; did you"),
        ({"trainings": "[]"}, "a survey has at least one block of trainings"),
        ({"networks": "2"}, "2 networks are drawn, but trainings ask for the first 3"),
        ({"budget_flops": "-1"}, "budget_flops must be positive, but got -1"),
    ],
)
def test_a_malformed_survey_names_place_rule_and_value(tmp_path, change, message):
    path = tmp_path / "mine.yaml"
    good = {"name": "mine", "budget_flops": "2e9", "networks": "3", "trainings": "[{images: 5, networks: 3}]"}
    path.write_text("".join(f"{name}: {value}\n" for name, value in (good | change).items()))
    with pytest.raises(InputError) as raised:
        documents.load_survey(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"survey": "mixed", "networks": 5}, "--networks is for a survey made from options"),
        ({"survey": "mixd"}, "no survey is called 'mixd'; near are mixed"),
        ({}, "--budget-flops says which networks are compared"),
        ({"budget_flops": "2e9", "lengths": "20000,long"}, "--lengths are numbers .* but got 'long'"),
    ],
)
def test_options_that_make_no_survey_are_refused(options, message):
    given = {"workers": "auto", "time": None, **options}
    for name in ("space", "survey", "budget_flops", "networks", "lengths", "seeds"):
        given.setdefault(name, None)
    with pytest.raises(InputError, match=message):
        trust(**given)


# Carrying out, with a formula in place of the training


def carried_out(path, blocks=BLOCKS, origin=ORIGIN, stop=lambda: False, deadline=None, **settings):
    with SurveyTable(path, origin) as table, LocalEngine(2, make(**settings)) as engine:
        planned = plan(blocks, NETWORKS, origin)
        ending = carry_out(planned, table, engine, stop_requested=stop, deadline=deadline)
        return ending, [(row["name"], row["images"], row["status"]) for row in table.rows]


def test_a_stopped_survey_goes_on_and_failures_are_not_tried_again(tmp_path):
    path = tmp_path / "trainings.parquet"
    assert carried_out(path, deadline=time.monotonic()) == ("time", [])
    asked = iter(range(100))
    ending, rows = carried_out(path, stop=lambda: next(asked) >= 1, pause=30.0)
    assert (ending, rows) == ("stopped", [])  # interrupted trainings have no result
    ending, rows = carried_out(path, fail={1: "nan"})
    assert ending == "done"
    assert sorted(rows) == sorted(
        (one.name, one.images, "failed" if number == 0 else "complete")
        for number, one in enumerate(plan(BLOCKS, NETWORKS, ORIGIN))
    )
    before = path.read_bytes()
    assert carried_out(path, fail={1: "kill"}) == ("done", rows)
    assert path.read_bytes() == before
    assert not (tmp_path / "work").exists()


def test_a_table_of_other_trainings_is_refused(tmp_path):
    path = tmp_path / "trainings.parquet"
    planned = plan((Block(64, 1),), NETWORKS, ORIGIN)
    with SurveyTable(path, ORIGIN) as table, LocalEngine(1, make()) as engine:
        carry_out(planned, table, engine)
        with pytest.raises(RunHeldError), SurveyTable(path, ORIGIN):
            pass
    others = {
        "another recipe: its recipe is": Origin({"batch_size": 32}, "digits", "f" * 64, {}, ""),
        "another data set: its fingerprint is ffffffffffff, here it is eeeeeeeeeeee": Origin(
            ORIGIN.recipe, "digits", "e" * 64, {}, ""
        ),
    }
    for message, origin in others.items():
        with pytest.raises(InputError, match=message), SurveyTable(path, origin):
            pass
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no readable Parquet table"), SurveyTable(path, ORIGIN):
        pass
    pd.DataFrame({"key": ["a"]}).to_parquet(path)
    with pytest.raises(InputError, match="the table has no column 'name'"), SurveyTable(path, ORIGIN):
        pass


# Carrying out, with real trainings


def real(cache):
    """Return the plan and the maker of evaluators of a small survey on digits."""
    data, recipe = load("digits", cache=Path(cache)), documents.load_recipe("proxy")
    origin = Origin({"name": "proxy"}, data.name, data.fingerprint, {}, "")
    planned = plan((Block(256, 3),), NETWORKS, origin)
    return planned, origin, partial(make_evaluate, data.folder, recipe, "cpu", 1, DEFAULT)


def die_after_one(cache, path):
    """Carry out the survey and kill this process at the first result, while the next training runs."""
    planned, origin, evaluate = real(cache)

    def kill(_row):
        os.kill(os.getpid(), signal.SIGKILL)

    with SurveyTable(Path(path), origin) as table, LocalEngine(1, evaluate) as engine:
        carry_out(planned, table, engine, on_finished=kill)


def test_a_killed_survey_goes_on_to_the_same_rows_as_an_uninterrupted_one(tmp_path):
    killed, whole = tmp_path / "killed/trainings.parquet", tmp_path / "whole/trainings.parquet"
    code = f"import test_survey; test_survey.die_after_one({str(tmp_path)!r}, {str(killed)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(rows_of(killed)) == 1
    planned, origin, evaluate = real(tmp_path)
    with LocalEngine(1, evaluate) as engine:
        for path in (killed, whole):
            with SurveyTable(path, origin) as table:
                assert carry_out(planned, table, engine) == "done"
    rows = rows_of(whole)
    assert rows_of(killed) == rows
    assert [row["name"] for row in rows] == ["of_8", "of_16", "of_24"]
    assert {row["status"] for row in rows} == {"complete"}
    assert all(np.isfinite([row["val_loss"], row["train_loss_last_quarter"]]).all() for row in rows)
    assert all(row["curve_images"][-1] <= 256 for row in rows)
    assert rows[0]["flops"] == from_document(NETWORKS[0].network).cost().flops


# The report


def trained(name, images, seed, loss, status="complete"):
    return {
        "name": name,
        "network": json.dumps(NETWORKS[0].network),
        "images": images,
        "seed": seed,
        "status": status,
        "val_loss": loss,
        "val_accuracy": 1 - loss / 3,
        "train_loss_last_quarter": 2 - loss,
        "seconds": images / 100,
        **dict.fromkeys(("params", "activations", "deployed_params", "deployed_activations"), loss),
    }


def test_signals_are_held_against_the_longest_training():
    losses = dict(zip("abcdefgh", np.linspace(1, 2, 8), strict=True))
    rows = [trained(n, 60, seed, loss + 0.02 * seed) for n, loss in losses.items() for seed in (0, 1)]
    rows += [trained(n, 20, 0, loss + 1) for n, loss in losses.items()]
    # A second seed is no part of what one training shows.
    rows += [trained(n, 20, 1, -loss) for n, loss in losses.items()]
    rows += [trained("failed", 60, 0, 9.0, "failed"), trained("unjudged", 20, 0, 9.0)]
    scored = {n: {"good": Scored(-loss, 0.1), "dead": Scored(-np.inf, 0.1)} for n, loss in losses.items()}
    scored["a"]["dead"] = Scored(5.0, 0.1)
    report = make_report(rows, 60, scored)
    found = {signal["name"]: signal for signal in report["signals"]}
    value = {name: signal["spearman"][0] for name, signal in found.items()}
    assert {signal["n"] for signal in found.values()} == {8}
    for name in ("60 images, another seed", "20 images: validation loss", "20 images: validation accuracy"):
        assert value[name] == pytest.approx(1)
    assert value["good"] == pytest.approx(1)
    assert value["20 images: training loss"] == value["proxy parameters"] == pytest.approx(-1)
    assert (found["dead"]["dead"], value["proxy blocks"]) == (7, 0)
    assert value["dead"] > 0
    assert found["20 images: validation loss"]["seconds"] == 0.2
    truth = report["truth"]
    assert truth["seed_deviation"] == pytest.approx(0.02 / 2**0.5)
    assert truth["seed_freedom"] == 8
    between = np.var(list(losses.values()), ddof=1) - 0.02**2 / 2
    assert truth["ceiling"] == pytest.approx((between / (between + 0.02**2 / 2)) ** 0.5)
    assert report["trainings"] == {"complete": 33, "failed": 1, "images": 17 * 60 + 17 * 20}


def test_two_networks_are_too_few_to_compare():
    report = make_report([trained(n, 60, 0, 1.0) for n in "ab"], 60, {})
    assert report["signals"] == []
    assert report["truth"]["networks"] == 2


# The command


def start(cwd, data, *arguments):
    command = [sys.executable, "-W", "error", "-m", "scalesearch", "trust", "--budget-flops", "2e9"]
    small = ["--networks", "3", "--lengths", "256,512", "--time", "9m", "--out", "found"]
    one_thread_each = ["--workers", str(usable_cores())]
    return subprocess.Popen(
        [*command, *small, *one_thread_each, "--data", str(data), *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.long
def test_the_command_stops_at_ctrl_c_and_goes_on(tmp_path, cifar10_path):
    table = tmp_path / "found/trainings.parquet"
    first = start(tmp_path, cifar10_path)
    while not table.exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=120)
    assert first.returncode == 130, told
    assert "left: the same command continues" in " ".join(told.split())
    left = len(read_survey(table))
    assert 1 <= left < 6
    second = start(tmp_path, cifar10_path, "--json")
    out, told = second.communicate(timeout=900)
    assert second.returncode == 0, told
    report = json.loads(out)
    assert report == json.loads((tmp_path / "found/trust.json").read_text())
    assert report["trainings"] == {"complete": 6, "failed": 0, "images": 3 * 768}
    assert {signal["n"] for signal in report["signals"]} == {3}
    assert report["truth"]["images"] == 512
    kinds = {signal["kind"] for signal in report["signals"]}
    assert kinds == {"shorter training", "zero-cost score", "static"}
