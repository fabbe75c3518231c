"""`scalesearch status`: the first screen in the terminal, of real folders, whatever their state and names."""

import io
import json
import re
import signal
import time
from dataclasses import replace

import pytest
from factories import failed
from rich.console import Console
from test_command import call, start
from test_folder import asked, begin, complete, ended, finished, promoted, record_of
from test_imports import command, loaded

from scalesearch.cli.folder import RunFolder
from scalesearch.cli.status_screen import screen, to_json
from scalesearch.search.store import RECORD, STUDY, RunStore

assert finished  # the fixture

HOSTILE = (
    "[bold red]x[/bold red] [link=https://a.example]y[/link] \x1b[31m\x1b]0;title\x07 \u202edcba <script>"
)


def shown(folder, width=80, **options):
    console = Console(file=io.StringIO(), width=width, **options)
    console.print(screen(folder))
    return console.file.getvalue()


def joined(text):
    return " ".join(text.split())


def test_the_first_screen_answers_what_how_good_at_what_cost_and_how_sure(finished):
    folder = RunFolder(finished[0])
    report, text = folder.report(), joined(shown(folder))
    best = report["best"]
    low, high = best["proxy_interval"]
    assert f"trial_{best['trial']}, trial {best['trial']}, input {best['resolution']} px" in text
    assert f"{100 * best['proxy_accuracy']:.1f} % {100 * low:.1f} % to {100 * high:.1f} % (95 %)" in text
    assert "n = 2 trainings" in text
    assert f"{100 * best['flops'] / 2e9:.1f} % of the budget, 2.00 GFLOPs" in text
    ties = len(best["ties"])
    assert (f"{ties} tie" if ties else "no other candidate") in text
    assert report["evidence"]["outlook"]["text"] in text
    assert "digits (scikit-learn): " in text
    assert "stands in for real photographs" in text
    assert f"{report['trials']['complete']} complete" in text
    assert "1 × RuntimeError: a broken training of something" in text
    assert "ended: it has the trials that were asked for" in text
    for number, stage in enumerate(folder.view().summary.best.trial.deployed.document["stages"], 1):
        row = rf"{number} +{stage['operator']} +{stage['channels']} +{stage['repeats']} "
        assert re.search(row, shown(folder)), row


@pytest.mark.parametrize("width", [80, 40, 100])
def test_no_line_is_wider_than_the_terminal(finished, width):
    assert max(len(line) for line in shown(RunFolder(finished[0]), width).splitlines()) <= width


def test_names_are_never_markup_and_cannot_steer_the_terminal(tmp_path):
    definition = begin(tmp_path)
    definition.resolved["data"]["name"] = HOSTILE
    (tmp_path / STUDY).write_text((tmp_path / STUDY).read_text().replace("digits (scikit-learn)", "named"))
    hostile = complete(0, 0.6, name=HOSTILE)
    stages = [dict(stage, operator=HOSTILE) for stage in hostile.deployed.document["stages"]]
    document = hostile.deployed.document | {"stages": stages, "resolution": HOSTILE}
    hostile = replace(hostile, deployed=replace(hostile.deployed, document=document))
    seen = record_of(tmp_path, asked(0), asked(1), ended(hostile), ended(failed(1, reason=HOSTILE)))
    seen.facts = replace(seen.facts, study=HOSTILE, data={**seen.facts.data, "name": HOSTILE})
    plain, coloured = shown(seen), shown(seen, force_terminal=True, color_system="standard")
    assert plain.count("[bold red]x[/bold red]") >= 4  # title, name, reason, data
    assert not {"\x1b", "\x07", "\u202e"} & set(plain)
    # Rich's own colours are all that is left, and none of them is the name's.
    left = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert not {"\x1b", "\x07", "\u202e"} & set(left)
    assert left == plain


def test_states_without_a_result_are_told_in_words(tmp_path):
    begin(tmp_path)
    text = joined(shown(record_of(tmp_path)))
    assert "No trial has ended yet." in text
    assert "the best network within 2.00 GFLOPs" in text
    assert "not running; no training was begun" in text
    assert "Trials none yet" in text
    text = joined(shown(record_of(tmp_path, asked(0), ended(failed(0, reason="loss is not finite")))))
    assert "No trial is complete. The only trial failed: loss is not finite" in text
    assert "cut off" in text
    end = {"event": "ended", "ending": "exhausted", "seconds": 1.0, "machine": "m"}
    text = joined(shown(record_of(tmp_path, end)))
    assert "No candidate could be fitted to the limits." in text
    text = joined(shown(record_of(tmp_path, asked(0), ended(complete(0, 0.6)))))
    assert "trained once" in text


def test_a_run_that_goes_on_says_for_how_long_and_what_it_trains(tmp_path):
    begin(tmp_path)
    seen = record_of(tmp_path, asked(0), asked(1), ended(complete(0)), promoted(0, 1))
    assert "2 trainings left to do" in joined(shown(seen))
    with RunStore(tmp_path):
        text = joined(shown(seen))
        assert re.search(r"running for [0-9]+ s \(process [0-9]+\)", text)
        assert "2 trainings under way: trial 1 on 1,000 images and trial 0 on 3,000 images" in text
        assert "interrupted" not in text
        assert to_json(seen)["running"] is True
    (tmp_path / "driver.lock").write_text("process 7 on elsewhere\n")
    assert "begun by process 7 on elsewhere: whether it goes on cannot be seen" in joined(shown(seen))


def test_json_is_one_object_with_the_report(finished):
    code, out, err = call("status", finished[0], "--json", cwd=finished[0])
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["schema"] == 1
    assert told["running"] is False
    assert told["report"] == json.loads(json.dumps(RunFolder(finished[0]).report()))
    assert told["failures"] == [{"reason": "RuntimeError: a broken training of something", "count": 1}]
    assert told["without_result"] == []


def test_what_cannot_be_shown_is_one_line_on_stderr(tmp_path):
    code, out, err = call("status", tmp_path / "nothing", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == f"error: {tmp_path / 'nothing'}: there is no such run folder\n"
    code, out, err = call("status", tmp_path, "--json", "--watch", cwd=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_status_starts_without_what_trains_or_proposes(finished):
    """Plotly is there for its palette alone; torch, Optuna, pandas and scikit-learn would take seconds."""
    assert set(loaded(command("status", str(finished[0])))) <= {"scipy", "plotly"}


def test_watching_shows_what_comes_until_ctrl_c(finished, tmp_path):
    lines = (finished[0] / RECORD).read_bytes().splitlines(keepends=True)
    (tmp_path / STUDY).write_bytes((finished[0] / STUDY).read_bytes())
    (tmp_path / RECORD).write_bytes(b"")
    process = start("status", tmp_path, "--watch", cwd=tmp_path)
    time.sleep(2.5)
    (tmp_path / RECORD).write_bytes(b"".join(lines))
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert joined(out.splitlines()[0]).startswith("small: 2.00 GFLOPs")
    assert f"{RunFolder(finished[0]).report()['trials']['complete']} complete" in out
