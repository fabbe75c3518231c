"""What a run hands over: the deployed network in every form, trained where that was asked for."""

import json

import pytest
import torch
from handed_over import without_us
from safetensors.torch import load_file
from test_command import RUN, call

from scalesearch import build, load
from scalesearch.cli.target import resolve
from scalesearch.handover.model import read_model

SMALL = [part if part != "2e9" else "2e7" for part in RUN]
ALONE = """
import sys
import json, network, torch
from safetensors.torch import load_file
module = getattr(network, json.load(open("model.json"))["class"])().eval()
module.load_state_dict(load_file("weights.safetensors"))
torch.save(module(torch.load(sys.argv[1], weights_only=True)).detach(), sys.argv[2])
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on digits that trains the deployed network for an epoch, and what its files said before that."""
    cwd = tmp_path_factory.mktemp("best")
    (cwd / "small.yaml").write_text(
        "name: small\nrungs: [600]\nfinals: {candidates: 1, seeds: 1, share: 0.3}\n"
    )
    asked = [*SMALL, "--study", "small.yaml", "--data", "digits", "--trials", "2", "--out", "found", "--json"]
    code, _, err = call(*asked, cwd=cwd)
    assert code == 0, err
    before = read_model(cwd / "found/best"), json.loads((cwd / "found/report.json").read_text())
    code, out, err = call(*asked, "--final-epochs", "1", cwd=cwd)
    assert code == 0, err
    return cwd, before, json.loads(out), err


def test_best_is_exported_untrained_and_says_so(trained):
    cwd, (model, report), *_ = trained
    assert model.weights is None
    assert report["final"] is None
    assert model.network == load(cwd / "found/best/network.yaml") == resolve(str(cwd / "found")).network
    assert model.network.cost().flops == report["best"]["flops"] <= 2e7


def test_the_deployed_network_is_trained_at_the_end_and_its_accuracy_is_reported_apart(trained):
    cwd, (_, before), report, err = trained
    number = report["best"]["trial"]
    metrics = json.loads((cwd / f"found/final/{number}/metrics.json").read_text())
    assert report["best"] == before["best"]  # the proxy's accuracy stays the proxy's
    assert report["final"]["test"] == metrics["best"]["test"]
    assert report["final"]["test"]["images"] == 180
    assert report["final"]["epochs"] == metrics["epochs"] == 1
    assert "trained itself for 1 epochs" in err
    assert json.loads((cwd / "found/report.json").read_text()) == report


def test_best_computes_what_was_trained_without_this_package(trained, tmp_path):
    cwd, _, report, _ = trained
    best = cwd / "found/best"
    stored = read_model(cwd / f"found/final/{report['best']['trial']}/best")
    model = read_model(best)
    assert model.facts == stored.facts
    assert model.weights.keys() == stored.weights.keys()
    assert all(torch.equal(model.weights[name], stored.weights[name]) for name in model.weights)
    images = torch.randn(2, 3, *model.network.input.size)
    torch.save(images, tmp_path / "images.pt")
    without_us(ALONE, best, tmp_path / "images.pt", tmp_path / "logits.pt")
    module = build(model.network).eval()
    module.load_state_dict(load_file(best / "weights.safetensors"))
    assert torch.equal(torch.load(tmp_path / "logits.pt", weights_only=True), module(images).detach())


def test_the_proxys_folder_is_a_model_that_classifies(trained):
    cwd, *_ = trained
    image = cwd / "image.png"
    from PIL import Image
    from sklearn.datasets import load_digits

    Image.fromarray((load_digits().images[0] * 15).astype("uint8")).save(image)
    code, out, err = call("predict", cwd / "found/best/proxy", image, "--json", cwd=cwd)
    assert code == 0, err
    (found,) = json.loads(out)["images"]
    assert {guess["name"] for guess in found["classes"]} <= set("0123456789")
    assert sum(guess["probability"] for guess in found["classes"]) <= 1 + 1e-6
