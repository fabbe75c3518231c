"""Recorded results belong to the documents as they stand."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from scalesearch import documents, load
from scalesearch.search.study import digest

RESULTS = Path(__file__).parent.parent / "studies/results"


@pytest.mark.parametrize("name", ["accuracy_check", "cifar10_small"])
def test_a_recorded_study_is_what_its_documents_would_run(name):
    stored = documents.read(RESULTS / name / "study.yaml")
    study = documents.load_study(name)
    assert stored["space"] == documents.plain(documents.load_space(study.space))
    assert stored["recipe"] == documents.plain(asdict(documents.load_recipe(study.recipe)))
    assert tuple(stored["study"]["rungs"]) == study.rungs


def test_the_accuracy_check_trained_the_proxy_that_the_recipe_makes_of_b0():
    policy = documents.load_recipe("proxy").proxy
    space = documents.load_space("efficientnet_b0")
    candidate = space.draw(lambda name, _domain: pytest.fail(f"{name} is free"))
    proxy = candidate.proxy(policy, policy.flops, 10, 32)
    assert load(RESULTS / "accuracy_check/proxy.yaml") == proxy.network
    assert 0.97 <= proxy.share <= 1


def test_the_recorded_survey_is_of_the_recipe_the_networks_and_the_lengths_of_its_document():
    import pandas as pd

    table = pd.read_parquet(RESULTS / "mixed/trainings.parquet")
    survey = documents.load_survey("mixed")
    recipe = documents.plain(asdict(documents.load_recipe(survey.recipe)))
    assert set(table.recipe) == {digest(recipe)}
    wanted = {(b.images, n, seed) for b in survey.trainings for n in range(b.networks) for seed in b.seeds}
    trained = set(zip(table.images, table.number, table.seed, strict=True))
    assert trained <= wanted
    assert len(trained) == len(table)


def test_the_recorded_trust_report_follows_from_the_recorded_table():
    """Recomputed by scipy from the trainings, so that a swapped sign or rung would show."""
    import pandas as pd
    from scipy.stats import kendalltau, spearmanr

    table = pd.read_parquet(RESULTS / "mixed/trainings.parquet")
    first = table[table.seed == 0]
    losses = {images: rows.set_index("number").val_loss for images, rows in first.groupby("images")}
    report = json.loads((RESULTS / "mixed/trust.json").read_text())
    (signal,) = [s for s in report["signals"] if s["name"] == "20,000 images: validation loss"]
    both = losses[20000].index.intersection(losses[60000].index)
    pair = losses[20000][both], losses[60000][both]
    assert signal["n"] == len(both)
    assert signal["spearman"][0] == pytest.approx(spearmanr(*pair).statistic)
    assert signal["kendall"][0] == pytest.approx(kendalltau(*pair).statistic)


def test_the_headline_study_reports_what_its_trials_say():
    """By pandas: a swapped direction, a wrong rung, or images that choices were made by would show."""
    import pandas as pd

    folder = RESULTS / "cifar10_small"
    trials = pd.read_parquet(folder / "trials.parquet")
    report = json.loads((folder / "report.json").read_text())
    search = trials[trials.role == "search"]
    assert search[search.rung == 0].groupby("arm").size().to_dict() == {"control": 24, "search": 24}
    longest = search[search.rung == search.rung.max()]
    best = longest.loc[longest.val_loss.idxmin()]
    assert report["best"]["trial"] == best.number
    finals = trials[(trials.role == "final") & (trials.number == best.number)]
    assert len(finals) == report["best"]["proxy_seeds"] == 3
    assert report["best"]["proxy_accuracy"] == pytest.approx(finals.report_accuracy.mean())
    low, high = report["best"]["proxy_interval"]
    means = trials[trials.role == "final"].groupby("number").report_accuracy.mean()
    inside = means[(means >= low) & (means <= high)].index
    assert report["best"]["ties"] == sorted(set(inside) - {best.number})
    assert load(folder / "network.yaml").cost().flops == best.flops <= report["budget_flops"]


def test_the_recorded_comparison_follows_from_its_judged_trainings():
    import pandas as pd

    folder = RESULTS / "cifar10_small/compare"
    report = json.loads((folder / "compare.json").read_text())
    trained = pd.read_parquet(folder / "trainings.parquet")
    found, *rivals = report["networks"]
    assert found["flops"] == load(RESULTS / "cifar10_small/network.yaml").cost().flops
    assert len(trained) == 15
    for network in (found, *rivals):
        tested = [one["test_accuracy"] for one in network["trainings"]]
        assert network["accuracy"] == pytest.approx(sum(tested) / 3)
        assert 0.97 * report["budget_flops"] <= network["flops"] <= report["budget_flops"]
    leads = [found["accuracy"] - rival["accuracy"] for rival in rivals]
    assert [one["difference"] for one in report["differences"]] == pytest.approx(leads)


def test_the_recorded_replay_is_what_a_replay_of_the_recorded_table_gives():
    """All 20 pools again, for 20 trainings each: a turned sign or an off-by-one would show."""
    import replay
    import search

    from scalesearch.search.survey import read_survey

    path = RESULTS / "mixed/trainings.parquet"
    stored = json.loads((RESULTS / "mixed/search.json").read_text())
    frame = read_survey(path)
    asked = ["--table", str(path), "--methods", "random,surrogate", "--trainings", "20", "--processes", "1"]
    plan = search.planned(search.parse(asked), frame)
    found = search.short(replay.read_table(frame), 20000, plan)
    assert stored["trainings"] == len(frame)
    assert stored["short"]["networks"] == found["networks"] >= 300
    assert (stored["seeds"], stored["short"]["pool"]) == (20, found["pool"])
    recorded = stored["short"]["methods"]
    for at, _ in enumerate(found["trainings"][:2]):
        for measure in ("loss", "accuracy"):
            random = found["methods"]["random"][measure][at], recorded["random"][measure][at]
            assert random[0] == pytest.approx(random[1])
            low, high = (recorded["surrogate"][measure][at][side] for side in ("low", "high"))
            # Sums in another order on another machine may turn a close choice.
            assert low <= found["methods"]["surrogate"][measure][at]["mean"] <= high
    assert recorded["surrogate"]["loss"][1]["mean"] < recorded["random"]["loss"][1]["mean"] / 2


def test_the_live_runs_say_what_their_trainings_say():
    """By pandas and scipy: an arm taken for the other, or a run for two, would show."""
    import live
    import pandas as pd

    table = pd.read_parquet(RESULTS / "live/trials.parquet")
    recorded = json.loads((RESULTS / "live/live.json").read_text())
    assert live.figures(table) == recorded
    n, last = recorded["trainings"], recorded["after"][-1]
    each = table.sort_values("number").groupby(["run", "arm"]).head(n).groupby(["run", "arm"])
    best = each.val_loss.min().unstack()
    assert len(best) == recorded["runs"] == 5
    assert last["trainings"] == n
    assert last["difference"]["mean"] == pytest.approx((best.control - best.search).mean())
    assert set(table.images) == {20000}
    assert table.proxy_flops.between(0.97 * 1e7, 1e7).all()
    study = documents.load_study("live")
    assert study.control
    assert study.levels == (1.0,)
