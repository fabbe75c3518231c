"""From a search to a network in someone's hands: real images, a killed training, and a process without us."""

import json
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from handed_over import STAGES, small, without_us
from PIL import Image
from safetensors.numpy import load_file
from test_command import call, start

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.training.data import load

TRAIN = ("--epochs", "2", "--batch-size", "16", "--seed", "3")
USED_ALONE = """
import importlib.util, json, sys
import numpy as np, onnxruntime, torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms.v2.functional import resize

about = json.load(open("model.json"))
spec = importlib.util.spec_from_file_location("network", "network.py")
network = importlib.util.module_from_spec(spec)
spec.loader.exec_module(network)
module = getattr(network, about["class"])().eval()
module.load_state_dict(load_file("weights.safetensors"))
images = np.stack([np.asarray(Image.open(name).convert("RGB")) for name in sys.argv[1:]])
stored = torch.from_numpy(images).permute(0, 3, 1, 2)  # as large as the data that was trained on
pixels = resize(stored, about["resolution"], antialias=True).numpy().astype(np.float32) / 255
mean, std = (np.array(about[name], np.float32).reshape(1, 3, 1, 1) for name in ("mean", "std"))
inputs = (pixels - mean) / std
with torch.no_grad():
    logits = module(torch.from_numpy(inputs))
session = onnxruntime.InferenceSession("network.onnx")
(other,) = session.run(None, {"images": inputs})
print(json.dumps({
    "classes": about["classes"],
    "probabilities": logits.softmax(1).tolist(),
    "onnx": float(np.abs(other - logits.numpy()).max() / np.abs(logits.numpy()).max()),
}))
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory, cifar10_path):
    """Class folders with 60 real images of each of four classes, and some that nothing learns from."""
    folder = tmp_path_factory.mktemp("photos")
    data = load(cifar10_path)
    for label, name in enumerate(data.classes[:4]):
        chosen = np.flatnonzero(data.train.labels == label)[:63]
        for position, index in enumerate(chosen):
            kind = "own" if position < 60 else "new"
            (folder / kind / name).mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(data.train.images[index]).transpose(1, 2, 0)
            Image.fromarray(pixels).save(folder / kind / name / f"{index}.png")
    return folder


def killed_in_the_middle(arguments, cwd):
    """Start a training, kill it after its first epoch; return whether that was before its end."""
    process = start(*arguments, cwd=cwd)
    for line in process.stderr:
        if line.startswith("epoch 1 of 2"):
            break
    time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL


def whole_way(network, photos, cwd):
    """Train a network twice, once killed and continued; export that, and use it in three ways."""
    asked = ("train", network, "--data", photos / "own", *TRAIN)
    assert killed_in_the_middle((*asked, "--out", "cut"), cwd)
    for folder in ("cut", "whole"):
        code, _, err = call(*asked, "--out", folder, cwd=cwd)
        assert code == 0, err
    cut, whole = (load_file(cwd / folder / "best/weights.safetensors") for folder in ("cut", "whole"))
    assert cut.keys() == whole.keys()
    assert all(np.array_equal(cut[name], whole[name]) for name in whole)
    code, _, err = call("export", "cut/best", "--to", "net", "--forms", "onnx,card", cwd=cwd)
    assert code == 0, err
    files = sorted((photos / "new").glob("*/*.png"))
    code, out, err = call("predict", "net", *files, "--top", 4, "--json", cwd=cwd)
    assert code == 0, err
    alone = json.loads(without_us(USED_ALONE, cwd / "net", *files))
    assert alone["onnx"] < 1e-4
    for shown, probabilities in zip(json.loads(out)["images"], alone["probabilities"], strict=True):
        known = {guess["name"]: guess["probability"] for guess in shown["classes"]}
        own = dict(zip(alone["classes"], probabilities, strict=True))
        assert known == pytest.approx(own, abs=1e-5)


@pytest.mark.long  # .ci/run has it as a step of its own
def test_a_run_ends_in_a_network_that_works_without_us(photos, tmp_path):
    (tmp_path / "small.yaml").write_text("name: small\nrungs: [600]\nfinals: {candidates: 1, seeds: 1}\n")
    asked = [
        "run",
        "--budget-flops",
        "2e7",
        "--study",
        "small.yaml",
        "--data",
        photos / "own",
        "--trials",
        "2",
    ]
    options = ["--data", photos / "own", "--export", "network", "--out", "found"]
    code, _, err = call(*asked, *options, cwd=tmp_path)
    assert code == 0, err
    whole_way("found:best", photos, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("operator", STAGES)
def test_every_operator_goes_the_whole_way(operator, photos, tmp_path):
    network = small(STAGES[operator], resolution=32)
    (tmp_path / "network.yaml").write_text(documents.write_text(to_document(network)))
    whole_way("network.yaml", photos, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["efficientnet_b0", "efficientnet_v2_s", "shufflenet_v1_g3", "shufflenet_v2_x1_0", "mobilenet_v1"]
)
def test_published_networks_go_the_whole_way(name, photos, tmp_path):
    network = replace(documents.load(name), resolution=32)
    (tmp_path / "network.yaml").write_text(documents.write_text(to_document(network)))
    whole_way("network.yaml", photos, tmp_path)
