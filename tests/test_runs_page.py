"""The page of several runs as data: its panels, its entries, and which run each trial is of."""

from dataclasses import replace

import pytest
from factories import BUDGET, failed, trial
from test_comparison_page import HALF, other_data, run

from scalesearch import documents
from scalesearch.dashboard.entries import packed
from scalesearch.dashboard.panels.context import Finalist
from scalesearch.dashboard.runs_page import runs_content
from scalesearch.errors import InputError


def content(*runs, recipes=None):
    return runs_content(runs, recipes or ["a recipe"] * len(runs), documents.write_text)


def test_a_page_of_runs_has_their_fronts_their_progress_and_all_their_trials():
    first = run([trial(0, 0.5, level=BUDGET), failed(1)], title="first")
    again = replace(first.context, finalists=(Finalist(0, 0.55, 0.5, 0.6, 3),))
    page = content(replace(first, context=again), run(title="second"))
    assert (page.title, page.eyebrow) == ("first · second", "2 runs side by side")
    assert [panel["title"] for panel in page.panels] == ["Fronts", "Best so far", "All trials"]
    assert [view["name"] for view in page.panels[0]["views"]] == ["FLOPs", "params", "activations"]
    assert [view["name"] for view in page.panels[1]["views"]] == ["trainings", "images", "seconds"]
    assert [(entry["key"], entry["run"], entry["number"]) for entry in page.entries] == [
        ("0:0", 0, 0),
        ("0:1", 0, 1),
        ("1:0", 1, 0),
    ]
    assert [entry["finalist"] is None for entry in page.entries] == [False, True, True]
    assert page.runs == ["first", "second"]
    assert page.parquet is None
    assert packed(page.for_script())


def test_each_point_on_a_page_of_runs_is_one_of_its_entries():
    page = content(run(title="first"), run([trial(3, 0.6, level=HALF)], best=3, **other_data()))
    keys = {entry["key"] for entry in page.entries}
    for panel in page.panels[:2]:
        for view in panel["views"]:
            drawn = {key for trace in view["figure"]["data"] for key in trace["customdata"]}
            assert drawn == keys


def test_recipes_and_demonstration_data_are_told_on_a_page_of_runs():
    assert "they differ in the recipes" in content(run(), run(), recipes=["sgd", "adam"]).screen
    assert content(run(), run()).notice is None
    assert content(run(), replace(run(), notice="demonstration data")).notice == "demonstration data"


def test_a_page_is_of_12_runs_at_most():
    with pytest.raises(InputError, match="at most 12 runs can be told apart, but there are 13"):
        content(*[run()] * 13)
