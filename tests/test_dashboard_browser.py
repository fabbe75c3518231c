"""The page in a real browser: from disk, without a network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from browser import hover, points, requests, resize, screenshot
from factories import BUDGET, HOSTILE, failed, report, trial
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch import documents
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.context import Context, Finalist, Reference
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report

LAYOUT = Layout(tuple(PanelChoice(name) for name in PANELS))
REFERENCES = (Reference("EfficientNet-B0", 385_814_752), Reference("ShuffleNetV2 x1.0", 144_907_992))
TRUST = Path(__file__).parents[1] / "studies/results/mixed/trust.json"


def run_of_trials():
    levels = [BUDGET / 8, BUDGET / 4, BUDGET / 2, BUDGET]
    trials = [
        trial(
            n,
            0.4 + 0.04 * (n % 4) + 0.003 * (n * 7 % 11),
            flops=int(levels[n % 4] * 0.99),
            level=levels[n % 4],
        )
        for n in range(24)
    ]
    return [*trials, failed(24, flops=int(BUDGET / 4))]


def open_page(chrome, path, trials, best, references=REFERENCES, layout=LAYOUT, title="a run"):
    context = Context(BUDGET, references, best and best.number)
    view = RunView(title, tuple(trials), context, summary_from_report(report(trials, best), trials))
    write_page(path, run_content(view, layout, documents.write_text))
    show(chrome, path, len(layout.panels))


def show(chrome, path, panels):
    chrome.get(path.as_uri())
    WebDriverWait(chrome, 60).until(lambda it: len(it.find_elements("css selector", ".panel")) == panels)


@pytest.fixture(scope="module")
def page(chrome, tmp_path_factory):
    """Return the address of a page of all panels that is open, what it requested, and what it logged."""
    path, trials = tmp_path_factory.mktemp("page") / "page.html", run_of_trials()
    open_page(chrome, path, trials, best=trials[23])
    return path.as_uri(), requests(chrome), chrome.get_log("browser")


def overflow(chrome):
    return chrome.execute_script("return document.documentElement.scrollWidth - window.innerWidth")


def test_page_opens_from_disk_with_nothing_but_itself(chrome, page, tmp_path):
    address, requested, logged = page
    assert requested == [address]
    assert logged == []
    assert len(points(chrome)) >= len(run_of_trials())
    assert overflow(chrome) <= 0
    assert len(screenshot(chrome, tmp_path / "page.png")) > 20_000


def test_first_screen_needs_no_scrolling(chrome, page):
    resize(chrome, 1280, 800)
    chrome.execute_script("scrollTo(0, 0)")
    script = "return document.querySelector('main').getBoundingClientRect().bottom"
    assert chrome.execute_script(script) < 800


def test_a_page_that_is_resized_keeps_its_panels_and_scrolls_in_one_direction(chrome, page):
    widths = "return [...document.querySelectorAll('.figure .main-svg')].map((svg) => svg.clientWidth)"
    wide = chrome.execute_script(widths)
    assert min(wide) > 500
    assert max(wide) > 1100
    resize(chrome, 390)
    WebDriverWait(chrome, 10).until(lambda it: max(it.execute_script(widths)) < 390)
    assert overflow(chrome) <= 0
    height = "return Math.min(...[...document.querySelectorAll('.figure')].map((box) => box.clientHeight))"
    assert chrome.execute_script(height) >= 150


def test_a_switch_shows_another_view(chrome, page):
    axis = "return document.querySelector('#panel-0 .xtitle').textContent"
    assert "FLOPs" in chrome.execute_script(axis)
    for view in ("params", "FLOPs"):
        chrome.find_element("xpath", f"//*[@id='panel-0']/..//button[text()='{view}']").click()
        assert view in chrome.execute_script(axis)


def test_colours_follow_the_system_and_the_button(chrome, page):
    mode = "return document.documentElement.dataset.mode"
    ink = "return getComputedStyle(document.querySelector('#panel-0 .xtick text')).fill"
    light = chrome.execute_script(ink)
    assert chrome.execute_script(mode) == "light"
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    WebDriverWait(chrome, 10).until(lambda it: it.execute_script(mode) == "dark")
    assert chrome.execute_script(ink) != light
    chrome.find_element("id", "mode").click()
    assert chrome.execute_script(mode) == "light"
    assert chrome.execute_script(ink) == light


def surveys_named(text):
    """Return reports of surveys in which every name and verdict is a text."""
    trust = json.loads(TRUST.read_text(encoding="utf-8"))
    signals = [signal | {"name": text, "kind": text, "verdict": text} for signal in trust["signals"]]
    network = {"name": text, "accuracy": 0.75, "interval": [0.7, 0.8], "seeds": 3}
    network |= {"flops": 15_000_000, "params": 300_000, "activations": 400_000}
    compared = {"judged": {"part": text, "images": 10_000, "looks": [6]}, "images": 60_000}
    difference = {"first": text, "second": text, "text": text}
    return {
        "trust": trust | {"signals": signals, "data": {"name": text}},
        "compare": compared | {"networks": [network], "differences": [difference]},
    }


def test_hostile_names_stay_text(chrome, tmp_path):
    flops = [int(BUDGET * 0.2 * 1.25**n) for n, _ in enumerate(HOSTILE)]
    everything = "".join(HOSTILE)
    chosen = {text: text for text in HOSTILE}
    scored = [trial(n, 0.4 + n / 20, name=text, flops=flops[n]) for n, text in enumerate(HOSTILE)]
    broken = [
        failed(n + len(HOSTILE), reason=text, name=text, flops=flops[n]) for n, text in enumerate(HOSTILE)
    ]
    trials = tuple(replace(one, params=chosen) for one in (*scored, *broken))
    told = report(trials, scored[0], versions=chosen)
    told["data"] |= {"name": everything, "fingerprint": everything}
    references = tuple(Reference(text, flops[n], 10**6, 10**6) for n, text in enumerate(HOSTILE))
    finalists = tuple(Finalist(n, 0.5, 0.48, 0.52, 3) for n, _ in enumerate(HOSTILE))
    surveys = surveys_named(everything)
    evidence = {"signals": surveys["trust"]["signals"]}
    view = RunView(
        everything,
        trials,
        Context(BUDGET, references, 0, finalists=finalists, evidence=evidence, surveys=surveys),
        summary_from_report(told, trials),
        everything,
    )
    path = tmp_path / "page.html"
    layout = Layout(LAYOUT.panels, title=everything)
    write_page(path, run_content(view, layout, documents.write_text))
    show(chrome, path, len(layout.panels))
    assert chrome.find_element("css selector", ".notice").text == everything
    shown = [hover(chrome, point) for point in points(chrome)]
    for text in HOSTILE:
        assert sum(text[:20] in label for label in shown) >= 3  # a trial, a failed one, a reference
    for number in range(2 * len(HOSTILE)):
        chrome.execute_script("document.querySelectorAll('#panel-10 tbody tr')[arguments[0]].click()", number)
    assert chrome.execute_script("return window.hostile") is None
    assert chrome.find_elements("css selector", "svg a, img, main b b, header b, .notice *, #card img") == []
    assert chrome.get_log("browser") == []


def test_a_script_that_is_not_the_pages_own_never_runs(chrome, tmp_path):
    """The control: markup in the page itself is stopped by the page's security policy."""
    path = tmp_path / "page.html"
    open_page(chrome, path, [], None)
    path.write_text(
        path.read_text(encoding="utf-8").replace("<header>", "<header>" + HOSTILE[0] + HOSTILE[2])
    )
    chrome.get(path.as_uri())
    assert chrome.execute_script("return window.hostile") is None
    assert "Content Security Policy" in str(chrome.get_log("browser"))
