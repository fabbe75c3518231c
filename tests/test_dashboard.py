"""The dashboard's data as numbers, and its words."""

import json
import re
import subprocess
import sys
from math import nan

import pytest
from factories import BUDGET, HOSTILE, failed, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from scalesearch.dashboard import theme
from scalesearch.dashboard.describe import label, level_text, one_line, pattern_text, stage_lines
from scalesearch.dashboard.layout import Layout, PanelChoice
from scalesearch.dashboard.panels import PANELS
from scalesearch.dashboard.panels.context import Context, Reference
from scalesearch.dashboard.panels.pareto import label_rows, pareto_data
from scalesearch.dashboard.panels.progress import progress_data
from scalesearch.errors import InputError


def numbers(points):
    return [point.trial.number for point in points]


# Data


def test_front_is_the_hand_computed_one():
    trials = [
        trial(0, 0.50, flops=100),
        trial(1, 0.40, flops=200),  # dearer and worse than 0
        trial(2, 0.60, flops=300),
        trial(3, 0.60, flops=400),  # dearer and no better than 2
        trial(4, 0.70, flops=900),
        trial(5, 0.90, flops=1001),  # over the budget
        failed(6, flops=50),
        trial(7, 0.99, flops=60, status="interrupted"),
        trial(8, nan, flops=70),
        trial(9, 0.95, flops=80, role="final"),
    ]
    data = pareto_data(trials, budget=1000)
    assert numbers(data.front) == [0, 2, 4]
    assert numbers(data.dominated) == [1, 3]
    assert numbers(data.over) == [5]
    assert [record.number for record in (*data.failed, *data.interrupted)] == [6, 7]


def test_within_a_level_accuracy_alone_ranks():
    trials = [trial(0, 0.5, flops=980, level=1000), trial(1, 0.6, flops=990, level=1000)]
    assert numbers(pareto_data(trials).front) == [1]


def dominates(a, b):
    no_worse = a.flops <= b.flops and a.accuracy >= b.accuracy
    return no_worse and (a.flops, a.accuracy) != (b.flops, b.accuracy)


def beats_in_level(a, b):
    return a.trial.level == b.trial.level and a.accuracy > b.accuracy


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 6), st.integers(1, 3)), max_size=12))
def test_front_equals_that_of_brute_force_domination(drawn):
    trials = [
        trial(number, accuracy / 10, flops=flops, level=level)
        for number, (flops, accuracy, level) in enumerate(drawn)
    ]
    data = pareto_data(trials)
    points = [*data.front, *data.dominated]
    assert sorted(numbers(points)) == list(range(len(trials)))
    expected = [p for p in points if not any(dominates(q, p) or beats_in_level(q, p) for q in points)]
    assert sorted(numbers(data.front)) == sorted(numbers(expected))
    assert [p.accuracy for p in data.front] == sorted(p.accuracy for p in data.front)
    assert bool(data.front) == bool(trials)


def test_references_far_from_the_search_are_named_but_not_drawn():
    references = (Reference("far", 10**9), Reference("near", 3000), Reference("nearest", 300))
    data = pareto_data([trial(flops=500)], 1000, references)
    assert [near.name for near in data.near] == ["nearest", "near"]
    assert [far.name for far in data.far] == ["far"]
    assert data.span == (300, 3000)


def test_labels_share_a_row_only_where_they_do_not_overlap():
    assert label_rows([0.0, 0.1, 0.5], [0.2, 0.2, 0.2]) == [0, 1, 0]
    assert label_rows([0.0, 0.01, 0.02, 0.03], [0.3] * 4) == [0, 1, 2, None]


def test_progress_is_the_running_best_of_each_level():
    trials = [
        trial(3, 0.3, level=1000),
        trial(0, 0.5, level=1000),
        trial(1, 0.2, level=500),
        failed(2, level=500),
        trial(4, 0.6, level=1000),
        trial(5, nan, level=1000),
    ]
    high, low = progress_data(trials)
    assert (high.level, high.numbers, high.best) == (1000, (0, 3, 4), (0.5, 0.5, 0.6))
    assert (low.level, low.numbers, low.accuracies) == (500, (1,), (0.2,))


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


def test_stage_lines_have_a_line_a_stage_in_columns():
    document = trial().deployed.document
    head, *lines = stage_lines(document)
    assert len(lines) == len(document["stages"])
    assert len({len(line) for line in (head, *lines)}) == 1
    stage = document["stages"][1]
    assert lines[1].split() == ["2", "mbconv", f"{stage['channels']}×{stage['repeats']}", "5×5", "2"]


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


@pytest.mark.parametrize("name", PANELS)
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
    (annotation,) = PANELS[name](trials).layout.annotations
    assert words in annotation.text.replace("<br>", " ")


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_of_one_trial_draws_it(name):
    figure = PANELS[name]([trial(accuracy=0.5)], context=Context(budget=BUDGET))
    assert any(0.5 in (trace.y or ()) for trace in figure.data)
    assert "validation accuracy of the proxy" in figure.layout.yaxis.title.text


@pytest.mark.parametrize("name", PANELS)
@pytest.mark.parametrize("text", HOSTILE)
def test_a_panel_gives_plotly_no_markup_of_others(name, text):
    trials = [trial(0, name=text), failed(1, reason=text)]
    context = Context(BUDGET, (Reference(text, int(BUDGET)), Reference(text, 1)), 0)
    for drawn in (trials, trials[1:]):
        written = json.dumps(json.loads(PANELS[name](drawn, context=context).to_json()))
        assert not re.search("[<>]", re.sub("<br>|<extra></extra>", "", written))


def test_pareto_draws_wall_front_and_references_where_they_belong():
    trials = [trial(0, 0.4, flops=25_000_000), trial(1, 0.6)]
    figure = PANELS["pareto"](trials, context=Context(BUDGET, (Reference("known", 80_000_000),), 1))
    by_name = {trace.name: trace for trace in figure.data}
    assert [shape.x0 for shape in figure.layout.shapes] == [BUDGET, BUDGET]
    assert by_name["front"].y == (0.4, 0.6)
    reference = by_name["published network, at its cost"]
    assert (reference.x, reference.yaxis) == ((80_000_000,), "y2")  # off the accuracy axis
    assert by_name["chosen"].x == (trials[1].deployed.flops,)
    hover = by_name["front"].hovertext[1]
    for part in ("trial 1", "accuracy 60.0 %", "params", "activations", "proxy", "fused_mbconv"):
        assert part in hover


# Documents and floors


def test_layout_names_the_near_misses():
    with pytest.raises(InputError, match=r"panel: 'paretto' does not exist; did you mean pareto\?"):
        Layout((PanelChoice("paretto"),))
    with pytest.raises(InputError, match="option of the panel pareto: 'x' does not exist"):
        Layout((PanelChoice("pareto", {"x": 1}),))


def test_text_is_one_short_line():
    assert one_line("a\n\tb\x00c\u202e", 9) == "a b c"
    assert one_line("abcdef", 4) == "abc…"
    assert label("<b>&") == "&lt;b&gt;&amp;"


def test_dashboard_loads_neither_torch_nor_optuna():
    loaded = "sorted({'torch', 'optuna'} & set(sys.modules))"
    code = f"import sys, scalesearch.dashboard.page; sys.exit(str({loaded}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
