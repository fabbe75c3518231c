"""Several runs on one page: who is comparable with whom, fronts, progress and ties by hand."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from factories import BUDGET, HOSTILE, failed, report, trial

from scalesearch.dashboard import comparison as comparisons
from scalesearch.dashboard.comparison import (
    MOST_RUNS,
    Course,
    common_task,
    course,
    differences,
    front,
)
from scalesearch.dashboard.comparison_figures import best_so_far, fronts, look
from scalesearch.dashboard.comparison_screen import COLUMNS, comparison_screen, verdicts
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.panels.pareto_data import FLOPS, PARAMS
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report
from scalesearch.errors import InputError

HALF = BUDGET / 2


def compare(runs, recipes=None):
    return comparisons.compare(runs, ["a recipe"] * len(runs) if recipes is None else recipes)


def run(trials=None, title="a run", rungs=(1000,), interval=(0.58, 0.62), best=0, **changes):
    trials = [trial(0, 0.5, level=BUDGET)] if trials is None else trials
    chosen = next((t for t in trials if t.complete and t.number == best), None)
    content = report(trials, chosen, **changes)
    if chosen is not None:
        low, high = interval
        content["best"] |= {"proxy_accuracy": (low + high) / 2, "proxy_interval": [low, high]}
    context = Context(budget=content["budget_flops"], rungs=rungs)
    return RunView(title, tuple(trials), context, summary_from_report(content, trials))


def other_data(**changes):
    data = {"name": "digits", "train_images": 1437, "val_images": 180, "fingerprint": "fedcba9876543210"}
    return {"data": data | changes}


def cheap_proxies():
    record = trial(0, 0.5, level=BUDGET)
    return [replace(record, proxy=replace(record.proxy, flops=int(record.proxy.flops * 0.9)))]


def points(one, axis):
    return [(point.trial.number, point.cost, point.accuracy) for point in front(one, axis)]


def spent(record, images, seconds, **changes):
    return replace(record, outcome=replace(record.outcome, images=images, seconds=seconds), **changes)


def texts(figures):
    return " ".join(str(fig.to_plotly_json()) for fig in figures.values())


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (run(**other_data()), "the data"),
        (run(**other_data(fingerprint="0123456789abcdef", val_images=90)), "the data"),
        (run(rungs=(2000,)), "the training lengths"),
        (run(budget_flops=HALF), "the budgets"),
        (run(cheap_proxies()), "the costs of the proxies"),
    ],
)
def test_runs_that_differ_in_what_decides_accuracy_never_share_a_picture(other, reason):
    one = run()
    assert differences(one, run()) == []
    assert differences(one, other) == differences(other, one) == [reason]
    comparison = compare([one, other, run()], ["r", "r", "r"])
    assert comparison.groups == ((0, 2), (1,))
    assert comparison.reasons == (reason,)
    assert "not comparable with the others" in verdicts(comparison)[1]
    assert f"they differ in {reason}" in comparison_screen(comparison)


def test_what_is_not_comparable_has_a_picture_of_its_own():
    comparison = compare([run(), run(budget_flops=HALF, **other_data()), run()])
    for figures in (fronts(comparison), best_so_far(comparison)):
        for fig in figures.values():
            assert [trace.yaxis for trace in fig.data] == ["y", "y2", "y"]
            words = "not all runs are comparable, since the data and the budgets differ."
            assert words in fig.layout.title.subtitle.text
            assert len(fig.layout.annotations) == 2


def test_recipes_keep_runs_apart():
    runs = [run(), run()]
    assert compare(runs, ["sgd", "adam"]).reasons == ("the recipes",)
    assert compare(runs, ["sgd", "sgd"]).groups == ((0, 1),)


def test_fronts_by_hand():
    records = [
        trial(0, 0.50, flops=50, level=HALF),
        trial(1, 0.55, flops=49, level=HALF),
        trial(2, 0.54, flops=100, level=BUDGET),
        trial(3, 0.60, flops=101, level=BUDGET),
        trial(4, 0.30, flops=10, level=BUDGET / 8),
        replace(trial(5, 0.99, flops=1), rung=1),
        trial(6, 0.99, flops=1, role="final"),
        replace(trial(7, 0.99, flops=1), repeats=0),
        failed(8, flops=1),
    ]
    params = {0: 9, 1: 8, 2: 7, 3: 20, 4: 30, 5: 1, 6: 1, 7: 1, 8: 1}
    records = [replace(t, deployed=replace(t.deployed, params=params[t.number])) for t in records]
    one = run(records)
    assert points(one, FLOPS) == [(4, 10, 0.3), (1, 49, 0.55), (3, 101, 0.6)]
    assert points(one, PARAMS) == [(2, 7, 0.54), (1, 8, 0.55), (3, 20, 0.6)]


def test_what_is_over_a_limit_is_on_no_front():
    records = [trial(0, 0.5, flops=50, level=BUDGET), trial(1, 0.9, flops=BUDGET + 1, level=BUDGET)]
    assert [number for number, _, _ in points(run(records), PARAMS)] == [0]
    within = run([trial(0, 0.5, level=BUDGET)])
    params = within.trials[0].deployed.params
    limited = replace(within, context=replace(within.context, limits={"params": params - 1}))
    assert points(limited, FLOPS) == []


def test_a_dearer_level_that_is_worse_is_not_on_the_front():
    one = run([trial(0, 0.6, flops=50, level=HALF), trial(1, 0.5, flops=100, level=BUDGET)])
    assert [number for number, _, _ in points(one, FLOPS)] == [0]


def test_the_best_so_far_counts_all_that_the_search_spent():
    records = [
        spent(trial(0, 0.4, level=BUDGET), 1000, 10, finished=5.0),
        spent(trial(1, 0.9, level=HALF), 1000, 20, finished=6.0),  # another level: costs, scores not
        spent(failed(2, level=BUDGET), 500, 5, finished=7.0),
        spent(trial(3, 0.39, level=BUDGET), 1000, 10, finished=8.0),
        spent(trial(4, 0.7, level=BUDGET), 1000, 10, finished=9.0, arm="control"),
        spent(trial(5, 0.7, level=BUDGET), 1000, 10, finished=9.5, repeats=0),
        spent(trial(6, 0.45, level=BUDGET), 1000, 10, finished=10.0),
        spent(trial(0, 0.8, level=BUDGET, role="final"), 1000, 10, finished=11.0),
        spent(trial(7, 0.2, level=BUDGET), 1000, 10, finished=12.0),
    ]
    one = run(records)
    assert common_task([one]) == (BUDGET, 0)
    assert course(one, (BUDGET, 0)) == Course(
        numbers=(0, 6),
        best=(0.4, 0.45),
        spent={
            "trainings": (1.0, 5.0, 6.0),
            "images": (1000.0, 4500.0, 5500.0),
            "seconds": (10.0, 55.0, 65.0),
        },
    )
    fig = best_so_far(compare([one]))["images"]
    assert list(fig.data[0].x) == [1000, 4500, 5500]
    assert list(fig.data[0].y) == [0.4, 0.45, 0.45]
    assert list(fig.data[0].customdata) == ["0:0", "0:6", "0:6"]


def test_progress_is_compared_at_a_level_and_a_rung_that_all_have():
    longer = run([trial(0, 0.5, level=BUDGET), replace(trial(0, 0.7, level=BUDGET), rung=1)])
    shorter = run([trial(0, 0.6, level=BUDGET), trial(1, 0.4, level=HALF)])
    assert common_task([longer]) == (BUDGET, 1)
    assert common_task([longer, shorter]) == (BUDGET, 0)
    assert common_task([longer, shorter, run([])]) == (BUDGET, 0)
    assert common_task([run([trial(0, 0.5, level=HALF)]), longer]) is None
    assert common_task([]) is None


@pytest.mark.parametrize("trials", [[], [failed(0)], [failed(n) for n in range(5)]])
def test_runs_without_a_score_are_named_in_words(trials):
    nothing = compare([run(trials), run(trials)])
    for figures in (fronts(nothing), best_so_far(nothing)):
        assert all("No run has a complete trial yet." in text for text in map(str, figures.values()))
    one_more = compare([run(title="first"), run(trials, title="second")])
    assert verdicts(one_more) == ["not comparable with the others", "nothing yet"]
    for figures in (fronts(one_more), best_so_far(one_more)):
        assert all("yet: second." in fig.layout.title.subtitle.text for fig in figures.values())
    assert "nothing yet, asked for 100 MFLOPs" in comparison_screen(one_more)


def test_no_run_and_one_run():
    assert "No run is given" in comparison_screen(compare([])) + texts(fronts(compare([])))
    assert verdicts(compare([run()])) == ["the only run"]


def test_ties_are_overlapping_intervals():
    runs = [run(interval=ends) for ends in ((0.60, 0.64), (0.57, 0.61), (0.50, 0.56))]
    assert verdicts(compare(runs, ["", "", ""])) == [
        "highest, tie with 2",
        "3.0 points below 1, tie with 1",
        "9.0 points below 1",
    ]
    lower = run([trial(0, 0.5, level=HALF)], interval=(0.7, 0.8))
    assert verdicts(compare([*runs[:2], lower]))[0] == "highest of 1 and 2, tie with 2"
    assert verdicts(compare([*runs[:2], lower]))[2] == "not comparable with the others"


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_first_screen_is_a_table_of_the_runs():
    cells = Cells()
    cells.feed(comparison_screen(compare([run(), run(title="another", interval=(0.4, 0.42))])))
    assert tuple(cells.rows[0]) == COLUMNS
    found, accuracy, verdict, cost, counts, seconds, data = cells.rows[1][1:]
    assert cells.rows[1][0] == "1: a run"
    assert found == "1 × fused_mbconv, 1 × mbconv (trial 0)"
    assert accuracy == "60.0 % 58.0 % to 62.0 % (95 %), 3 trainings"
    assert verdict == "highest"
    assert re.fullmatch(r"[\d.]+ MFLOPs [\d.]+ M params, [\d.]+ M activations", cost)
    ended = "1 min 1 sended: it has the trials that were asked for"
    assert (counts, seconds, data) == ("1 complete", ended, "digits (01234567), 1,437 images")
    assert cells.rows[2][3] == "19.0 points below 1"


def hostile(text):
    record = trial(0, 0.5, level=BUDGET)
    stages = [stage | {"operator": text} for stage in record.deployed.document["stages"]]
    document = record.deployed.document | {"name": text, "stages": stages}
    record = replace(record, deployed=replace(record.deployed, document=document))
    one = run([record], title=text, **other_data(name=text, fingerprint=text))
    return replace(one, summary=replace(one.summary, counts={text: 1}))


def test_hostile_names_stay_text():
    comparison = compare([*map(hostile, HOSTILE), run([], title=HOSTILE[0])])
    cells = Cells()
    cells.feed(comparison_screen(comparison))
    plain = {"main", "section", "h2", "table", "thead", "tbody", "tr", "th", "td", "p", "span", "b", "br"}
    assert set(cells.tags) <= plain
    assert cells.tags.count("b") == 2 * len(HOSTILE)  # accuracy and cost
    for text, row in zip(HOSTILE, cells.rows[1:], strict=False):
        assert text in row[0]
    drawn = (texts(fronts(comparison)) + texts(best_so_far(comparison))).replace("<br>", "")
    assert "<" not in drawn


def test_up_to_12_runs_can_be_told_apart():
    looks = [look(place) for place in range(MOST_RUNS)]
    assert len({(colour, symbol) for colour, symbol, _ in looks}) == MOST_RUNS
    assert len({(colour, dash) for colour, _, dash in looks}) == MOST_RUNS
    assert [name[0] for name in looks[:4]] == list(dict.fromkeys(colour for colour, _, _ in looks))
    comparison = compare([run(title=f"run {n}") for n in range(MOST_RUNS)], ["same"] * MOST_RUNS)
    fig = fronts(comparison)["FLOPs"]
    assert [trace.name for trace in fig.data] == [f"{n + 1}: run {n}" for n in range(MOST_RUNS)]
    assert [trace.customdata[0] for trace in fig.data] == [f"{n}:0" for n in range(MOST_RUNS)]
    with pytest.raises(InputError, match="at most 12 runs can be told apart, but there are 13"):
        compare([run()] * 13)


def test_12_runs_apart_have_a_picture_each():
    comparison = compare([run(budget_flops=BUDGET * (n + 1)) for n in range(MOST_RUNS)])
    for fig in (*fronts(comparison).values(), *best_so_far(comparison).values()):
        assert len({trace.yaxis for trace in fig.data}) == MOST_RUNS
        domains = sorted(fig.layout[f"yaxis{n or ''}"].domain for n in (0, *range(2, MOST_RUNS + 1)))
        assert all(high - low > 0.03 for low, high in domains)


def test_runs_of_5000_trials_are_drawn_at_once():
    runs = [
        run(
            [
                trial(n, 0.3 + (n * 7919 % 5000) / 20000, flops=int(BUDGET) - n, level=BUDGET)
                for n in range(5000)
            ]
        )
        for _ in range(2)
    ]
    begun = time.process_time()
    comparison = compare(runs)
    drawn = {**fronts(comparison), **best_so_far(comparison)}
    assert time.process_time() - begun < 3  # measured: 0.5 s
    assert max(len(trace.x) for fig in drawn.values() for trace in fig.data) < 100
