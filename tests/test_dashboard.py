"""The dashboard's data as numbers, and its words."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from factories import BUDGET, HOSTILE, failed, trial
from hypothesis import given
from hypothesis import strategies as st

from scalesearch.dashboard import theme
from scalesearch.dashboard.describe import failure_reasons, label, level_text, one_line, pattern_text
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.context import Context, Reference
from scalesearch.errors import InputError

# Words and numbers


@pytest.mark.parametrize(
    ("value", "flops", "count"),
    [
        (0, "0 FLOPs", "0"),
        (999, "999 FLOPs", "999"),
        (9_996, "10.0 kFLOPs", "10.0 k"),
        (999_960, "1.00 MFLOPs", "1.0 M"),
        (5_288_548, "5.29 MFLOPs", "5.3 M"),
        (1_982_559_632, "1.98 GFLOPs", "2.0 G"),
        (144_907_992, "145 MFLOPs", "145 M"),
    ],
)
def test_numbers_have_units_and_three_digits(value, flops, count):
    assert (theme.flops_text(value), theme.count_text(value)) == (flops, count)


@given(st.integers(1, 10**17))
def test_a_written_number_is_within_half_a_percent(value):
    number, unit = theme.flops_text(value).removesuffix("FLOPs").split(" ")
    assert float(number) * 1000 ** " kMGTP".index(unit or " ") == pytest.approx(value, rel=0.0051)


def test_levels_and_patterns_read_as_words():
    assert level_text(250e6, 2e9) == "250 MFLOPs (1/8 of the budget)"
    assert level_text(2e9, 2e9) == "2.00 GFLOPs (the budget)"
    assert level_text(0.3e9, 1e9) == "300 MFLOPs (30.0 % of the budget)"
    assert pattern_text(trial().deployed.document) == "1 × fused_mbconv, 1 × mbconv"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_palette_has_contrast_on_the_card(mode):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(a, b):
        dark, light = sorted((luminance(a), luminance(b)))
        return (light + 0.05) / (dark + 0.05)

    surfaces = theme.MODES[mode]
    assert all(contrast(colour, surfaces.card) >= 3 for colour in (*theme.PALETTE, theme.MUTED))
    assert all(contrast(ink, surfaces.card) >= 4.5 for ink in (surfaces.ink, surfaces.quiet))


# Panels as a conformance suite: whatever is in PANELS

OF_SCORES = ("pareto", "progress")  # panels that have nothing to draw without a score


def figures(drawn):
    """Return the figures of a panel, by the name of their view."""
    if isinstance(drawn, go.Figure):
        return {"": drawn}
    return drawn if isinstance(drawn, dict) else {}


@pytest.mark.parametrize("name", OF_SCORES)
@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ((), "No trial has ended yet"),
        ((failed(0), failed(1)), "2 of 2 trials failed"),
        ((failed(0),), "The only trial failed"),
        ((trial(0, None, status="interrupted"),), "No trial has a score yet"),
    ],
)
def test_a_panel_without_scores_says_why_in_words(name, trials, words):
    (figure,) = figures(PANELS[name](trials)).values()
    (annotation,) = figure.layout.annotations
    assert words in annotation.text.replace("<br>", " ")


@pytest.mark.parametrize("name", OF_SCORES)
def test_a_panel_of_one_trial_draws_it(name):
    for figure in figures(PANELS[name]([trial(accuracy=0.5)], context=Context(budget=BUDGET))).values():
        assert any(trace.y is not None and 0.5 in trace.y for trace in figure.data)
        assert "validation accuracy of the proxy" in figure.layout.yaxis.title.text


@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_panel_gives_plotly_no_markup_of_others(name, text):
    trials = [trial(0, name=text), failed(1, reason=text)]
    context = Context(BUDGET, (Reference(text, int(BUDGET), 10**6, 10**6), Reference(text, 1, 1, 1)), 0)
    for drawn in (trials, trials[1:]):
        for figure in figures(PANELS[name](drawn, context=context)).values():
            written = json.dumps(json.loads(figure.to_json()))
            assert not re.search("[<>]", re.sub("<br>|<extra></extra>", "", written))


# Documents and floors


def test_layout_names_the_near_misses():
    with pytest.raises(InputError, match=r"panel: 'paretto' does not exist; did you mean pareto\?"):
        Layout((PanelChoice("paretto"),))
    with pytest.raises(InputError, match="option of the panel pareto: 'x' does not exist"):
        Layout((PanelChoice("pareto", {"x": 1}),))


@pytest.mark.parametrize("value", ["many", 0, -1, 1.5, True, None, [8]])
def test_a_layout_names_the_rule_that_the_value_of_an_option_breaks(value):
    words = "option top of the panel importance: input should be .*, but got "
    with pytest.raises(InputError, match=words + re.escape(repr(value))):
        Layout((PanelChoice("importance", {"top": value}),))
    assert Layout((PanelChoice("importance", {"top": 8}),)).panels[0].options == {"top": 8}


def test_a_failed_network_that_came_again_is_one_failure():
    trials = [failed(0), replace(failed(1), repeats=0), failed(2, reason="another")]
    assert failure_reasons(trials) == [("loss is not finite", 1), ("another", 1)]


def test_text_is_one_short_line():
    assert one_line("a\n\tb\x00c\u202e", 9) == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert label("<b>&") == "&lt;b&gt;&amp;"


def test_dashboard_loads_neither_torch_nor_optuna():
    loaded = "sorted({'torch', 'optuna'} & set(sys.modules))"
    code = f"import sys, scalesearch.dashboard.page; sys.exit(str({loaded}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
