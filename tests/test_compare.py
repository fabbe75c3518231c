"""Comparisons: networks at one cost, and test images that nobody sees before the last training has ended."""

import json
import re
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from factories import BASE, trial

from scalesearch import documents
from scalesearch.architecture.budget import realised_multipliers
from scalesearch.architecture.document import from_document, to_document
from scalesearch.architecture.proxy import ProxyPolicy, at_base_resolution
from scalesearch.cli.compare import compare
from scalesearch.cli.compare_entrants import Terms, entrants, own_rule
from scalesearch.cli.compare_judging import Judged, Judgement
from scalesearch.cli.compare_report import make_report
from scalesearch.cli.compare_session import CompareSession, Request, fresh_seeds
from scalesearch.cli.compare_tables import judged_text, print_report
from scalesearch.cli.evaluation import make_evaluate
from scalesearch.cli.survey_session import Call
from scalesearch.errors import InputError
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.samplers import derived_seed
from scalesearch.search.store import RunStore
from scalesearch.search.survey import Origin, Planned, SurveyTable, read_survey
from scalesearch.search.trust import SeedNoise
from scalesearch.training.augment import DeviceData
from scalesearch.training.data import load
from scalesearch.training.graph import DEFAULT
from scalesearch.training.loop import train
from scalesearch.training.process import usable_cores
from scalesearch.training.testing import right_answers

SMALL = Terms(documents.load_recipe("small").proxy, 10, 32)
PUBLISHED = (
    "efficientnet_b0",
    "efficientnet_v2_s",
    "shufflenet_v2_x1_0",
    "mobilenet_v2",
    "mobilenet_v3_large",
)


# The networks


def test_published_networks_end_in_one_band_each_by_its_own_rule():
    found = entrants(PUBLISHED, SMALL)
    assert [one.rule for one in found] == ["efficientnet"] * 2 + ["width"] * 3
    for one, name in zip(found, PUBLISHED, strict=True):
        cost, small = one.network.cost().flops, at_base_resolution(documents.load(name), SMALL.policy, 10, 32)
        assert 0.97 * 15e6 <= cost <= 15e6
        assert one.in_band
        assert one.share == cost / 15e6
        assert one.network.resolution <= 32
        assert one.network.classes == 10
        assert one.realised == realised_multipliers(small, one.network)
    assert found[2].realised[0] == 1  # by width alone
    assert found[0].realised[0] < 0.6  # compound: depth gives way too


def test_rules_can_be_chosen_and_unknown_families_grow_as_efficientnets():
    plain, wide = entrants(["efficientnet_b0", "efficientnet_b0@width"], SMALL)
    assert (plain.name, wide.name, wide.rule) == ("efficientnet_b0", "efficientnet_b0@width", "width")
    assert wide.realised[0] == 1 > plain.realised[0]
    assert own_rule("mine")[0] == "efficientnet"
    assert own_rule("mobilenet_v1")[0] == "width"


def test_a_network_of_this_cost_stays_as_it_is(tmp_path):
    made = entrants(["shufflenet_v2_x1_0", "efficientnet_b0"], SMALL)[0].network
    (tmp_path / "mine.yaml").write_text(documents.write_text(to_document(replace(made, name="mine"))))
    given = entrants([str(tmp_path / "mine.yaml"), "efficientnet_b0"], SMALL)[0]
    assert (given.rule, given.network, given.realised) == ("given", made, (1, 1, 1))


@pytest.fixture
def run(tmp_path):
    """A run of three trials, of which number 1 is the best by validation loss."""
    with RunStore(tmp_path / "searched") as store:
        for number, accuracy in enumerate((0.4, 0.6, 0.5)):
            one = trial(number, accuracy, level=1e8)
            stage = {**one.proxy.document["stages"][0], "kernel": 3 + 2 * number}
            document = {**one.proxy.document, "stages": [stage, *one.proxy.document["stages"][1:]]}
            store.finish(replace(one, proxy=replace(one.proxy, document=document)))
    return tmp_path / "searched"


