"""The table of trials in a real browser: sorted, filtered, saved, and its rows chosen."""

import csv
import io
import time
from base64 import b64encode
from dataclasses import replace

import pandas as pd
import pytest
from browser import resize
from factories import BUDGET, HOSTILE, failed, trial
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch.dashboard.content import Content, panel_data
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels.context import Finalist
from scalesearch.dashboard.panels.table import table
from scalesearch.dashboard.panels.timeline import timeline

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1")
FINALISTS = (Finalist(2, 0.61, 0.6, 0.62, 3),)


def open_table(chrome, path, trials, *, runs=("a run",), parquet=None, width=1280, finalists=FINALISTS):
    """Open a page with a timeline, whose bars are trials, and a table; several runs have the same trials."""
    timed = [replace(t, started=1e9 + 10 * t.number, finished=1e9 + 10 * t.number + 9) for t in trials]
    several = len(runs) > 1
    content = Content(
        title="a run",
        eyebrow="test",
        screen="",
        panels=[panel_data(0, timeline(timed)), panel_data(1, table(trials))],
        entries=[
            entry
            for number, _ in enumerate(runs)
            for entry in entries(trials, finalists, str, number, several, BUDGET)
        ],
        runs=list(runs),
        parquet=parquet,
    )
    write_page(path, content)
    resize(chrome, width)
    show(chrome, path)


def show(chrome, path):
    chrome.get(path.as_uri())
    WebDriverWait(chrome, 20).until(words)


@pytest.fixture(scope="module")
def six_written(chrome, tmp_path_factory):
    path = tmp_path_factory.mktemp("six") / "page.html"
    open_table(chrome, path, six())
    return path


@pytest.fixture
def opened(chrome, six_written):
    """A page of six trials as it is at first."""
    show(chrome, six_written)


def words(chrome):
    return chrome.execute_script("return document.querySelector('#panel-1 [role=status]')?.textContent")


def column(chrome, name):
    """Return the texts of a column of the rows that are shown."""
    script = """
        const heads = [...document.querySelectorAll(".trials thead th")];
        const at = heads.findIndex((head) => head.textContent.replace(/ [▲▼]/, "") === arguments[0]);
        return [...document.querySelectorAll(".trials tbody tr")].map((row) => row.children[at].textContent);
    """
    return chrome.execute_script(script, name)


def press(chrome, text):
    script = """
        const buttons = [...document.querySelectorAll("#panel-1 button")];
        buttons.find((button) => button.textContent.startsWith(arguments[0])).click();
    """
    chrome.execute_script(script, text)


def buttons(chrome):
    return [
        button.text
        for button in chrome.find_elements("css selector", "#panel-1 .tools button")
        if button.text
    ]


def search(chrome, text):
    script = """
        const input = document.querySelector("#panel-1 input");
        input.value = arguments[0];
        input.dispatchEvent(new Event("input"));
    """
    chrome.execute_script(script, text)


def saved(chrome, folder, name):
    """Return the bytes of a file that a button saves."""
    folder.mkdir(exist_ok=True)
    (folder / name).unlink(missing_ok=True)
    where = {"behavior": "allow", "downloadPath": str(folder)}
    chrome.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    press(chrome, "CSV" if name.endswith("csv") else "Parquet")
    WebDriverWait(chrome, 10).until(
        lambda _: (folder / name).is_file() and not list(folder.glob("*.crdownload"))
    )
    return (folder / name).read_bytes()


def rows_of(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))


def six():
    accuracies = (0.5, 0.42, 0.6, None, 0.55, 0.3)
    records = [
        failed(n, "loss is not finite", level=BUDGET)
        if accuracy is None
        else trial(n, accuracy, level=BUDGET, flops=10**7 * (6 - n), seconds=10.0 * n)
        for n, accuracy in enumerate(accuracies)
    ]
    return [replace(record, arm="control" if record.number % 2 else "search") for record in records]


