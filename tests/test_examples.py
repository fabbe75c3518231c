"""The examples, each run as a reader would run it, with small settings."""

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import unavailable
from photos import TEXTURES, photo

import scalesearch
from scalesearch.handover.classify import Classifier
from scalesearch.handover.export import export
from scalesearch.handover.model import Model

EXAMPLES = Path(__file__).parents[1] / "examples"
SEARCH = ("--trials", "2", "--images", "200")


def run(name, *arguments, cwd, **environment):
    command = [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_photos(folder, count):
    rng = np.random.default_rng(0)
    for texture in TEXTURES:
        (folder / texture).mkdir(parents=True)
        for number in range(count):
            photo(rng, texture).save(folder / texture / f"{number}.png")


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        "budget_sweep",
        "own_data",
        "own_operator",
        "scale_a_published_network",
        "use_the_exported_model",
    }


def test_torch_counts_a_network_of_the_own_operator_as_its_layers_do(tmp_path):
    layers, by_torch = run("own_operator", cwd=tmp_path).splitlines()
    assert layers.split()[-2:] == by_torch.split()[-2:]


def test_a_scaled_network_keeps_its_budget_and_can_be_read_again(tmp_path):
    text = run("scale_a_published_network", "mobilenet_v2", "--budget-flops", "5e8", cwd=tmp_path)
    flops = scalesearch.load(tmp_path / "scaled.yaml").cost().flops
    assert 0.97 * 5e8 <= flops <= 5e8
    assert f"{flops:,} FLOPs" in text


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 12)
    return folder


@pytest.fixture(scope="module")
def model():
    # Its logits lie some units apart, so that other pixels give other shares.
    network = replace(scalesearch.load("shufflenet_v2_x0_5"), resolution=48, classes=3)
    torch.manual_seed(0)
    module = scalesearch.build(network).eval()
    with torch.no_grad():
        module.head.classifier.weight /= module(torch.randn(8, 3, 48, 48)).std(dim=0).min()
    return Model(network, module.state_dict(), TEXTURES, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def classified(model, photos):
    files = sorted(photos.glob("*/0.png"))
    found = Classifier(model).classify(files, top=1)
    return files, [f"{one.file}: {one.guesses[0].name} {one.guesses[0].probability:.1%}" for one in found]


def test_an_exported_model_classifies_alike_where_scalesearch_cannot_be_imported(model, photos, tmp_path):
    export(model, tmp_path / "net", forms=("network",))
    (tmp_path / "scalesearch.py").write_text("raise ImportError('not here')\n")
    files, expected = classified(model, photos)
    text = run("use_the_exported_model", "net", *files, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert text.splitlines() == expected


@pytest.mark.long
def test_onnx_runtime_classifies_alike(model, photos, tmp_path):
    if find_spec("onnxruntime") is None:
        unavailable("onnxruntime")
    export(model, tmp_path / "net", forms=("onnx",))
    files, expected = classified(model, photos)
    text = run("use_the_exported_model", "--onnx", "net", *files, cwd=tmp_path)
    assert text.splitlines() == expected


@pytest.mark.long
def test_a_search_on_own_images_names_their_classes(tmp_path):
    write_photos(tmp_path / "photos", 60)
    text = run("own_data", "photos", "--budget-flops", "2e7", *SEARCH, "--out", "found", cwd=tmp_path)
    assert f"3 classes: {', '.join(sorted(TEXTURES))}" in text
    assert 0.97 * 2e7 <= scalesearch.load(tmp_path / "found/best/network.yaml").cost().flops <= 2e7


@pytest.mark.long
def test_a_search_trains_the_own_operator(tmp_path):
    run("own_operator", "--data", "digits", *SEARCH, cwd=tmp_path)
    trials = scalesearch.load_trials(tmp_path / "runs/own_operator")
    assert all(one.complete and one.pattern == "basic basic" for one in trials)


@pytest.mark.long
def test_a_sweep_prints_a_line_for_each_budget(tmp_path):
    text = run("budget_sweep", "--data", "digits", "--budgets", "1e7,2e7", *SEARCH, cwd=tmp_path)
    _, small, large = text.splitlines()
    assert small.split()[0] == "1e+07"
    assert large.split()[0] == "2e+07"
