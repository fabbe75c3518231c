"""The page of a run while it goes on: what it answers, and to whom."""

import re
import socket

import pytest
from factories import report, trial

from scalesearch import documents
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.live import Source, hosts_of, make_app
from scalesearch.dashboard.panels.context import Context
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report

LAYOUT = Layout((PanelChoice("pareto"),))


def content(title="a run"):
    trials = (trial(0, 0.5),)
    summary = summary_from_report(report(trials, trials[0]), trials)
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


def test_no_other_site_can_ask_for_the_data(client):
    question = {
        "output": "..version.data...packed.data..",
        "outputs": [{"id": "version", "property": "data"}, {"id": "packed", "property": "data"}],
        "inputs": [{"id": "tick", "property": "n_intervals", "value": 1}],
        "changedPropIds": ["tick.n_intervals"],
        "state": [{"id": "version", "property": "data"}],
    }

    def asked(origin):
        headers = {"Host": "127.0.0.1:8050", "Origin": origin}
        return client.post("/_dash-update-component", json=question, headers=headers)

    assert "packed" in asked("http://127.0.0.1:8050").json["response"]
    refused = asked("http://example.org")
    assert (refused.status_code, "packed" in refused.text) == (403, False)


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


def asked_at(address, host):
    app = make_app(Source(lambda: False, content), hosts_of(address))
    return status(app.server.test_client(), host=host)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.7", "192.0.2.7:8050"),
        ("192.0.2.7", "localhost"),
        ("127.0.0.5", "127.0.0.5:8050"),
        ("MyBox", "mybox:8050"),
        ("2001:DB8:0:0::7", "[2001:db8::7]:8050"),
        ("0.0.0.0", "192.0.2.7:8050"),
        ("::", "[2001:db8::7]:8050"),
        ("0.0.0.0", f"{socket.gethostname()}:8050"),
    ],
)
def test_a_page_is_had_under_the_address_that_it_is_served_at(address, host):
    assert asked_at(address, host) == 200


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("192.0.2.7", "192.0.2.8"),
        ("127.0.0.1", "mybox"),
        ("0.0.0.0", "example.org"),
        ("::", "192.0.2.7.example.org"),
    ],
)
def test_a_page_is_not_had_under_another_name(address, host):
    assert asked_at(address, host) == 403


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
    assert version > 10**9  # no version of an earlier server's, which a page may still have
    assert source.newer_than(version) is None
    assert source.newer_than(None) == (version, data)
    assert len(drawn) == 1
    source._not_before = 0
    assert source.newer_than(version)[0] == version + 1
