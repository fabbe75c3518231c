"""The dashboard's page as text: what it says, and that nothing in it is markup of others."""

import io
import re
from dataclasses import replace

import many
import pandas as pd
import pytest
from factories import BUDGET, HOSTILE, failed, report, trial
from many import records

from scalesearch import documents
from scalesearch.dashboard import theme
from scalesearch.dashboard.first_screen import first_screen
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.context import Context, Reference
from scalesearch.dashboard.run_page import panel_figure, run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report
from scalesearch.errors import InputError
from scalesearch.search.report import parquet

LAYOUT = Layout(tuple(PanelChoice(name) for name in PANELS))


def view_of(trials, best=None, **options):
    summary = summary_from_report(options.pop("report", report(trials, best)), trials)
    context, title = options.pop("context", Context(BUDGET)), options.pop("title", "a run")
    return RunView(title, tuple(trials), context, summary, options.pop("notice", None))


def write(path, trials, best=None, layout=LAYOUT, **options):
    view = view_of(trials, best, **options)
    write_page(path, run_content(view, layout, documents.write_text))
    return path.read_text(encoding="utf-8")


def test_page_answers_the_questions_in_words(tmp_path):
    trials = [trial(0, 0.6), failed(1)]
    page = write(tmp_path / "page.html", trials, best=trials[0], notice="demonstration data: digits")
    deployed = trials[0].deployed
    for words in (
        "demonstration data: digits",
        "1 × fused_mbconv, 1 × mbconv",
        theme.flops_text(deployed.flops),
        f"{theme.percent_text(deployed.flops / BUDGET)} of the budget",
        "61.2 %",
        "<b>60.0 %</b> to <b>62.4 %</b> (95 %), n = 3 trainings",
        "of the proxy",
        "2 ties",
        "1,437",
        "1 × loss is not finite",
    ):
        assert words in page, words


def test_page_without_a_best_or_a_second_training_says_so(tmp_path):
    assert "No trial has ended yet." in write(tmp_path / "empty.html", [])
    record = trial()
    single = report([record], record)
    single["best"] |= {"proxy_seeds": 1, "ties": []}
    page = write(tmp_path / "one.html", [record], report=single)
    assert "n = 1 training<" in page
    assert "It was trained once" in page


def test_page_names_no_address_and_offers_no_upload(tmp_path):
    trials = [trial()]
    page = write(tmp_path / "page.html", trials, best=trials[0])
    body = page.split("<script>")[0]
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", body)
    content = run_content(view_of(trials), LAYOUT, documents.write_text).for_script()
    assert content["config"]["showSendToCloud"] is False
    assert content["config"]["plotlyServerURL"] == ""
    figures = [view["figure"] for panel in content["panels"] for view in panel["views"]]
    assert figures
    assert all("template" not in figure["layout"] for figure in figures)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_escaped_everywhere_on_the_page(tmp_path, text):
    record = trial(0, name=text)
    sized = {**record.deployed.document, "resolution": text}
    record = replace(record, deployed=replace(record.deployed, document=sized))
    trials = [record, failed(1, reason=text)]
    told = report(trials, record, versions={text: text})
    told["data"] |= {"name": text, "fingerprint": text}
    context = Context(BUDGET, (Reference(text, int(BUDGET)),))
    layout = Layout(LAYOUT.panels, title=text)
    options = {"report": told, "layout": layout, "context": context, "title": text, "notice": text}
    page = write(tmp_path / "page.html", trials, **options)
    before, data = page.split('<script type="application/octet-stream" id="data">')
    assert text not in before or "<" not in text
    assert not re.search(r"<(img|a href=.https|b>bold|!--)", before.split("</style>")[1])
    assert before.count("<script") == 0
    assert re.fullmatch("[A-Za-z0-9+/=]+", data.split("</script>")[0])  # packed
    assert page.count("</script>") == 3


def test_a_picture_is_of_a_panel_and_a_view_that_there_are():
    view = view_of([trial(0, 0.5)])
    assert panel_figure(view, LAYOUT, "pareto:params").layout.xaxis.title.text.startswith("deployed params")
    assert panel_figure(view, LAYOUT, "pareto") == panel_figure(view, LAYOUT, "pareto:FLOPs")
    for name, words in (
        ("paretto", "a panel is one of pareto, .* but got 'paretto'"),
        ("pareto:x", "a view of pareto is one of 'FLOPs', .* but got 'x'"),
        ("table", "the panel table lives on a page alone"),
    ):
        with pytest.raises(InputError, match=words):
            panel_figure(view, LAYOUT, name)


def test_five_thousand_trials_fit_in_eight_megabytes(tmp_path):
    """Networks that all differ, the eleven panels of every run, and the table to save."""
    trials = records(5000, 40)
    assert len({str(one.deployed.document["stages"]) for one in trials}) == 5000
    view = view_of(trials, trials[0], context=Context(many.BUDGET))
    table = parquet(trials, documents=False)
    content = run_content(view, documents.load_layout("default"), documents.write_text, table)
    write_page(tmp_path / "page.html", content)
    assert (tmp_path / "page.html").stat().st_size < 8e6


def test_the_table_to_save_is_the_runs_without_choices_and_networks():
    trials = [trial(0, 0.5), failed(1)]
    whole, saved = (pd.read_parquet(io.BytesIO(parquet(trials, documents=kept))) for kept in (True, False))
    assert saved.equals(whole.drop(columns=["params_drawn", "deployed_network", "proxy_network"]))
    assert list(saved["number"]) == [0, 1]


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_without_a_finished_trial_has_a_table_too(kept):
    assert len(pd.read_parquet(io.BytesIO(parquet([], documents=kept)))) == 0


def test_the_first_screen_says_whether_the_run_goes_on_and_which_trials_were_pruned():
    counts = {"complete": 12, "pruned": 8, "failed": 0, "repeated": 1000, "interrupted": 1}
    told = summary_from_report(report([], ended_by="time") | {"trials": counts}, [])
    screen = first_screen(told, [])
    assert "Trials: 12 complete (8 of them pruned), 1,000 repeated, 1 interrupted" in screen
    assert "ended: its time was over" in screen
    assert "1 min 1 s of searching" in screen
    killed = first_screen(replace(told, seconds=0.0, state="cut off: <b>"), [])
    assert "searching" not in killed
    assert "cut off: &lt;b&gt;" in killed


def test_a_page_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write(path, [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_summary_finds_the_best_among_the_trials():
    other, best = trial(0, 0.3), trial(1, 0.6)
    assert summary_from_report(report([other, best], best), [other, best]).best.trial is best
    with pytest.raises(ValueError, match="trial 1, which is not among the 1 records"):
        summary_from_report(report([best], best), [failed(0)])
