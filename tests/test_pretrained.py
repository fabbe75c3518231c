"""Torch hub's own loader on local files: what is taken, what is left out, what is refused."""

import os
import pickle
import socket
import threading
import time
import urllib.request
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import torchvision
from random_weights import empty, filled, logits, theirs

from scalesearch import load
from scalesearch.cli import main
from scalesearch.errors import InputError
from scalesearch.training import weights as weights_module
from scalesearch.training.weights import load_torchvision, pretrained

CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch.hub, whose downloads all end at a port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    urllib.request.install_opener(None)  # the opener reads the environment once
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    yield folder
    urllib.request.install_opener(None)


def published(name):
    return next(iter(torchvision.models.get_model_weights(name)))


def cache(folder, name, **options):
    """Put random weights where torch.hub keeps the checkpoint of that name; return them."""
    state = filled(theirs, name)
    torch.save(state, folder / Path(published(name).url).name, **options)
    return state


@pytest.mark.parametrize("zipped", [True, False])
def test_cached_checkpoint_is_loaded_into_the_network(hub, zipped):
    name = "efficientnet_b0"
    state = cache(hub, name, _use_new_zipfile_serialization=zipped)
    found = pretrained(load(name), name=name)
    assert found.source.startswith("EfficientNet_B0_Weights.IMAGENET1K_V1 (https://download.pytorch.org/")
    assert (len(found.loaded), found.left_out) == (len(state), ())
    ours = logits(found.module.eval(), found.module.state_dict())
    assert torch.equal(ours, logits(empty(theirs, name), state))


def test_of_several_published_weights_the_first_is_taken(hub):
    assert len(torchvision.models.get_model_weights("mobilenet_v2")) == 2
    cache(hub, "mobilenet_v2")
    network = load("mobilenet_v2")  # called mobilenet_v2_1.0
    found = pretrained(network, name=network.name)
    assert "MobileNet_V2_Weights.IMAGENET1K_V1" in found.source


def test_other_classes_keep_the_trunk_and_say_what_is_new(hub):
    name = "shufflenet_v2_x0_5"
    network = replace(load(name), classes=10)
    state = load_torchvision(cache(hub, name), load(name))
    found = pretrained(network, name=name)
    built = found.module.state_dict()
    assert found.left_out == CLASSIFIER
    assert set(found.loaded) | set(CLASSIFIER) == set(built) == set(state)
    assert all(torch.equal(built[tensor], state[tensor]) for tensor in found.loaded)
    weight, bias = (built[tensor] for tensor in CLASSIFIER)
    assert weight.shape == (10, 1024)
    assert weight.std().item() == pytest.approx(0.01, rel=0.05)  # the start of `initialise`
    assert not bias.any()


def test_network_that_only_has_the_name_is_refused(hub):
    name = "shufflenet_v2_x0_5"
    cache(hub, name)
    with pytest.raises(InputError, match=r"must fit the network|must be those of the network"):
        pretrained(load("shufflenet_v2_x1_0"), name=name)
    with pytest.raises(InputError, match=r"conv1.0.weight needs the shape"):
        pretrained(replace(load(name), in_channels=1), name=name)


def test_name_that_torchvision_does_not_know_is_refused(hub):
    network = load("shufflenet_v2_x0_25_seed")
    with pytest.raises(InputError, match="no classification network called 'shufflenet_v2_x0_25_seed'"):
        pretrained(network, name=network.name)
    assert list(hub.iterdir()) == []


