"""`scalesearch dashboard` as a user gives it: what it writes, what it draws, and what it refuses."""

import json
import os
import shutil
from pathlib import Path

import pytest
from browser import programs
from conftest import unavailable
from test_command import call
from test_folder import copied, finished

from scalesearch.cli.dashboard import dashboard
from scalesearch.cli.outputs import stored_report
from scalesearch.cli.run_report import REPORT
from scalesearch.errors import InputError
from scalesearch.search.store import RECORD, STUDY

assert finished  # the fixture

RESULTS = Path(__file__).parent.parent / "studies/results"
TEAM = "title: Team overview\npanels:\n  - panel: pareto\n  - {panel: importance, options: {top: 3}}\n"


@pytest.fixture
def run(finished, tmp_path):
    """The folder of a run as a killed driver leaves it: a record and a study, and no outputs."""
    return copied(finished, tmp_path / "run", (finished[0] / RECORD).read_bytes()).parent


def test_a_page_is_written_into_the_run_and_nothing_else_changes(run):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert call("dashboard", run, cwd=run.parent) == (0, f"{run / 'dashboard.html'}\n", "")
    page = (run / "dashboard.html").read_text(encoding="utf-8")
    assert "small: 2.00 GFLOPs on digits (scikit-learn)" in page
    assert "ended: it has the trials that were asked for" in page
    (run / "dashboard.html").unlink()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_page_of_ones_own_layout_is_written_where_it_is_asked_for(run):
    (run.parent / "team.yaml").write_text(TEAM)
    code, out, err = call("dashboard", "run", "--layout", "team.yaml", "--out", "a.html", cwd=run.parent)
    assert (code, out, err) == (0, "a.html\n", "")
    assert "Team overview" in (run.parent / "a.html").read_text(encoding="utf-8")
    assert not (run / "dashboard.html").exists()


def test_several_runs_are_one_page_here(run):
    shutil.copytree(run, run.parent / "other")
    assert call("dashboard", "run", "other", cwd=run.parent) == (0, "runs.html\n", "")
    page = (run.parent / "runs.html").read_text(encoding="utf-8")
    assert "2 runs side by side" in page
    assert page.count("small: 2.00 GFLOPs on digits (scikit-learn)") >= 4  # the title, and a row each


def test_a_picture_is_named_after_the_folder_however_it_is_given(run):
    if programs() is None:
        unavailable("Chromium (Debian: apt-get install chromium)")
    code, out, err = call("dashboard", ".", "--svg", "pareto:params", cwd=run)
    assert (code, out, err) == (0, "run-pareto-params.svg\n", "")
    assert "deployed params" in (run / "run-pareto-params.svg").read_text(encoding="utf-8")


def test_a_layout_that_is_not_here_any_more_is_told(run, capsys):
    study = run / STUDY
    study.write_text(study.read_text().replace("dashboards/default.yaml", "dashboards/team.yaml"))
    assert "team.yaml" in study.read_text()
    dashboard([str(run)])
    out, err = capsys.readouterr()
    assert out == f"{run / 'dashboard.html'}\n"
    assert err == "the run's dashboard 'team' is not found here: the default one is shown\n"


@pytest.mark.parametrize(
    ("runs", "options", "words"),
    [
        (1, {"out": Path("a.html"), "serve": True}, "--out names the page's file"),
        (1, {"out": Path("a.html"), "svg": ["pareto"]}, "--out names the page's file"),
        (1, {"png": ["pareto"], "serve": True}, "give --png, --svg or --serve"),
        (2, {"layout": "default"}, "--layout: a dashboard is of one run"),
        (2, {"png": ["pareto"]}, "draw panels of one run, but 2 are given"),
        (1, {"out": Path("none/a.html")}, "none/a.html cannot be written: No such file"),
        (1, {"layout": "none.yaml"}, "none.yaml"),
        (1, {"svg": ["paretto"]}, "a panel is one of pareto"),
    ],
)
def test_what_would_be_left_out_is_refused_in_one_line(run, runs, options, words, monkeypatch):
    monkeypatch.chdir(run.parent)
    before = sorted(run.rglob("*"))
    with pytest.raises(InputError, match=words) as error:
        dashboard(["run"] * runs, **options)
    assert "\n" not in str(error.value)
    assert sorted(run.rglob("*")) == before


def test_a_survey_beside_several_runs_and_one_alone_are_refused(run):
    with pytest.raises(InputError, match="a survey of trust goes with one run, but several are given"):
        dashboard([str(run), str(run), str(RESULTS / "mixed")])
    with pytest.raises(InputError, match="at least one run folder is needed"):
        dashboard([str(RESULTS / "mixed")])


def test_a_page_of_the_command_is_no_sign_that_a_run_wrote_its_outputs(run):
    dashboard([str(run)])
    assert stored_report(run) is None
    (run / REPORT).write_text(json.dumps({"schema": 1}))
    assert stored_report(run) == {"schema": 1}
    os.utime(run / REPORT, ns=(0, (run / RECORD).stat().st_mtime_ns - 1))  # the record has grown since
    assert stored_report(run) is None
