"""The page of a run while it goes on: what it answers, and to whom; then in a real browser."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager

import pytest
from browser import headless, programs, requests, resize
from conftest import unavailable
from factories import HOSTILE, report, trial
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch import documents
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.live import Source, hosts_of, make_app
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report

LAYOUT = Layout((PanelChoice("pareto"),))


def content(title="a run", count=1):
    trials = tuple(trial(number, 0.5) for number in range(count))
    summary = summary_from_report(report(trials, trials[0] if trials else None), trials)
    return run_content(RunView(title, trials, Context(), summary), LAYOUT, documents.write_text)


@pytest.fixture
def client():
    app = make_app(Source(lambda: False, content), hosts_of("127.0.0.1"))
    return app.server.test_client()


def status(client, path="/", host="127.0.0.1:8050", **headers):
    return client.get(path, headers={"Host": host, **headers}).status_code


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost:8050", "[::1]:8050"])
def test_the_machine_itself_is_answered(client, host):
    assert status(client, host=host) == 200


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org:8050", "10.0.0.1", "a@localhost.b"])
def test_a_page_under_another_name_is_refused(client, host):
    assert status(client, host=host) == 403


@pytest.mark.parametrize("origin", ["http://example.org", "null", "http://127.0.0.1:9999"])
def test_another_origin_is_refused(client, origin):
    assert status(client, Origin=origin) == 403
    assert status(client, Origin="http://127.0.0.1:8050") == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/core.js",
        "/assets/../pyproject.toml",
        "/..%2f..%2fetc/passwd",
        "/record.jsonl",
        "/report.json",
        "/_mcp",
        "/_dash-component-suites/../../../../etc/passwd",
        "/_dash-component-suites/scalesearch/dashboard/assets/core.js",
    ],
)
def test_no_file_is_served(client, path):
    assert status(client, path) == 404


def test_another_address_is_answered_under_its_name_alone():
    assert hosts_of("192.0.2.7") == {"192.0.2.7", "localhost", "127.0.0.1", "::1"}
    assert hosts_of("127.0.0.1") == hosts_of("localhost") == {"localhost", "127.0.0.1", "::1"}


def test_pages_may_load_nothing_from_elsewhere(client):
    response = client.get("/", headers={"Host": "localhost"})
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    # plotly.js holds addresses of its own; what the browser asks for is seen in the browser's test.
    markup = re.sub(r"<script>.*?</script>", "", response.text, flags=re.DOTALL)
    assert "<script" in markup
    assert re.findall(r"(?:src|href)=[\"'](https?:|//)", markup) == []


def test_no_word_of_a_run_is_in_the_page_that_dash_fills_in():
    app = make_app(Source(lambda: False, lambda: content("{%config%} hostile")), hosts_of("127.0.0.1"))
    response = app.server.test_client().get("/", headers={"Host": "localhost"})
    assert "hostile" not in response.text


def test_it_draws_again_only_when_something_is_new():
    drawn, news = [], [True, False, False, True]

    def draw():
        drawn.append(len(drawn))
        return content()

    source = Source(lambda: news.pop(0), draw)
    version, data = source.newer_than(None)
    assert data
    assert source.newer_than(version) is None
    assert source.newer_than(None) == (version, data)
    assert len(drawn) == 1
    source._not_before = 0
    assert source.newer_than(version)[0] == version + 1


@contextmanager
def command(*arguments, **options):
    process = subprocess.Popen(
        [sys.executable, "-m", "scalesearch.cli", *arguments],
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


@pytest.fixture
def chrome(tmp_path):
    found = programs()
    if found is None:
        unavailable("Chromium with chromedriver (Debian: apt-get install chromium chromium-driver)")
    with headless(tmp_path / "profile", *found) as started:
        yield started


def drawn_points(chrome):
    return len(chrome.find_elements("css selector", "#panel-0 .scatterlayer .points path"))


def test_live_page_gains_points_while_a_real_run_goes_on(chrome, tmp_path):
    run = tmp_path / "run"
    asked = ["run", "--budget-flops", "2e7", "--data", "digits", "--rungs", "256", "--trials", "30"]
    with command(*asked, "--workers", "1", "--out", str(run)) as search:
        WebDriverWait(search, 60).until(lambda _: (run / "record.jsonl").exists())
        with command("dashboard", str(run), "--serve", "--port", "0") as server:
            address = next(found for line in server.stdout if (found := re.search(r"http://\S+", line)))
            resize(chrome, 1280)
            chrome.get(address.group())
            wait = WebDriverWait(chrome, 90, poll_frequency=0.3)
            first = wait.until(drawn_points)
            # Zoomed by hand, as a reader would: the wheel of the mouse is off, a drag is not.
            box = chrome.find_element("css selector", "#panel-0 .nsewdrag")
            chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", box)
            ActionChains(chrome).drag_and_drop_by_offset(box, 160, 120).perform()
            zoom = "return JSON.stringify(document.getElementById('panel-0')._fullLayout.yaxis.range)"
            before = chrome.execute_script(zoom)
            wait.until(lambda it: drawn_points(it) > first or search.poll() is not None)
            grown = drawn_points(chrome)
            assert chrome.execute_script(zoom) == before
            search.kill()
    assert grown > first
    assert [entry for entry in chrome.get_log("browser") if entry["level"] == "SEVERE"] == []
    sent = [url for url in requests(chrome) if not url.startswith(("chrome:", "blob:"))]
    assert sent
    assert [url for url in sent if not url.startswith(address.group())] == []


@pytest.mark.parametrize("text", HOSTILE)
def test_heading_and_notice_travel_as_text(text):
    data = content(text).for_script()
    assert json.loads(json.dumps(data, allow_nan=False))