def test_failed_download_is_one_line_and_leaves_nothing(hub, capsys):
    with pytest.raises(InputError, match=r"the download of https://.*failed: .*refused") as caught:
        pretrained(load("efficientnet_b0"), name="efficientnet_b0")
    assert "\n" not in str(caught.value)
    assert list(hub.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_server_that_does_not_answer_is_given_up(hub, monkeypatch):
    assert weights_module.CONNECT_SECONDS <= 10
    monkeypatch.setattr(weights_module, "CONNECT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        end = threading.Timer(5, silent.close)  # resets the connection, so that waiting for ever is a failure
        end.start()
        start = time.monotonic()
        with pytest.raises(InputError, match=r"failed: .*timed out"):
            pretrained(load("efficientnet_b0"), name="efficientnet_b0")
        end.cancel()
    assert 0.2 < time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def serve(monkeypatch, folder, name, prefix):
    """Give torchvision's weights an address on this machine, with a hash in the file's name."""
    file = folder / f"{name}.pth"
    state = filled(theirs, name)
    torch.save(state, file)
    digest = prefix or sha256(file.read_bytes()).hexdigest()[:8]
    named = file.rename(folder / f"{name}-{digest}.pth")
    monkeypatch.setattr(published(name).value, "url", named.as_uri())
    return state


def test_download_is_checked_by_its_hash(hub, tmp_path, monkeypatch):
    name = "shufflenet_v2_x0_5"
    state = serve(monkeypatch, tmp_path, name, prefix="")
    found = pretrained(load(name), name=name)
    assert len(found.loaded) == len(state)
    assert len(list(hub.iterdir())) == 1
    serve(monkeypatch, tmp_path, name, prefix="0123abcd")
    with pytest.raises(InputError, match=r'invalid hash value .expected "0123abcd"') as caught:
        pretrained(load(name), name=name)
    assert "\n" not in str(caught.value)
    assert len(list(hub.iterdir())) == 1


class Payload:
    """What unpickling must never run."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_pickle_that_holds_more_than_tensors_is_never_run(hub, tmp_path):
    name, made = "shufflenet_v2_x0_5", str(tmp_path / "made")
    torch.save({"fc.bias": Payload(made)}, hub / Path(published(name).url).name)
    with pytest.raises(InputError, match="holds no weights: UnpicklingError"):
        pretrained(load(name), name=name)
    assert not Path(made).exists()
    pickle.loads(pickle.dumps(Payload(made)))
    assert Path(made).exists()


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"hello world", b"PK\x03\x04 cut off"])
def test_damaged_checkpoint_is_one_line(hub, content):
    name = "shufflenet_v2_x0_5"
    (hub / Path(published(name).url).name).write_bytes(content)
    with pytest.raises(InputError, match="holds no weights: ") as caught:
        pretrained(load(name), name=name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_checkpoint_of_something_else_is_refused(hub):
    name = "shufflenet_v2_x0_5"
    torch.save([torch.ones(1)], hub / Path(published(name).url).name)
    with pytest.raises(InputError, match="must hold a state dict, but holds a list"):
        pretrained(load(name), name=name)


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["scalesearch", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


def test_show_confirms_that_the_weights_load(hub, monkeypatch, capsys):
    cache(hub, "efficientnet_b0")
    assert not command(monkeypatch, "show", "--weights", "torchvision", "efficientnet_b0")
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("weights: 360 tensors of EfficientNet_B0_Weights.IMAGENET1K_V1 (https://")
    assert first.endswith("loaded")
    arguments = ("--weights", "torchvision", "efficientnet_b0", "--classes", "10", "--json")
    assert not command(monkeypatch, "show", *arguments)
    out, err = capsys.readouterr()
    assert out.startswith("{")
    assert err.startswith("weights: 358 tensors")
    assert "left out, for 10 classes: head.classifier.weight, head.classifier.bias" in err


def test_show_says_in_one_line_why_weights_do_not_load(hub, monkeypatch, capsys):
    assert command(monkeypatch, "show", "--weights", "torchvision", "efficientnet_b0") == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1][:29]) == ("", "error: the download of https:")
    assert command(monkeypatch, "show", "--weights", "timm", "efficientnet_b0") == 2
    assert capsys.readouterr().err == "error: --weights must be torchvision, but got 'timm'\n"
