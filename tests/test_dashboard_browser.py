"""The page in a real browser: from disk, without a network."""

from dataclasses import replace

import pytest
from browser import headless, programs, requests, resize, screenshot
from conftest import unavailable
from factories import BUDGET, failed, report, trial
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch import documents
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.context import Context, Reference
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report

LAYOUT = Layout(tuple(PanelChoice(name) for name in PANELS))
REFERENCES = (Reference("EfficientNet-B0", 385_814_752), Reference("ShuffleNetV2 x1.0", 144_907_992))
MARKER = "window.hostile = (window.hostile || 0) + 1"
HOSTILE = (
    f"<script>{MARKER}</script>",
    f"</script><script>{MARKER}</script>",
    f"<img src=x onerror='{MARKER}'>",
    f"<svg onload='{MARKER}'>",
    "<b>bold</b><a href='//a.example'>a</a>",  # Plotly honours these two
)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    found = programs()
    if found is None:
        unavailable("Chromium with chromedriver (Debian: apt-get install chromium chromium-driver)")
    with headless(tmp_path_factory.mktemp("profile"), *found) as started:
        yield started


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
    chrome.get_log("browser"), requests(chrome)
    chrome.get(path.as_uri())
    WebDriverWait(chrome, 60).until(lambda it: len(it.find_elements("css selector", ".panel")) == panels)


def points(chrome, panel=0):
    return chrome.find_elements("css selector", f"#panel-{panel} .scatterlayer .points path")


def hover(chrome, point):
    """Return what shows at a point: the page's own words on a trial, Plotly's label for all else."""
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(chrome).move_to_element(point).perform()
    shown = ".tooltip:not([hidden]), #panel-0 .hoverlayer .hovertext"
    label = WebDriverWait(chrome, 5).until(lambda it: it.find_elements("css selector", shown))
    return label[0].get_attribute("textContent")


@pytest.mark.parametrize("width", [1280, 390])
def test_page_opens_from_disk_with_nothing_but_itself(chrome, tmp_path, width):
    trials = run_of_trials()
    resize(chrome, width)
    open_page(chrome, tmp_path / "page.html", trials, best=trials[23])
    assert len(points(chrome)) >= len(trials)
    assert requests(chrome) == [(tmp_path / "page.html").as_uri()]
    assert chrome.get_log("browser") == []
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    assert len(screenshot(chrome, tmp_path / f"page-{width}.png")) > 20_000


def test_first_screen_needs_no_scrolling(chrome, tmp_path):
    trials = run_of_trials()
    resize(chrome, 1280, 800)
    open_page(chrome, tmp_path / "page.html", trials, best=trials[23])
    script = "return document.querySelector('main').getBoundingClientRect().bottom"
    assert chrome.execute_script(script) < 800


def test_hovering_a_trial_shows_its_stages(chrome, tmp_path):
    trials = [trial(0, 0.5)]
    resize(chrome, 1280)
    open_page(chrome, tmp_path / "page.html", trials, best=trials[0], references=())
    text = hover(chrome, points(chrome)[0])
    stage = trials[0].deployed.document["stages"][1]
    for part in ("trial 0", "50.0 %", "mbconv", f"{stage['channels']}"):
        assert part in text.lower()


def test_a_page_that_is_resized_and_recoloured_keeps_its_panels(chrome, tmp_path):
    trials = run_of_trials()
    resize(chrome, 390)
    open_page(chrome, tmp_path / "page.html", trials, best=trials[23])
    widths = "return [...document.querySelectorAll('.figure .main-svg')].map((svg) => svg.clientWidth)"
    narrow = chrome.execute_script(widths)
    resize(chrome, 1280)
    WebDriverWait(chrome, 10).until(lambda it: min(it.execute_script(widths)) > max(narrow))
    chrome.find_element("id", "mode").click()
    wide = chrome.execute_script(widths)
    assert min(wide) > 500
    assert max(wide) > 1100
    height = "return Math.min(...[...document.querySelectorAll('.figure')].map((box) => box.clientHeight))"
    assert chrome.execute_script(height) >= 150


def test_a_switch_shows_another_view_and_a_click_opens_the_card(chrome, tmp_path):
    trials = run_of_trials()
    resize(chrome, 1280)
    open_page(chrome, tmp_path / "page.html", trials, best=trials[23])
    axis = "return document.querySelector('#panel-0 .xtitle').textContent"
    assert "FLOPs" in chrome.execute_script(axis)
    head = "//*[@id='panel-0']/..//button[text()='params']"
    chrome.find_element("xpath", head).click()
    assert "params" in chrome.execute_script(axis)
    point = points(chrome)[0]
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(chrome).move_to_element(point).click().perform()
    card = WebDriverWait(chrome, 5).until(lambda it: it.find_element("id", "card"))
    assert "trial" in card.text.lower()
    assert "fused_mbconv" in card.text


def test_colours_follow_the_system_and_the_button(chrome, tmp_path):
    trials = run_of_trials()
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    open_page(chrome, tmp_path / "page.html", trials, best=trials[23])
    ink = "return getComputedStyle(document.querySelector('#panel-0 .xtick text')).fill"
    dark = chrome.execute_script(ink)
    chrome.find_element("id", "mode").click()
    assert chrome.execute_script("return document.documentElement.dataset.mode") == "light"
    assert chrome.execute_script(ink) != dark
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hostile_names_stay_text(chrome, tmp_path):
    flops = [int(BUDGET * share) for share in (0.2, 0.3, 0.45, 0.65, 0.9)]
    everything = "".join(HOSTILE)
    chosen = {text: text for text in HOSTILE}
    scored = [trial(n, 0.4 + n / 20, name=text, flops=flops[n]) for n, text in enumerate(HOSTILE)]
    broken = [failed(n + 5, reason=text, name=text, flops=flops[n]) for n, text in enumerate(HOSTILE)]
    trials = tuple(replace(one, params=chosen) for one in (*scored, *broken))
    told = report(trials, scored[0], versions=chosen)
    told["data"] |= {"name": everything, "fingerprint": everything}
    references = tuple(Reference(text, flops[n], 10**6, 10**6) for n, text in enumerate(HOSTILE))
    view = RunView(
        everything,
        trials,
        Context(BUDGET, references, 0),
        summary_from_report(told, trials),
        everything,
    )
    path = tmp_path / "page.html"
    layout = Layout(LAYOUT.panels, title=everything)
    write_page(path, run_content(view, layout, documents.write_text))
    resize(chrome, 1280)
    show(chrome, path, len(layout.panels))
    assert chrome.find_element("css selector", ".notice").text == everything
    shown = [hover(chrome, point) for point in points(chrome)]
    for text in HOSTILE:
        assert sum(text[:20] in label for label in shown) >= 3  # a trial, a failed one, a reference
    for number in range(10):
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
