"""Brushing in a real browser: what is dragged on one panel filters the others."""

from dataclasses import replace
from itertools import pairwise

import pytest
from browser import points, resize
from factories import BUDGET, HOSTILE, failed, trial
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from scalesearch.dashboard.content import Content, panel_data
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.page import asset, write_page
from scalesearch.dashboard.panels.choices import choices
from scalesearch.dashboard.panels.operators import operators

NAMES = (*HOSTILE[:2], "constructor", "__proto__")

# An axis of numbers, the choices made on it, and the axis that takes its place.
ADOPTED = """
    const axisOf = (values) => new ChoiceAxis("x", "x", (value) => value, values);
    const [one, other] = [axisOf(before), axisOf(after)];
    for (const id of slots ?? []) one.toggle(id);
    if (drag) one.keep(...drag);
    other.adopt(one.selected);
    return { passing: after.filter((_, row) => other.passes(row)), words: other.words() };
"""


def searched(n=40):
    """Return n trials: accuracy rises with the number, and every kind of choice is there."""
    found = []
    for number in range(n):
        params = {
            "stages.0.operator": ("mbconv", "fused_mbconv")[number % 2],
            "head.channels": (None, 640)[number // 2 % 2],
            "stem.pool": number % 3 == 0,
            "coefficients.depth": number / n + 1e-6,
        }
        if number % 2 == 0:
            params["stages.0.expand"] = (1, 4, 6)[number % 3]
        found.append(replace(trial(number, 0.3 + 0.01 * number, level=BUDGET), params=params))
    return [*found, replace(failed(n, level=BUDGET), params={"coefficients.depth": 0.0})]


def open_page(chrome, path, trials, width=1280):
    drawn = [choices(trials), operators(trials), choices(trials)]
    panels = [panel_data(number, one) for number, one in enumerate(drawn)]
    known = entries(trials, (), lambda document: str(document), budget=BUDGET)
    resize(chrome, width)
    write_page(path, Content("a run", "scalesearch", "", panels, entries=known, runs=["a run"]))
    chrome.get_log("browser")
    chrome.get(path.as_uri())
    WebDriverWait(chrome, 20).until(lambda it: count(it).startswith(f"{len(trials)} trial"))


def count(chrome, panel=0):
    found = chrome.find_elements("css selector", f"#panel-{panel} .count")
    return found[0].text if found else ""


def axis(chrome, title, panel=0):
    """Return the axis with this title; it is added where it is not shown."""
    names = chrome.find_elements("css selector", f"#panel-{panel} .axis")
    found = [
        one for one in names if one.find_element("css selector", ".name").text.replace("\n", "") == title
    ]
    if found:
        return found[0]
    Select(chrome.find_element("css selector", f"#panel-{panel} select")).select_by_visible_text(title)
    return axis(chrome, title, panel)


def drag(chrome, title, start, end, panel=0):
    """Drag along an axis, from and to shares of its length from below or from the left."""
    track = axis(chrome, title, panel).find_element("css selector", ".track")
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", track)
    width, height = track.size["width"], track.size["height"]
    lying = width > height
    length = width - 16 if lying else 320
    places = []
    for share in (start, (start + end) / 2, end):
        from_middle = int(share * length - length / 2)
        places.append((from_middle, 0) if lying else (1, int(-from_middle + (4 + 160 - height / 2))))
    action = ActionChains(chrome, duration=20).move_to_element_with_offset(track, *places[0]).click_and_hold()
    for before, after in pairwise(places):
        action.move_by_offset(after[0] - before[0], after[1] - before[1])
    action.release().perform()


def faded(chrome):
    """Return how many points of the other panel are faded and how many are not."""
    opacities = [float(point.value_of_css_property("opacity")) for point in points(chrome, 1)]
    return sum(value < 0.2 for value in opacities), sum(value >= 0.2 for value in opacities)


@pytest.mark.parametrize("width", [1280, 390])
def test_dragging_on_an_axis_filters_every_panel_and_a_click_clears_it(chrome, tmp_path, width):
    open_page(chrome, tmp_path / "page.html", searched(), width)
    assert faded(chrome) == (0, 40)
    drag(chrome, "coefficients.depth", 0.5, 1)
    kept = int(count(chrome).split()[0])
    assert 18 <= kept <= 22
    assert count(chrome) == f"{kept} of 41 trials"
    assert count(chrome, 2) == f"{kept} of 41 trials, filtered elsewhere on this page"
    assert faded(chrome) == (40 - kept, kept)
    drag(chrome, "accuracy", 0.8, 1)
    assert 0 < int(count(chrome).split()[0]) < kept
    axis(chrome, "accuracy").find_element("css selector", ".track").click()
    assert count(chrome) == f"{kept} of 41 trials"
    chrome.find_element("css selector", "#panel-0 .tools button").click()
    assert count(chrome) == count(chrome, 2) == "41 trials"
    assert faded(chrome) == (0, 40)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
    assert chrome.get_log("browser") == []


def test_a_filter_from_elsewhere_takes_the_place_of_what_was_kept(chrome, tmp_path):
    open_page(chrome, tmp_path / "page.html", searched())
    drag(chrome, "coefficients.depth", 0.5, 1)
    drag(chrome, "accuracy", 0.9, 1, panel=2)
    assert "elsewhere" in count(chrome)
    assert "elsewhere" not in count(chrome, 2)
    assert chrome.find_elements("css selector", "#panel-0 .kept") == []


def test_the_keyboard_brushes_too(chrome, tmp_path):
    open_page(chrome, tmp_path / "page.html", searched())
    track = axis(chrome, "stem.pool").find_element("css selector", ".track")
    track.send_keys(Keys.ARROW_DOWN)
    assert count(chrome) == "14 of 41 trials"  # pool: true
    track.send_keys(Keys.ARROW_DOWN)
    assert count(chrome) == "26 of 41 trials"
    track.send_keys(Keys.SHIFT, Keys.ARROW_UP)
    assert count(chrome) == "40 of 41 trials"
    assert "kept: false, true" in track.get_attribute("aria-label")
    track.send_keys(Keys.ESCAPE)
    assert count(chrome) == "41 trials"


def test_values_are_kept_by_name_absent_and_none_ones_too(chrome, tmp_path):
    open_page(chrome, tmp_path / "page.html", searched())
    for title, value, kept in (
        ("stages.0.expand", "not asked", 21),
        ("head.channels", "null", 20),
        ("head.channels", "not asked", 1),
        ("accuracy", "no score", 1),
        ("stages.0.expand", "4", sum(number % 2 == 0 and number % 3 == 1 for number in range(40))),
    ):
        button = axis(chrome, title).find_element("xpath", f".//button[@title='{value}']")
        button.click()
        assert button.get_attribute("aria-pressed") == "true"
        assert count(chrome) == f"{kept} of 41 trials"
        button.click()
        assert count(chrome) == "41 trials"


def test_what_was_kept_stays_when_numbers_side_by_side_get_a_scale(chrome):
    take = f"return (({{ before, after, slots, drag }}) => {{ {ADOPTED} }})(arguments[0])"
    script = "\n".join((asset("numbers.js"), asset("brush_axes.js"), take))
    few, many = [1, 2, 3, 4], [*range(1, 21)]
    result = chrome.execute_script(script, {"before": few, "after": many, "slots": ["number:2", "number:3"]})
    assert result == {"passing": [2, 3], "words": "kept: 2 to 3"}
    result = chrome.execute_script(script, {"before": many, "after": [*many, 40, -3], "drag": [0.5, 1]})
    assert result == {"passing": [*range(11, 21), 40], "words": "kept: from 10.5"}
    result = chrome.execute_script(script, {"before": many, "after": [*many, 40, -3], "drag": [0, 0.5]})
    assert result == {"passing": [*range(1, 11), -3], "words": "kept: up to 10.5"}


def test_pointing_at_a_line_shows_its_trial_and_a_click_opens_it(chrome, tmp_path):
    open_page(chrome, tmp_path / "page.html", [replace(trial(7, 0.5), params={"stem.pool": True})])
    canvas = chrome.find_elements("css selector", "#panel-0 canvas")[-1]
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    # One trial stands in the middle of each axis, and its line halfway between the first two.
    over = chrome.execute_script(
        "const axes = [...document.querySelectorAll('#panel-0 .axis')];"
        "const left = (one) => one.getBoundingClientRect().left;"
        "return (left(axes[0]) + left(axes[1])) / 2 + 14 - left(arguments[0])",
        canvas,
    )
    offset = (int(over - canvas.size["width"] / 2), int(46 + 160 - canvas.size["height"] / 2))
    ActionChains(chrome).move_to_element_with_offset(canvas, *offset).perform()
    assert "trial 7" in chrome.find_element("css selector", ".tooltip").text
    ActionChains(chrome).click().perform()
    marked = (
        "const c = arguments[0];"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
    )
    ActionChains(chrome).move_by_offset(0, 60).perform()
    assert chrome.execute_script(marked, canvas)


def test_hostile_leaves_and_values_stay_text(chrome, tmp_path):
    trials = [
        replace(one, params={name: NAMES[(number + place) % 4] for place, name in enumerate(NAMES)})
        for number, one in enumerate(searched(8))
    ]
    open_page(chrome, tmp_path / "page.html", trials)
    names = {one.text.replace("\n", "") for one in chrome.find_elements("css selector", "#panel-0 .name")}
    assert set(NAMES) <= names
    titles = {one.get_attribute("title") for one in chrome.find_elements("css selector", "#panel-0 .tick")}
    assert set(NAMES) <= titles
    assert chrome.execute_script("return window.hostile") is None
    assert chrome.find_elements("css selector", ".choices img, .choices script") == []
    assert chrome.get_log("browser") == []
