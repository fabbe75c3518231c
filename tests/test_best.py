"""What a run hands over: the deployed network in every form, trained where that was asked for."""

import json

import pytest
import torch
from handed_over import without_us
from safetensors.torch import load_file
from test_command import SMALL, call

from scalesearch import build, load
from scalesearch.cli.target import resolve
from scalesearch.handover.model import read_model

pytestmark = pytest.mark.slow
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
    metrics = json.loads((cwd / f"found/final/{number}-1/metrics.json").read_text())
    assert report["best"] == before["best"]  # the proxy's accuracy stays the proxy's
    assert report["final"]["test"] == metrics["best"]["test"]
    assert report["final"]["test"]["images"] == 180
    assert report["final"]["epochs"] == metrics["epochs"] == 1
    assert "trained itself for 1 epochs" in err
    assert json.loads((cwd / "found/report.json").read_text()) == report


def test_best_computes_what_was_trained_without_this_package(trained, tmp_path):
    cwd, _, report, _ = trained
    best = cwd / "found/best"
    stored = read_model(cwd / f"found/final/{report['best']['trial']}-1/best")
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


def test_a_form_that_is_asked_for_later_is_made_then(trained):
    cwd, *_ = trained
    asked = ["run", "--budget-flops", "2e7", "--study", "small.yaml", "--data", "digits", "--trials", "2"]
    before = (cwd / "found/best/weights.safetensors").read_bytes()
    assert not (cwd / "found/best/cost.json").exists()
    code, _, err = call(*asked, "--out", "found", "--export", "network,cost", cwd=cwd)
    assert code == 0, err
    assert "exporting" in err
    assert json.loads((cwd / "found/best/cost.json").read_text())["macs"] <= 2e7
    assert (cwd / "found/best/weights.safetensors").read_bytes() == before  # still the trained ones
    code, _, err = call(*asked, "--out", "found", "--export", "network", cwd=cwd)
    assert code == 0, err
    assert "exporting" not in err
    assert (cwd / "found/best/cost.json").exists()


@pytest.mark.long
def test_a_training_of_other_epochs_lies_beside_and_the_longest_is_handed_over(trained):
    cwd, _, report, _ = trained
    number = report["best"]["trial"]
    asked = [*SMALL, "--study", "small.yaml", "--data", "digits", "--trials", "2", "--out", "found"]
    for epochs, longest in ((2, 2), (1, 2)):
        code, _, err = call(*asked, "--final-epochs", epochs, cwd=cwd)
        assert code == 0, err
        assert f"trained itself for {longest} epochs" in err
    stored = read_model(cwd / f"found/final/{number}-2/best")
    assert read_model(cwd / "found/best").facts == stored.facts
    assert resolve(str(cwd / f"found/final/{number}-2")).model.facts == stored.facts
    assert resolve(str(cwd / f"found/final/{number}-2:last")).model.facts["epoch"] == 2


def test_a_best_network_that_cannot_be_handed_over_costs_nothing_else(trained, monkeypatch):
    from scalesearch.cli import best
    from scalesearch.cli.run_report import REPORT
    from scalesearch.handover.verify import CheckFailedError

    cwd, *_ = trained
    (cwd / "found" / REPORT).unlink()

    def broken(*_arguments, **_options):
        raise CheckFailedError("its logits are another network's")

    monkeypatch.setattr(best, "write_forms", broken)
    monkeypatch.setattr(best, "_made", lambda *_arguments: False)
    monkeypatch.chdir(cwd)
    from scalesearch.cli import app

    asked = [*SMALL, "--study", "small.yaml", "--data", "digits", "--trials", "2", "--out", "found"]
    assert app(asked, standalone_mode=False) == 1
    report = json.loads((cwd / "found" / REPORT).read_text())
    assert report["failed_check"] == "its logits are another network's"
    assert report["best"] is not None
    assert (cwd / "found/dashboard.html").is_file()


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
