"""The law of families: members of many sizes, a known law found again, evidence rules, runs as families."""

import json
import math
from dataclasses import asdict
from functools import cache

import pytest
from images import write_classes
from known_laws import law_engine

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.architecture.proxy import ProxyPolicy, total_stride
from scalesearch.architecture.scaling import Coefficients
from scalesearch.architecture.space import Candidate
from scalesearch.cli.law import law
from scalesearch.cli.law_families import distinct, of_network, of_run
from scalesearch.cli.law_session import LawSession, Request
from scalesearch.cli.law_tables import print_report
from scalesearch.cli.survey_session import Call
from scalesearch.errors import InputError
from scalesearch.search.law import FEWEST_DECADES, InsufficientEvidence
from scalesearch.search.members import Family, check_sizes, default_range, members, sizes_between
from scalesearch.search.survey import read_survey
from scalesearch.training.process import usable_cores

POLICY = ProxyPolicy()
TRUTH = (12.0, 0.25, 0.1)  # a, b, c


@cache
def sizes_of(name, count=6):
    return members(of_network(name), sizes_between(*default_range(POLICY), count), POLICY, 10, 32)


# Members


@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "efficientnet_v2_s", "shufflenet_v2_x1_0", "mobilenet_v2"]
)
def test_default_members_span_the_decades_that_a_law_needs(name):
    found = sizes_of(name)
    costs = [one.fit.network.cost().flops for one in found]
    assert all(0.97 * one.target <= cost <= one.target for one, cost in zip(found, costs, strict=True))
    assert math.log10(costs[-1] / costs[0]) >= FEWEST_DECADES
    assert found[-1].target == pytest.approx(4 * POLICY.flops)
    assert 7.5 <= POLICY.flops / found[0].target <= 8.5
    assert all(20 <= one.fit.network.resolution <= 32 for one in found)
    assert all(total_stride(one.fit.network) <= POLICY.total_stride for one in found)
    check_sizes(found)


def test_members_are_one_family_in_one_schedule():
    family = of_network("efficientnet_b0")
    assert family.candidate.coefficients == Coefficients()
    for one in sizes_of("efficientnet_b0"):
        network = one.fit.network
        assert network.classes == 10
        assert network.drop_path == network.head.dropout == 0
        assert len(network.stages) == len(family.candidate.base.stages)
    phis = [one.fit.phi for one in sizes_of("efficientnet_b0")]
    assert phis == sorted(phis)


def test_a_size_out_of_reach_is_refused():
    with pytest.raises(InputError, match=r"--from: mobilenet_v3_large has no member of 20,000 .* at 20 px"):
        members(of_network("mobilenet_v3_large"), [2e4, 1e7], POLICY, 10, 32)
    with pytest.raises(InputError, match="--sizes: efficientnet_b0 has one network for two sizes"):
        members(of_network("efficientnet_b0"), [1e7, 1.0000001e7], POLICY, 10, 32)


@pytest.mark.parametrize(
    ("count", "low", "message"),
    [(5, 1.2e6, "a law needs at least 6 sizes, got 5"), (6, 1e7, "span at least 1.5 decades, got 0.6")],
)
def test_too_few_sizes_are_refused_with_the_laws_rule(tmp_path, pictures, count, low, message):
    with pytest.raises(InsufficientEvidence, match=message):
        session(pictures, tmp_path / "found", sizes=count, low=low).run(lambda: False)
    assert not (tmp_path / "found").exists()


# The whole session, with a formula in place of the training


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("pictures"), {"cat": 20, "dog": 20})


def session(
    pictures,
    folder,
    names=("efficientnet_b0",),
    seeds=3,
    sizes=6,
    low=None,
    budget=1e8,
    noise=0.01,
    fail=(),
    families=None,
):
    families = families or tuple(of_network(name) for name in names)
    request = Request(families, budget, sizes, low, None, seeds, 200)
    call = Call(str(pictures), 50.0, "cpu", usable_cores(), str(folder))
    return LawSession(request, call, law_engine(*TRUTH, size=noise, fail=fail))


def curve(macs, factor=1.0):
    a, b, c = TRUTH
    return factor * a * macs**-b + c


def test_a_session_finds_a_known_law_and_its_hold_out_error(tmp_path, pictures, capsys):
    folder = tmp_path / "found"
    names = ("efficientnet_b0", "efficientnet_v2_s")
    report, code = session(pictures, folder, names).run(lambda: False)
    assert code == 0
    assert json.loads((folder / "law.json").read_text()) == json.loads(json.dumps(report))
    for family, factor in zip(report["families"], (1.0, 1.2), strict=True):
        found = family["law"]
        for name, true in zip("abc", (factor * TRUTH[0], *TRUTH[1:]), strict=True):
            value, low, high = found[name]
            assert low <= true <= high
            assert low <= value <= high
        assert found["n"] == 18
        largest = max(point["flops"] for point in family["points"])
        held = found["hold_out"]
        assert held["size"] == largest
        assert held["actual"] == pytest.approx(curve(largest, factor), rel=0.01)
        assert held["error"] == pytest.approx(held["predicted"] - held["actual"])
        assert abs(held["error"]) < 0.05 * held["actual"]
        assert found["supported_to"] == 4 * largest
        value, low, high = found["at_budget"]["error"]
        assert low < value < high
        assert value == pytest.approx(curve(1e8, factor), rel=0.03)
    table = read_survey(folder / "trainings.parquet")
    assert list(table["seed"]) == [0] * 12 + [1] * 12 + [2] * 12  # all sizes of all families at seed 0 first
    print_report(report)
    shown = " ".join(capsys.readouterr().out.split())
    assert "efficientnet_v2_s (EfficientNet's coefficients): error = " in shown
    assert "not supported by evidence beyond" in shown
    assert "without the largest size" in shown
    assert "large ones on no more than small ones" in shown