def test_columns_sort_both_ways_and_rows_without_a_value_stay_last(chrome, opened):
    assert column(chrome, "trial") == ["0", "1", "2", "3", "4", "5"]
    press(chrome, "accuracy")
    assert column(chrome, "accuracy") == ["60.0 %", "55.0 %", "50.0 %", "42.0 %", "30.0 %", ""]
    press(chrome, "accuracy")
    assert column(chrome, "trial") == ["5", "1", "0", "4", "2", "3"]
    head = chrome.find_element("css selector", "th[aria-sort]")
    assert (head.get_attribute("aria-sort"), head.get_attribute("scope")) == ("ascending", "col")
    assert chrome.switch_to.active_element.text.startswith("accuracy")
    press(chrome, "arm")
    assert column(chrome, "arm") == ["control"] * 3 + ["search"] * 3
    press(chrome, "trial")
    press(chrome, "trial")
    assert column(chrome, "trial") == ["5", "4", "3", "2", "1", "0"]
    assert column(chrome, "trained again")[3] == "61.0 % (60.0 % to 62.0 %), n = 3"
    assert column(chrome, "status")[2] == "failed: loss is not finite"
    assert chrome.get_log("browser") == []


def test_the_filter_finds_every_word_in_any_cell(chrome, opened):
    for text, expected in (
        ("FINITE", ["3"]),
        ("control 42.0", ["1"]),
        ("10.0 MFLOPs", ["5"]),
        ("mbconv", ["0", "1", "2", "3", "4", "5"]),
        ("", ["0", "1", "2", "3", "4", "5"]),
    ):
        search(chrome, text)
        assert column(chrome, "trial") == expected, text
    search(chrome, "nowhere")
    assert words(chrome) == "No trial fits the filter."
    assert not chrome.find_element("css selector", ".trials").is_displayed()


def test_the_rows_become_the_filter_of_the_page_and_follow_it(chrome, opened):
    faded = """
        const bars = [...document.querySelectorAll("#panel-0 .points .point path")];
        return bars.filter((bar) => Number(getComputedStyle(bar).opacity) < 0.5).length;
    """
    search(chrome, "control")
    assert chrome.execute_script(faded) == 0
    press(chrome, "Filter the page to these rows")
    assert chrome.execute_script(faded) == 3
    assert words(chrome) == "3 of 6 trials; the page's filter keeps 3"
    search(chrome, "")
    assert column(chrome, "trial") == ["1", "3", "5"]
    press(chrome, "Clear the page's filter")
    assert chrome.execute_script(faded) == 0
    assert column(chrome, "trial") == ["0", "1", "2", "3", "4", "5"]


def test_a_row_opens_its_trial_by_pointer_and_by_keyboard(chrome, opened):
    current = "return document.querySelector('.trials [aria-current]')?.querySelector('th').textContent"
    assert chrome.execute_script(current) is None
    chrome.find_elements("css selector", ".trials tbody tr")[4].click()
    assert chrome.execute_script(current) == "4"
    chrome.execute_script("document.querySelector('.trials tbody tr:nth-child(3) button').focus()")
    chrome.switch_to.active_element.send_keys("\n")
    assert chrome.execute_script(current) == "2"
    assert chrome.get_log("browser") == []


def test_csv_holds_the_filtered_rows_with_all_digits(chrome, opened, tmp_path):
    press(chrome, "accuracy")
    search(chrome, "search")
    assert "CSV (3 rows)" in buttons(chrome)
    assert not any(text.startswith("Parquet") for text in buttons(chrome))
    content = saved(chrome, tmp_path / "saved", "trials.csv")
    rows = rows_of(content)
    assert [row["trial"] for row in rows] == ["2", "4", "0"]
    best = rows[0]
    assert (best["accuracy"], best["FLOPs"], best["seconds"]) == ("0.6", "40000000", "20")
    assert (best["interval_low"], best["interval_high"], best["repeated_trainings"]) == ("0.6", "0.62", "3")
    assert best["repeated_accuracy"] == "0.61"
    assert rows[1]["interval_low"] == rows[1]["repeated_accuracy"] == ""
    assert content.count(b"\r\n") == 4
    search(chrome, "")
    assert len(rows_of(saved(chrome, tmp_path / "saved", "trials.csv"))) == 6


