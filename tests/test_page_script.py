"""What the page's script has of Python's functions gives the same in a real browser."""

import json
from dataclasses import replace

import pytest
from browser import headless, programs
from conftest import unavailable
from factories import HOSTILE, trial
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import networks

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.dashboard.entries import entries
from scalesearch.dashboard.folding import fold
from scalesearch.dashboard.page import asset


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    found = programs()
    if found is None:
        unavailable("Chromium with chromedriver (Debian: apt-get install chromium chromium-driver)")
    with headless(tmp_path_factory.mktemp("profile"), *found) as started:
        yield started


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