def test_nothing_is_read_beyond_what_is_supported(tmp_path, pictures, capsys):
    report, code = session(pictures, tmp_path / "found", budget=2e9).run(lambda: False)
    assert code == 0
    assert report["families"][0]["law"]["at_budget"] == {"supported": False, "error": None}
    print_report(report)
    assert "2,000,000,000 multiply-accumulates: not supported by evidence" in capsys.readouterr().out


def test_what_is_missing_is_said_and_more_seeds_extend_a_folder(tmp_path, pictures, capsys):
    folder = tmp_path / "found"
    asked = iter(range(100))
    report, code = session(pictures, folder, seeds=2).run(lambda: next(asked) >= 4)
    assert (code, report["left"]) == (130, 8)
    report, code = session(pictures, folder, seeds=2).run(lambda: False)
    rule = "a law needs at least 3 seeds of each size, got 2 of size"
    assert code == 1
    assert report["families"][0]["law"] is None
    assert rule in report["families"][0]["missing"]
    assert rule in " ".join(capsys.readouterr().err.split())
    first = list(read_survey(folder / "trainings.parquet")["key"])
    report, code = session(pictures, folder, seeds=3).run(lambda: False)
    assert (code, report["trainings"]) == (0, 18)
    assert list(read_survey(folder / "trainings.parquet")["key"])[:12] == first


def test_a_failed_training_is_a_seed_that_is_missing(tmp_path, pictures):
    report, code = session(pictures, tmp_path / "found", fail=(3,)).run(lambda: False)
    assert (code, report["failed"], report["trainings"]) == (1, 1, 17)
    assert "got 2 of size" in report["families"][0]["missing"]
    assert [len(point["errors"]) for point in report["families"][0]["points"]] == [3, 3, 2, 3, 3, 3]


# Families of runs


@pytest.fixture
def run_folder(tmp_path):
    """A run folder with two trials of the default space: number 4 is the better."""
    from factories import trial

    space = documents.load_space("mixed")
    folder = tmp_path / "run"
    folder.mkdir()
    lines, drawn = [], {}
    for number, accuracy in ((2, 0.5), (4, 0.6)):
        params = {}

        def suggest(name, domain, params=params, number=number):
            samples = list(domain.samples())
            params[name] = samples[number % len(samples)]
            return params[name]

        candidate = space.draw(suggest)
        record = asdict(trial(number, accuracy)) | {"params": params}
        record["coefficients"] = asdict(candidate.coefficients)
        lines.append(json.dumps({"event": "finished", "trial": record}))
        drawn[number] = candidate
    (folder / "record.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "study.yaml").write_text(documents.write_text({"space": documents.plain(space), "lag": 1}))
    return folder, drawn


def test_a_trial_is_the_family_that_was_searched(run_folder):
    folder, drawn = run_folder
    best, named = of_run(str(folder)), of_run(f"{folder}:2")
    assert (best.candidate, best.name) == (drawn[4], "run_trial4")
    assert (named.candidate, named.source) == (drawn[2], "trial 2 of run")
    assert named.candidate != best.candidate
    with pytest.raises(InputError, match="has no trial 3"):
        of_run(f"{folder}:3")
    with pytest.raises(InputError, match="--run is a run folder, or one with a trial's number"):
        of_run(f"{folder}:best")
    with pytest.raises(InputError, match=r"holds record\.jsonl"):
        of_run(str(folder.parent / "none"))


def test_coefficients_that_were_found_make_a_family(tmp_path, pictures):
    folder = tmp_path / "mine"
    folder.mkdir()
    base = documents.load("mobilenet_v2")
    found = {"alpha": [1.3, 1.2, 1.4], "beta": [1.2, 1.1, 1.3], "gamma": [1.05, 1.0, 1.1]}
    report = {"coefficients": found, "document": to_document(base), "missing": None}
    (folder / "coefficients.json").write_text(json.dumps(report | {"schema": 1}))
    family = of_run(str(folder))
    assert family.candidate == Candidate(base, Coefficients(1.3, 1.2, 1.05))
    result, code = session(pictures, tmp_path / "found", families=(family,)).run(lambda: False)
    assert code == 0
    assert result["families"][0]["coefficients"] == {"alpha": 1.3, "beta": 1.2, "gamma": 1.05}
    too_few = report | {"coefficients": None, "missing": "6 coefficients need at least 8 points, got 3"}
    (folder / "coefficients.json").write_text(json.dumps(too_few | {"schema": 1}))
    with pytest.raises(InputError, match="has no coefficients yet: 6 coefficients need"):
        of_run(str(folder))


# The command


def test_families_are_different():
    family = Family("one", Candidate(documents.load("mobilenet_v2"), Coefficients()), "")
    with pytest.raises(InputError, match="but one is given twice"):
        distinct([family, family])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": []}, "a law is of a family: give a network, or --run"),
        ({"low": "few"}, "--from must be a number"),
        ({"high": "-1"}, "--to must be positive"),
        ({"networks": ["mobilenet_v2", "mobilenet_v2"]}, "mobilenet_v2.* is given twice"),
        ({"networks": ["shufflenet3d_v2"]}, "trainings are on colour images, but .* is for others"),
        ({"low": "5e6", "high": "4e6"}, "--from must be below --to, but got 5,000,000 and 4,000,000"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message, pictures):
    given = {"networks": ["efficientnet_b0"], "low": None, "high": None, "data": str(pictures), **options}
    empty = dict.fromkeys(("runs", "budget_flops", "time", "out"))
    with pytest.raises(InputError, match=message):
        law(**empty, **given, workers="1", device="cpu", sizes=6, seeds=3, images=100)