FIVE = Terms(ProxyPolicy(flops=5e6), 10, 32)


def test_a_run_sends_its_best_trial_and_any_other_by_number(run):
    best, other, _ = entrants([str(run), f"{run}:2", "efficientnet_b0"], FIVE)
    assert [best.name, other.name] == ["searched:1", "searched:2"]
    assert [dict(one.network.stages[0].options)["kernel"] for one in (best, other)] == [5, 7]
    assert best.rule == "found"
    assert best.realised == trial().proxy.realised
    assert "alpha 1.2, beta 1.1, gamma 1.15" in best.source


def test_a_trial_that_is_cheaper_than_the_others_takes_part_and_is_named(tmp_path):
    with RunStore(tmp_path / "searched") as store:
        one = trial(0, 0.5)
        store.finish(replace(one, proxy=replace(one.proxy, flops=4_500_000, share=0.9)))
    found, other = entrants([str(tmp_path / "searched"), "efficientnet_b0"], FIVE)
    assert (found.in_band, other.in_band) == (False, True)


@pytest.mark.parametrize(
    ("named", "terms", "message"),
    [
        (["{run}:7", "efficientnet_b0"], FIVE, "has 3 trials, but none of number 7"),
        (["{run}", "efficientnet_b0"], SMALL, "a proxy of 5,000,000 .* the recipe compares at 15,000,000"),
        (["{run}", "efficientnet_b0"], replace(FIVE, classes=7), "is for 10 classes .* the data have 7"),
        (["{run}", "{run}:1"], FIVE, "networks of a comparison differ, but searched:1 and searched:1"),
        (["{run}"], FIVE, "a comparison takes at least two networks"),
        (["{empty}", "efficientnet_b0"], FIVE, "a run folder holds record.jsonl, but this does not"),
        (
            ["shufflenet3d_v2", "efficientnet_b0"],
            FIVE,
            "trainings are on colour images, but .* is for others",
        ),
        (["efficientnet_b99", "efficientnet_b0"], FIVE, "no network is called 'efficientnet_b99'"),
        (["efficientnet_b0@wide", "efficientnet_b0"], FIVE, "a network's rule is one of .* got 'wide'"),
        (["efficientnet_b0"] * 2, FIVE, "efficientnet_b0 and efficientnet_b0 are the same"),
        (["efficientnet_b0", "mobilenet_v2"], replace(FIVE, policy=ProxyPolicy(flops=1e3)), "the smallest"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(run, tmp_path, named, terms, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        entrants([name.format(run=run, empty=tmp_path / "empty") for name in named], terms)


def test_bad_options_are_refused_before_anything_is_loaded():
    with pytest.raises(InputError, match="--with has a name between any two commas"):
        compare(["efficientnet_b0"], rivals="mobilenet_v2,,", time=None, workers="auto")
    with pytest.raises(InputError, match="--workers is auto or a whole number"):
        compare(["efficientnet_b0"], rivals=None, time=None, workers="many")


def test_fresh_seeds_are_none_of_a_search():
    seeds = fresh_seeds(20)
    used = {*range(1000), *(derived_seed(seed, "final", turn) for seed in range(20) for turn in range(20))}
    assert len(set(seeds)) == 20
    assert not set(seeds) & used
    assert fresh_seeds(3) == seeds[:3]  # more seeds extend a comparison


# Trainings and their judgement: digits, whose test part is noise in the process that trains

RECIPE = {
    "batch_size": 32,
    "phases": [{"share": 1.0, "scale": 1.0}],
    "norm_batches": 2,
    "proxy": {"flops": 4e5, "base_resolution": 16, "min_resolution": 16, "total_stride": 4},
}
STAGES = [
    {"operator": "shufflenet_v2", "channels": 32, "repeats": 1, "stride": 2, "kernel": 3},
    {"operator": "shufflenet_v2", "channels": 64, "repeats": 2, "stride": 2, "kernel": 3},
]
IMAGES = 320


class Guarded:
    """A test part that may be read only while `allowed` says so; counts how often it was."""

    def __init__(self, split, allowed):
        self._split, self._allowed, self.reads = split, allowed, 0

    def __len__(self):
        return len(self._split)

    @property
    def labels(self):
        return self._read().labels

    @property
    def images(self):
        self.reads += 1
        return self._read().images

    def _read(self):
        assert self._allowed(), "the test part was read before the last training had ended"
        return self._split


class Watched(CompareSession):
    """A session whose test part is guarded, or taken away with `allowed` None."""

    def __init__(self, request, call, engine, allowed):
        super().__init__(request, call, engine)
        self._allowed, self.guard = allowed, None

    def _open(self):
        ground = super()._open()
        if self._allowed is not None:
            self.guard = Guarded(ground.data.test, self._allowed)
        return replace(ground, data=replace(ground.data, test=self.guard))


def spoiled(data, folder):
    """A copy of a data cache in which the test part alone is noise, under the same fingerprint."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for file in data.folder.iterdir():
        if file.name not in ("test.images.npy", "test.labels.npy"):
            (folder / file.name).symlink_to(file)
    np.save(folder / "test.images.npy", rng.integers(0, 256, data.test.images.shape, dtype=np.uint8))
    np.save(folder / "test.labels.npy", rng.integers(0, 10, len(data.test)))
    return folder


@pytest.fixture(autouse=True, scope="module")
def process_as_it_was():
    """Judging prepares its process, as a command may; what other tests measure is not to change."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Documents, digits in a cache of their own, and the process that trains on the spoiled copy."""
    root = tmp_path_factory.mktemp("compare")
    (root / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    for name, document in (("plain", BASE), ("shufflenet_like", {**BASE, "stages": STAGES})):
        (root / f"{name}.yaml").write_text(yaml.safe_dump({**document, "name": name}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALESEARCH_CACHE", str(root / "cache"))
        data, recipe = load("digits"), documents.load_recipe(root / "recipe.yaml")
        make = partial(make_evaluate, spoiled(data, root / "spoiled"), recipe, "cpu", 1, DEFAULT)
        with LocalEngine(1, make) as engine:
            yield root, data, recipe, engine


def session(place, out, allowed, seeds=2, order=1):
    root, _, _, engine = place
    named = tuple(str(root / f"{name}.yaml") for name in ("plain", "shufflenet_like")[::order])
    request = Request(named, IMAGES, seeds, str(root / "recipe.yaml"))
    call = Call("digits", 59.0, "cpu", usable_cores(), str(out))
    return Watched(request, call, lambda _workers, _make: nullcontext(engine), allowed)


def rows(out):
    table = out / "trainings.parquet"
    return read_survey(table).to_dict("records") if table.exists() else []


def expected(data, row, recipe, folder):
    """Train a row's network again in this process, on the true data; return outcome and true accuracies."""
    network, here = from_document(json.loads(row["network"])), DeviceData.of(data)
    weights = folder / "again.safetensors"
    outcome = train(network, here, recipe, images=IMAGES, seed=row["seed"], weights=weights)
    parts = [torch.from_numpy(np.array(part)) for part in (data.test.images, data.test.labels)]
    report = right_answers(network, weights, here.report_images, here.report_labels, here)
    assert report.mean() == outcome.report_accuracy  # as at the end of the training
    return outcome, right_answers(network, weights, *parts, here).mean()


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory):
    """A comparison that was stopped before its last training and taken up again: folder and report."""
    out = tmp_path_factory.mktemp("found")
    first = session(place, out, allowed=lambda: False)
    report, code = first.run(lambda: len(rows(out)) >= 3)
    assert (code, report["left"], report["networks"]) == (130, 1, [])
    assert first.guard.reads == 0
    assert not (out / "judged.parquet").exists()
    assert len(list((out / "weights").iterdir())) == 3
    second = session(place, out, allowed=lambda: len(rows(out)) == 4)
    report, code = second.run(lambda: False)
    assert (code, second.guard.reads) == (0, 1)
    return out, report


def test_the_test_part_is_read_once_after_the_last_training_and_moves_no_validation(
    place, finished, tmp_path, one_thread
):
    _, data, recipe, _ = place
    out, report = finished
    assert report["judged"] == {"part": "test", "images": len(data.test), "looks": [4]}
    assert json.loads((out / "compare.json").read_text()) == report
    assert not (out / "weights").exists()
    row = rows(out)[0]
    one = next(n for n in report["networks"] if n["name"] == row["name"])
    told = next(training for training in one["trainings"] if training["seed"] == row["seed"])
    outcome, accuracy = expected(data, row, recipe, tmp_path)
    # The process that trained saw noise for a test part: what it reports is what the true data give.
    for name in ("val_loss", "val_accuracy", "report_accuracy"):
        assert told[name] == pytest.approx(getattr(outcome, name), rel=1e-4)
    assert told["test_accuracy"] == pytest.approx(accuracy)


def test_networks_share_images_and_seeds_and_a_cost(finished):
    _, report = finished
    first, second = report["networks"]
    assert [first["name"], second["name"]] == ["plain", "shufflenet_like"]
    assert (first["rule"], second["rule"]) == ("efficientnet", "width")
    for one in report["networks"]:
        assert [training["seed"] for training in one["trainings"]] == list(fresh_seeds(2))
        assert 0.97 * 4e5 <= one["flops"] <= 4e5
        accuracies = [training["test_accuracy"] for training in one["trainings"]]
        assert one["accuracy"] == pytest.approx(np.mean(accuracies))
        assert one["interval"][0] < one["accuracy"] < one["interval"][1]
    (between,) = report["differences"]
    assert between["difference"] == pytest.approx(first["accuracy"] - second["accuracy"])
    assert between["tie"] == (between["interval"][0] <= 0 <= between["interval"][1])


def test_a_second_call_reads_nothing_and_prints_what_is_stored(place, finished, capsys):
    out, report = finished
    again = session(place, out, allowed=lambda: False)
    before = (out / "compare.json").read_bytes()
    assert again.run(lambda: False) == (report, 0)
    assert again.guard.reads == 0
    assert (out / "compare.json").read_bytes() == before
    print_report(report)
    shown = capsys.readouterr().out
    for one in report["networks"]:
        assert f"{one['flops']:,}" in shown
        assert re.search(
            rf"{one['name']}: rule {one['rule']} \(.*depth × {one['multipliers']['depth']:.2f}", shown
        )
    assert report["differences"][0]["text"] in shown
    assert "180 test images, read once, after the last of 4 trainings" in shown
    assert "demonstration data" in shown


def test_failed_trainings_are_told_and_leave_the_others_comparable(finished, capsys):
    out, report = finished
    table = rows(out)
    found = entrants(["efficientnet_b0", "mobilenet_v2", "shufflenet_v2_x1_0"], SMALL)
    right = {row["key"]: np.arange(180) % 3 > number % 2 for number, row in enumerate(table)}
    own = [[table[0], {**table[1], "status": "failed", "reason": "non-finite loss"}], table[2:]]
    lost = [{**table[1], "status": "failed", "reason": "non-finite loss"}]
    judged = Judged("test", 180, {key: one for key, one in right.items() if key != table[1]["key"]}, (3,))
    known = SeedNoise(0.006, 6)
    made = make_report(found, [*own, lost], judged, known)
    assert [one["seeds"] for one in made["networks"]] == [1, 2, 0]
    assert made["networks"][0]["trainings"][1] == {
        "seed": table[1]["seed"],
        "status": "failed",
        "reason": "non-finite loss",
        **dict.fromkeys(("val_loss", "val_accuracy", "report_accuracy", "test_accuracy")),
        "seconds": table[1]["seconds"],
    }
    assert made["networks"][2]["accuracy"] is None
    assert [one["second"] for one in made["differences"]] == ["mobilenet_v2_1.0"]
    print_report(report | made)
    assert re.search(r"shufflenet_v2_x1_0 .* 0 +failed", capsys.readouterr().out)
    nothing = make_report(found[::-1], [lost, *own], judged, known)
    assert nothing["differences"] == []  # the first has nothing to be compared by


def test_another_order_compares_anew_from_what_is_known(place, finished, tmp_path):
    out, report = finished
    for file in ("trainings.parquet", "judged.parquet", "compare.json"):
        (tmp_path / file).write_bytes((out / file).read_bytes())
    turned = session(place, tmp_path, allowed=lambda: False, order=-1)
    found, code = turned.run(lambda: False)
    assert (code, turned.guard.reads) == (0, 0)
    (one,), (other,) = report["differences"], found["differences"]
    assert (one["first"], one["difference"]) == (other["second"], pytest.approx(-other["difference"]))


def test_added_seeds_are_judged_alone_and_the_second_look_is_told(place, finished, tmp_path):
    out, report = finished
    for file in ("trainings.parquet", "judged.parquet", "compare.json"):
        (tmp_path / file).write_bytes((out / file).read_bytes())
    longer = session(place, tmp_path, allowed=lambda: len(rows(tmp_path)) == 6, seeds=3)
    found, code = longer.run(lambda: False)
    assert (code, longer.guard.reads, found["judged"]["looks"]) == (0, 1, [4, 2])
    for before, after in zip(report["networks"], found["networks"], strict=True):
        assert after["trainings"][:2] == before["trainings"]
        assert after["seeds"] == 3
    assert "read 2 times, for 4, 2 trainings: those after the first were added" in judged_text(found)


def test_data_without_a_test_part_are_judged_by_the_report_images(place, finished, tmp_path, capsys):
    out, _ = finished
    report, code = session(place, tmp_path, allowed=None, seeds=1).run(lambda: False)
    assert code == 0
    assert (report["judged"]["part"], report["judged"]["images"]) == ("report", len(place[1].report))
    for one in report["networks"]:
        (training,) = one["trainings"]
        assert training["test_accuracy"] is None
        assert one["accuracy"] == pytest.approx(training["report_accuracy"])
    assert "has no test part: accuracies are on the 90 report images" in " ".join(
        capsys.readouterr().err.split()
    )
    assert "as the data have no test part" in judged_text(report)
    with pytest.raises(InputError, match="holds answers on other data"):
        Judgement(out / "judged.parquet", replace(place[1], test=None), "cpu")


def test_nothing_is_judged_too_early_or_without_weights(place, finished, tmp_path):
    _, data, recipe, _ = place
    (tmp_path / "trainings.parquet").write_bytes((finished[0] / "trainings.parquet").read_bytes())
    origin = Origin(documents.plain(asdict(recipe)), data.name, data.fingerprint, {}, "")
    unread = replace(data, test=Guarded(data.test, lambda: False))
    judgement = Judgement(tmp_path / "judged.parquet", unread, "cpu")
    planned = [
        Planned(row["key"], row["name"], json.loads(row["network"]), IMAGES, row["seed"], {})
        for row in rows(tmp_path)
    ]
    with SurveyTable(tmp_path / "trainings.parquet", origin, weights=tmp_path / "weights") as table:
        with pytest.raises(RuntimeError, match="read after the last training, not before"):
            judgement.of([*planned, replace(planned[0], key="another")], table)
        with pytest.raises(InputError, match=r"the weights of plain, seed .* gone before they were judged"):
            judgement.of(planned, table)
