"""The network card and the tooltip in a real browser: what they say, how they open and close."""

from dataclasses import replace

import pytest
from browser import hover, points, resize, screenshot
from factories import BUDGET, HOSTILE, failed, report, trial
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch import documents
from scalesearch.architecture.document import from_document
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.page import write_page
from scalesearch.dashboard.panels.context import Context, Finalist
from scalesearch.dashboard.run_page import run_content
from scalesearch.dashboard.run_view import RunView
from scalesearch.dashboard.summary import summary_from_report
from scalesearch.dashboard.theme import flops_text

LAYOUT = Layout((PanelChoice("pareto"),))


def training(number, accuracy, images, **options):
    curve = tuple((images * step // 20, 2.3 - accuracy * step / 20) for step in range(1, 21))
    return trial(number, accuracy, images=images, seconds=70.0, curve=curve, **options)


def run_of_trials():
    low, high = BUDGET / 2, BUDGET
    top = {"flops": int(0.99 * high), "level": high}
    finals = [replace(training(2, one, 60_000, role="final", **top), rung=1) for one in (0.58, 0.62)]
    return [
        training(0, 0.4, 20_000, flops=int(0.49 * high), level=low),
        failed(1, "loss is not finite", flops=int(0.48 * high), level=low),
        training(2, 0.5, 20_000, **top),
        replace(training(2, 0.6, 60_000, **top), rung=1),
        *finals,
    ]


def open_page(chrome, path, trials, title="a run", finalists=()):
    context = Context(BUDGET, best=trials[0].number, rungs=(20_000, 60_000), finalists=finalists)
    told = summary_from_report(report(trials, trials[0]), trials)
    content = run_content(RunView(title, tuple(trials), context, told), LAYOUT, documents.write_text)
    write_page(path, content)
    chrome.get_log("browser")
    chrome.get(path.as_uri())
    WebDriverWait(chrome, 20).until(lambda it: it.find_elements("css selector", "#panel-0 .main-svg"))
    return {entry["number"]: entry for entry in content.entries}


@pytest.fixture(scope="module")
def page(chrome, tmp_path_factory):
    """Return the entries, by number, of a page that is open; the tests of it leave it as they found it."""
    finalists = (Finalist(2, 0.6, 0.57, 0.63, 2),)
    return open_page(
        chrome, tmp_path_factory.mktemp("page") / "page.html", run_of_trials(), finalists=finalists
    )


@pytest.fixture
def card(chrome, page):
    """Return what chooses a trial of that page and gives its card, which is closed in the end."""
    yield lambda number: choose(chrome, number)
    chrome.execute_script("document.querySelector('#card .close')?.click()")


def choose(chrome, number):
    """Choose a trial as a click on its point does."""
    script = "document.getElementById('panel-0').emit('plotly_click', {points: [{customdata: arguments[0]}]})"
    chrome.execute_script(script, number)
    return chrome.find_element("id", "card")


def is_open(chrome):
    return chrome.execute_script("return document.getElementById('card')?.open ?? false")


def cells(table):
    rows = table.find_elements("css selector", "tbody tr")
    return [
        [cell.get_attribute("textContent") for cell in row.find_elements("tag name", "td")] for row in rows
    ]


# What the card says


def test_a_click_on_a_point_opens_the_card_of_its_network(chrome, page, card):
    ActionChains(chrome).scroll_to_element(points(chrome)[0]).move_to_element(
        points(chrome)[0]
    ).click().perform()
    WebDriverWait(chrome, 5).until(is_open)
    assert chrome.find_element("id", "card").get_attribute("aria-label").startswith("Trial ")
    assert chrome.get_log("browser") == []


def test_the_card_has_the_networks_table_accuracy_cost_and_document(page, card):
    shown, deployed = card(0), run_of_trials()[0].deployed
    for words in ("40.0 %", "of the proxy", "after 20,000 images", flops_text(deployed.flops), "complete"):
        assert words in shown.text
    stem, *stages, head = cells(shown.find_element("css selector", ".stagetable"))
    network = from_document(deployed.document)
    rows = network.rows()
    assert [stem[2], stem[8]] == [str(network.stem.channels), str(rows[0].out_size[0])]
    assert head[2] == str(network.head.channels)
    for told, row in zip(stages, rows[1:-1], strict=True):
        shape = [row.operator, str(row.channels), str(row.repeats), str(row.kernel), str(row.stride)]
        assert told[1:6] == shape
        assert (told[6], told[8]) == (f"{row.expand:g}", str(row.out_size[0]))
    yaml = shown.find_element("css selector", ".yaml").get_attribute("textContent")
    assert yaml == documents.write_text(deployed.document)
    assert documents.read_text(yaml, "card") == deployed.document


def test_a_repeated_network_has_its_interval_and_a_line_for_each_training(card):
    shown = card(2)
    assert "57.0 % to 63.0 % (95 %), n = 2 trainings" in shown.text
    assert "In the search: 60.0 % after 60,000 images" in shown.text
    assert len(shown.find_elements("css selector", ".curvechart .curve")) == 4
    told = cells(shown.find_elements("css selector", "table.facts")[2])
    assert [row[1:3] for row in told] == [
        ["20,000", "50.0 %"],
        ["60,000", "60.0 %"],
        ["60,000", "58.0 %"],
        ["60,000", "62.0 %"],
    ]


def test_a_failed_trial_shows_its_reason_and_its_network(card):
    shown = card(1)
    assert "Failed" in shown.text
    assert "loss is not finite" in shown.find_element("css selector", ".reason").text
    assert len(shown.find_elements("css selector", ".drawing g")) == 5  # input, stem, two stages, head
    assert "No learning curve" in shown.text


def test_a_drawing_is_lower_where_maps_are_smaller_and_wider_where_blocks_repeat(page, card):
    stages = page[0]["stages"]
    blocks = card(0).find_elements("css selector", ".drawing g > rect:first-of-type")[2:-1]
    heights, widths = ([float(one.get_attribute(side)) for one in blocks] for side in ("height", "width"))
    assert stages[0]["size"] > stages[1]["size"]
    assert heights[0] > heights[1]
    assert (widths[0] < widths[1]) == (stages[0]["repeats"] < stages[1]["repeats"])
    assert stages[0]["repeats"] != stages[1]["repeats"]


def test_a_hatch_repeats_what_an_operators_colour_says(card):
    looks = card(0).find_elements("css selector", ".drawing g > rect")
    fills = {one.get_attribute("fill") for one in looks}
    assert {"var(--c0)", "var(--c1)", "url(#hatch-1)"} <= fills


def test_copy_says_what_it_did(chrome, page, card):
    shown = card(0)
    (button,) = (one for one in shown.find_elements("tag name", "button") if one.text == "Copy")
    refused = "navigator.clipboard.writeText = () => Promise.reject(new Error('refused'));"
    chrome.execute_script(f"{refused} document.execCommand = () => false;")
    chrome.execute_script("arguments[0].click()", button)
    told = shown.find_element("css selector", ".row [role=status]")
    WebDriverWait(chrome, 5).until(lambda _: told.text)
    assert "Selected" in told.text
    yaml = documents.write_text(run_of_trials()[0].deployed.document)
    assert chrome.execute_script("return getSelection().toString()").strip() == yaml.strip()
    chrome.execute_script("navigator.clipboard.writeText = async (text) => { window.copied = text; };")
    chrome.execute_script("arguments[0].click()", button)
    WebDriverWait(chrome, 5).until(lambda _: told.text == "Copied.")
    assert chrome.execute_script("return window.copied") == yaml


# Opening and closing


@pytest.mark.parametrize("close", ["escape", "button"])
def test_the_card_closes_and_gives_the_focus_back(chrome, card, close):
    chrome.execute_script("document.getElementById('mode').focus()")
    shown = card(0)
    assert chrome.switch_to.active_element.get_attribute("aria-label") == "Close the card"
    if close == "escape":
        ActionChains(chrome).send_keys(Keys.ESCAPE).perform()
    else:
        shown.find_element("css selector", ".close").click()
    assert not is_open(chrome)
    assert chrome.switch_to.active_element.get_attribute("id") == "mode"


def test_another_point_takes_the_card_over(card):
    card(0)
    shown = card(1)
    assert shown.get_attribute("aria-label").startswith("Trial 1:")
    assert "40.0 %" not in shown.text


@pytest.mark.parametrize(("width", "expected"), [(1280, 480), (390, 390)])
def test_the_card_fits_the_window_in_both_colours(chrome, card, tmp_path, width, expected):
    resize(chrome, width)
    shown, surfaces = card(2), set()
    assert shown.rect["width"] == pytest.approx(expected, abs=16)  # a scroll bar of the page
    assert chrome.execute_script("return arguments[0].scrollWidth <= arguments[0].clientWidth", shown)
    for _ in range(2):
        surfaces.add(chrome.execute_script("return getComputedStyle(arguments[0]).backgroundColor", shown))
        assert len(screenshot(chrome, tmp_path / "card.png")) > 20_000
        chrome.execute_script("document.getElementById('mode').click()")
    assert surfaces == {"rgb(255, 255, 255)", "rgb(22, 27, 34)"}


# The tooltip


@pytest.mark.parametrize("width", [390, 1280])
def test_hovering_a_point_shows_its_trial_inside_the_window(chrome, page, width):
    resize(chrome, width)
    WebDriverWait(chrome, 5).until(lambda it: it.find_element("id", "panel-0").rect["width"] < width)
    hover(chrome, points(chrome)[0])
    shown = WebDriverWait(chrome, 5).until(
        lambda it: [one for one in it.find_elements("css selector", ".tooltip") if one.is_displayed()]
    )[0]
    place = chrome.execute_script("return arguments[0].getBoundingClientRect().toJSON()", shown)
    assert place["left"] >= 0
    assert place["right"] <= width
    assert place["top"] >= 0
    for words in ("trial ", "(proxy)", "of the budget", "mbconv", "deployed", "activations"):
        assert words in shown.text
    ActionChains(chrome).move_to_element(chrome.find_element("id", "mode")).perform()
    WebDriverWait(chrome, 5).until(lambda _: not shown.is_displayed())


# Hostile names


def hostile(record, text):
    """Put a text into every field of a record that comes from outside."""

    def named(member):
        stages = [{**row, "operator": text, "act": text} for row in member.document["stages"]]
        document = {**member.document, "name": text, "stages": stages}
        return replace(member, document=document, repair=(text,))

    return replace(
        record,
        deployed=named(record.deployed),
        proxy=named(record.proxy),
        params={text: text, "__proto__": text},
        outcome=replace(record.outcome, reason=text),
    )


def test_hostile_names_stay_text(chrome, tmp_path):
    scored = [hostile(training(n, 0.4, 10), text) for n, text in enumerate(HOSTILE)]
    broken = [hostile(failed(n), text) for n, text in enumerate(HOSTILE, len(HOSTILE))]
    open_page(chrome, tmp_path / "page.html", [*scored, *broken], title="".join(HOSTILE))
    for number, text in enumerate((*HOSTILE, *HOSTILE)):
        shown = choose(chrome, number)
        assert (
            shown.get_attribute("textContent").count(text[:12]) >= 5
        )  # name, operators, repair, choice, YAML
        assert not shown.find_elements("css selector", "script, img, a, b, svg[onload]")
    choose(chrome, None)
    for point in points(chrome):
        hover(chrome, point)
    assert chrome.execute_script("return window.hostile ?? null") is None
    assert chrome.get_log("browser") == []