def test_no_cell_of_the_csv_is_a_formula(chrome, tmp_path):
    texts = (*FORMULAS, 'quote " and, comma', "a\nbreak", "a;=1+1", 'a;"=1+1"', "a\t@b", "a b=c; d-e")
    records = [failed(n, text, name=text, level=BUDGET) for n, text in enumerate(texts)]
    records.append(trial(len(texts), -0.5, level=BUDGET, name="plain"))
    open_table(chrome, tmp_path / "page.html", records)
    content = saved(chrome, tmp_path / "saved", "trials.csv")
    rows = rows_of(content)
    assert [row["reason"] for row in rows][:4] == ["'=1+1", "'+1", "'-1", "'@SUM(A1)"]
    assert rows[5]["reason"] == 'quote " and, comma'
    assert rows[10]["reason"] == "a b=c; d-e"
    assert rows[-1]["accuracy"] == "-0.5"  # a number is no text
    # A spreadsheet of another locale divides at semicolons, and a reader may choose tabs.
    text = content.decode("utf-8").replace("-0.5", "")
    for delimiter in ",;\t":
        cells = [
            cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) for cell in row
        ]
        assert not [cell for cell in cells if cell.lstrip('" ')[:1] in tuple("=+-@\t\r")]


def test_parquet_is_the_runs_own_table(chrome, tmp_path):
    frame = pd.DataFrame({"number": [0, 1], "accuracy": [0.25, None]})
    frame.to_parquet(tmp_path / "own.parquet", index=False)
    content = (tmp_path / "own.parquet").read_bytes()
    open_table(chrome, tmp_path / "page.html", six(), parquet=b64encode(content).decode())
    search(chrome, "finite")
    assert "Parquet (all trials)" in buttons(chrome)
    assert saved(chrome, tmp_path / "saved", "trials.parquet") == content
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "saved" / "trials.parquet"), frame)


def test_several_runs_have_a_column_and_keys_of_their_own(chrome, tmp_path):
    open_table(chrome, tmp_path / "page.html", six()[:2], runs=("one", HOSTILE[1]))
    assert column(chrome, "run") == ["one", HOSTILE[1], "one", HOSTILE[1]]
    chrome.find_elements("css selector", ".trials tbody tr")[1].click()
    key = "return document.querySelector('.trials [aria-current] button').dataset.key"
    assert chrome.execute_script(key) == "1:0"
    assert {row["run"] for row in rows_of(saved(chrome, tmp_path / "saved", "trials.csv"))} == {
        "one",
        HOSTILE[1],
    }


def test_hostile_texts_stay_text(chrome, tmp_path):
    records = [failed(n, text, name=text, level=BUDGET) for n, text in enumerate(HOSTILE)]
    open_table(chrome, tmp_path / "page.html", records)
    assert column(chrome, "status") == [f"failed: {text}" for text in HOSTILE]
    inside = "#panel-1 td *, #panel-1 img, #panel-1 script, #panel-1 a"
    assert chrome.find_elements("css selector", inside) == []
    assert chrome.get_log("browser") == []


@pytest.mark.parametrize("count", [0, 1])
def test_no_trial_and_one(chrome, tmp_path, count):
    open_table(chrome, tmp_path / "page.html", six()[:count])
    assert words(chrome) == ("1 of 1 trials" if count else "No trial has ended yet.")
    assert chrome.get_log("browser") == []


def test_5000_rows_are_paged_and_answer_at_once(chrome, tmp_path):
    records = [trial(n, 0.3 + (n * 7919 % 5000 + 0.4) / 20000, level=BUDGET) for n in range(5000)]
    open_table(chrome, tmp_path / "page.html", records, finalists=())
    assert column(chrome, "trial") == [str(n) for n in range(25)]
    press(chrome, "Next")
    assert column(chrome, "trial") == [str(n) for n in range(25, 50)]
    begun = time.perf_counter()
    press(chrome, "accuracy")
    search(chrome, "54.9")
    assert time.perf_counter() - begun < 5  # measured: 0.1 s
    assert set(column(chrome, "accuracy")) == {"54.9 %"}
    assert words(chrome) == "20 of 5,000 trials"


@pytest.mark.parametrize("width", [1280, 390])
def test_only_the_card_scrolls_sideways(chrome, tmp_path, width):
    records = [failed(0, "x" * 300, name="y" * 300, level=BUDGET), *six()[1:]]
    open_table(chrome, tmp_path / "page.html", records, runs=("z" * 120, "b"), width=width)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    heads = [
        head.text for head in chrome.find_elements("css selector", ".trials thead th") if head.is_displayed()
    ]
    assert ("activations" in heads) == (width == 1280)
    assert "accuracy" in heads
