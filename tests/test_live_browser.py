"""The page of a run while it goes on, in a real browser: what it takes in, and what outlives that."""

import re
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread

import pytest
from browser import points, requests
from factories import BUDGET, HOSTILE, report, trial
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch import documents
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.live import Source, hosts_of, make_app, served
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report

LAYOUT = Layout((PanelChoice("pareto"),))


def grown(number, name):
    """Return a trial that costs more and is better the higher its number."""
    one = trial(number, 0.5 + number / 1000, name=name, flops=int(BUDGET * (1 + number / 10)))
    deployed = replace(one.deployed, params=10**5 * (1 + number))
    return replace(one, deployed=deployed, params={"pool": number % 2})


def content(title="a run", count=1, layout=LAYOUT, notice=None):
    trials = tuple(grown(number, title) for number in range(count))
    summary = summary_from_report(report(trials, trials[0] if trials else None), trials)
    view = RunView(title, trials, Context(), summary, notice)
    return run_content(view, layout, documents.write_text)


@contextmanager
def command(*arguments, **options):
    process = subprocess.Popen(
        [sys.executable, "-m", "scalesearch", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(autouse=True)
def _page_left(chrome):
    """A page goes on asking its server: the next test would count that among its own requests."""
    yield
    chrome.get("about:blank")


def drawn_points(chrome):
    return len(points(chrome))


@pytest.mark.slow
def test_live_page_gains_points_while_a_real_run_goes_on(chrome, tmp_path):
    run = tmp_path / "run"
    asked = ["run", "--budget-flops", "2e7", "--data", "digits", "--rungs", "256", "--trials", "30"]
    with command(*asked, "--workers", "1", "--out", str(run)) as search:
        WebDriverWait(search, 60).until(lambda _: (run / "record.jsonl").exists())
        with command("dashboard", str(run), "--serve", "--port", "0") as server:
            address = next(found for line in server.stdout if (found := re.search(r"http://\S+", line)))
            chrome.get(address.group())
            wait = WebDriverWait(chrome, 90, poll_frequency=0.3)
            first = wait.until(drawn_points)
            wait.until(lambda it: drawn_points(it) > first or search.poll() is not None)
            grown = drawn_points(chrome)
            search.kill()
    assert grown > first
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = [url for url in requests(chrome) if not url.startswith(("chrome:", "blob:"))]
    assert sent
    assert [url for url in sent if not url.startswith(address.group())] == []


class Shelf:
    """A source of pages whose content a test replaces."""

    def __init__(self, given):
        self.given, self.new = given, True

    def put(self, given):
        self.given, self.new = given, True

    def changed(self):
        new, self.new = self.new, False
        return new

    @contextmanager
    def served(self, port=0):
        source = Source(self.changed, lambda: self.given)
        with served(make_app(source, hosts_of("127.0.0.1")), "127.0.0.1", port) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield server.port
            finally:
                server.shutdown()
                thread.join()


def opened(chrome, port):
    chrome.get(f"http://127.0.0.1:{port}/")
    wait = WebDriverWait(chrome, 30, poll_frequency=0.1)
    wait.until(lambda it: it.find_elements("css selector", "#panels .panel"))
    return wait


def title(chrome):
    return chrome.find_element("id", "title").text


def test_what_a_reader_set_outlives_an_update_until_it_is_set_back(chrome):
    everything = Layout((PanelChoice("pareto"), PanelChoice("choices")))
    figure = "document.getElementById('panel-0')"
    ranges = f"return {figure}._fullLayout.xaxis.range"

    def asked_for(given):
        layout = next(view for view in given.panels[0]["views"] if view["name"] == "params")["figure"][
            "layout"
        ]
        return pytest.approx(layout["xaxis"]["range"])

    hidden = f"return {figure}._fullData.filter((one) => one.visible === 'legendonly').map((one) => one.name)"
    shelf = Shelf(content("first", 3, everything))
    with shelf.served() as port:
        wait = opened(chrome, port)
        chrome.find_element("xpath", "//*[@id='panel-0']/..//button[text()='params']").click()
        box = chrome.find_element("css selector", "#panel-0 .nsewdrag")
        chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
        assert chrome.execute_script(ranges) == asked_for(shelf.given)
        ActionChains(chrome).drag_and_drop_by_offset(box, 160, 120).perform()
        zoomed = chrome.execute_script(ranges)
        assert zoomed != asked_for(shelf.given)
        chrome.find_element("css selector", "#panel-0 .legendtoggle").click()
        wait.until(lambda it: it.execute_script(hidden))
        gone = chrome.execute_script(hidden)
        script = f"{figure}.emit('plotly_click', {{points: [{{customdata: '1'}}]}})"
        chrome.execute_script(script)
        chrome.find_element("css selector", "#panel-1 .tick[data-slot]").click()
        kept = chrome.find_element("css selector", "#panel-1 .count").text
        assert kept.endswith("of 3 trials")
        shelf.put(content("second", 40, everything))
        wait.until(lambda it: title(it) == "second")
        assert chrome.find_element("css selector", ".views [aria-pressed=true]").text == "params"
        assert chrome.execute_script(ranges) == zoomed
        assert chrome.execute_script(hidden) == gone
        assert chrome.find_element("id", "card").is_displayed()
        assert "of 40 trials" in chrome.find_element("css selector", "#panel-1 .count").text
        chrome.execute_script(f'{figure}.querySelector(\'[data-attr="zoom"][data-val="reset"]\').click()')
        wait.until(lambda it: it.execute_script(ranges) == asked_for(shelf.given))
        shelf.put(content("third", 400, everything))
        wait.until(lambda it: title(it) == "third")
        wait.until(lambda it: it.execute_script(ranges) == asked_for(shelf.given))
    assert [entry for entry in chrome.get_log("browser") if "_dash-update" not in entry["message"]] == []


def test_a_page_says_that_its_server_is_gone_and_goes_on_with_the_next(chrome):
    shelf = Shelf(content("first"))
    trouble = "return document.getElementById('trouble').textContent"
    with shelf.served() as port:
        wait = opened(chrome, port)
        assert chrome.execute_script(trouble) == ""
    wait.until(lambda it: "No answer from the server" in it.execute_script(trouble))
    shelf.put(content("second"))
    with shelf.served(port):
        wait.until(lambda it: title(it) == "second")
        assert chrome.execute_script(trouble) == ""


def test_a_slow_link_gets_its_updates(chrome):
    slow = {"offline": False, "latency": 3000, "downloadThroughput": -1, "uploadThroughput": -1}
    shelf = Shelf(content("first"))
    with shelf.served() as port:
        wait = opened(chrome, port)
        chrome.execute_cdp_cmd("Network.enable", {})
        chrome.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
        shelf.put(content("second"))
        try:
            wait.until(lambda it: title(it) == "second")
        finally:
            chrome.execute_cdp_cmd("Network.emulateNetworkConditions", slow | {"latency": 0})


def test_hostile_texts_stay_text_on_a_served_page(chrome):
    everything = " ".join(HOSTILE)
    shelf = Shelf(content(everything, notice=everything))
    with shelf.served() as port:
        opened(chrome, port)
        assert title(chrome).startswith(HOSTILE[0])
        assert chrome.find_element("id", "notice").text == everything
        assert chrome.execute_script("return window.hostile ?? null") is None
        markup = "header h1 *, .notice *, #screen img, #screen script, #screen a"
        assert chrome.find_elements("css selector", markup) == []
        assert chrome.get_log("browser") == []
