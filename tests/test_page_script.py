"""What the page's script has of Python's functions gives the same in a real browser."""

import json
from dataclasses import replace

from factories import HOSTILE, trial
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import networks

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.folding import fold
from scalesearch.dashboard.page import asset
from scalesearch.dashboard.theme import count_text, flops_text, percent_text, seconds_text


def in_browser(chrome, name, call, argument):
    result = chrome.execute_script(
        f"{asset(name)}\nreturn JSON.stringify({call}(JSON.parse(arguments[0])))", json.dumps(argument)
    )
    return json.loads(result)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([2, 3]).flatmap(lambda dims: networks(dims=dims)), min_size=1, max_size=4),
    st.sampled_from(["plain", "true", "no", "1e3", "a: b", "ä", "x" * 150, *HOSTILE]),
    st.sampled_from([0.0, 0.2, 0.125, 1e-7]),
)
def test_the_script_writes_yaml_as_the_command_does(chrome, drawn, name, drop):
    written = [
        to_document(replace(network, name=name, drop_path=drop if network.dims == 2 else 0.2))
        for network in drawn
    ]
    one = trial()
    records = [
        replace(one, number=n, deployed=replace(one.deployed, document=document))
        for n, document in enumerate(written)
    ]
    made = entries(records, (), documents.write_text)
    call = "((all) => all.map(networkYaml))"
    expected = [documents.write_text(json.loads(json.dumps(document))) for document in written]
    assert in_browser(chrome, "network_yaml.js", call, made) == expected


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
KEYS = st.sampled_from(["a", "b", "k", "n", "t", "constructor", "__proto__"])
JSON = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(JSON, max_size=5), max_size=10))
def test_the_script_unfolds_what_was_folded(chrome, data):
    folded = [fold(one) for one in data]
    assert in_browser(chrome, "folding.js", "((all) => all.map(unfold))", folded) == data


# Those that lie halfway between two texts are where Python and JavaScript part.
HALVES = st.integers(0, 10**6).map(lambda n: n / 16) | st.integers(0, 10**6).map(lambda n: 5 * n)
NUMBERS = HALVES | st.floats(0, 1e12) | st.floats(0, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=20, max_size=200))
@example([0.0625, 2.5, 1125, 1135, 12.25, 999_950, 999_500, 0.5, 1.5, 1e18])
def test_the_script_writes_numbers_as_python_does(chrome, drawn):
    call = "((all) => all.map((n) => [flopsText(n), countText(n), percentText(n), secondsText(n)]))"
    expected = [[flops_text(n), count_text(n), percent_text(n), seconds_text(n)] for n in drawn]
    assert in_browser(chrome, "numbers.js", call, drawn) == expected
