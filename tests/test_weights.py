"""Torchvision's own modules and loaders against the map of names: the same function, to the last bit."""

import os
import pickle
import socket
import time
import urllib.request
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import OPTIONS, networks

from scalesearch import build, load
from scalesearch.architecture.network import Head
from scalesearch.cli import main
from scalesearch.errors import InputError
from scalesearch.training import weights as weights_module
from scalesearch.training.weights import export_torchvision, load_torchvision, pretrained, to_torchvision

LARGE = ["efficientnet_b7", "efficientnet_v2_l"]
NAMES = [
    *(f"efficientnet_b{k}" for k in range(7)),
    *(f"efficientnet_v2_{size}" for size in "sm"),
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "mobilenet_v2",
    "mobilenet_v3_large",
    *(pytest.param(name, marks=pytest.mark.long) for name in LARGE),
]
CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")


def empty(make, *arguments, **options):
    """A module without memory for its tensors: they are handed to it, not copied."""
    with torch.device("meta"):
        return make(*arguments, **options).eval()


def filled(make, *arguments, **options):
    """A state dict of random weights, biases and batch norm statistics, all different from torch's start."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for name, tensor in empty(make, *arguments, **options).state_dict().items():
        if not tensor.dtype.is_floating_point:
            state[name] = torch.tensor(7)
        elif tensor.dim() > 1:
            fan_in = tensor[0].numel()
            state[name] = torch.randn(tensor.shape, generator=generator) * fan_in**-0.5
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            state[name] = torch.randn(tensor.shape, generator=generator) * 0.1
    return state


def logits(module, state, side=64):
    module.load_state_dict(state, assign=True)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return module(images)


def theirs(name, **options):
    return torchvision.models.get_model(name, **options)


@pytest.mark.parametrize("name", NAMES)
def test_same_weights_give_the_same_logits_in_both_directions(name):
    network = load(name)
    state = filled(theirs, name)
    expected = logits(empty(theirs, name), state)
    assert expected.std() > 0.01
    ours = load_torchvision(state, network)
    assert torch.equal(logits(empty(build, network), ours), expected)
    there = export_torchvision(ours, network)
    assert torch.equal(logits(empty(theirs, name), there), expected)
    print(f"{name}: {len(state)} tensors, {expected.numel()} logits, max |difference| 0 both ways")


@pytest.mark.parametrize("name", [*NAMES[:-2], *LARGE])
def test_map_is_one_to_one_and_in_order(name):
    network = load(name)
    names = to_torchvision(network)
    assert list(names) == list(empty(build, network).state_dict())
    assert list(names.values()) == list(empty(theirs, name).state_dict())
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("width", [0.25, 0.75, 1.4])
def test_map_follows_the_width_by_rule(width):
    """Widths without a document: the map is of rules, not of the names of one network."""
    module = empty(torchvision.models.mobilenet_v2, width_mult=width)
    base = load("mobilenet_v2")
    blocks = list(module.features)[1:-1]
    first = iter(blocks)
    stages = []
    for stage in base.stages:
        out = [next(first) for _ in range(stage.repeats)][-1].out_channels
        stages.append(replace(stage, channels=out))
    network = replace(
        base,
        stem=replace(base.stem, channels=module.features[0][0].out_channels),
        stages=tuple(stages),
        head=replace(base.head, channels=module.last_channel),
    )
    state = filled(torchvision.models.mobilenet_v2, width_mult=width)
    assert torch.equal(logits(empty(build, network), load_torchvision(state, network)), logits(module, state))


def refusal(network):
    """Why torchvision has no names for a network, or None where it has them."""
    try:
        to_torchvision(network)
    except InputError as error:
        return str(error)
    return None


def test_random_networks_are_mapped_one_to_one_or_refused_in_one_line():
    mapped = []

    @settings(max_examples=150, deadline=None)
    @given(st.sampled_from(sorted(OPTIONS)).flatmap(lambda operator: networks((operator,))))
    def check(network):
        refused = refusal(network)
        if refused is not None:
            assert "torchvision" in refused
            assert "\n" not in refused
            return
        names = to_torchvision(network)
        assert list(names) == list(empty(build, network).state_dict())
        assert len(set(names.values())) == len(names)
        mapped.append(network)

    check()
    print(f"{len(mapped)} of 150 random networks have names")
    assert len(mapped) >= 15


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "efficientnet_b0"])
def test_weights_there_and_back_are_the_same_tensors(name):
    network = load(name)
    state = filled(build, network)
    back = load_torchvision(export_torchvision(state, network), network)
    assert list(back) == list(state)
    assert all(back[tensor] is state[tensor] for tensor in state)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shufflenet_v1_g3", "stage 1: torchvision has no counterpart of shufflenet_v1"),
        ("mobilenet_v1", "stage 1: torchvision has no counterpart of depthwise_separable"),
        ("shufflenet3d_v2", "for dims=2, but got dims=3"),
    ],
)
def test_network_without_counterpart_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        to_torchvision(load(name))


def test_mixture_and_unknown_head_are_refused():
    base, other = load("efficientnet_b0"), load("mobilenet_v2")
    with pytest.raises(InputError, match=r"mixes mbconv with squeeze-and-excitation and mbconv$"):
        to_torchvision(replace(base, stages=(*base.stages, other.stages[-1])))
    with pytest.raises(InputError, match="mbconv with a hidden layer in the head, but hidden=64"):
        to_torchvision(replace(base, head=Head(hidden=64)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc.bias"), "lack 1 tensors, the first fc.bias"),
        (lambda s: s.update(other=torch.ones(1)), "have besides 1 tensors, the first other"),
        (lambda s: s.update({"fc.bias": torch.ones(9)}), r"fc.bias needs the shape \(1000,\), not \(9,\)"),
        (lambda s: s.update({"fc.bias": 3}), r"fc.bias needs the shape \(1000,\), not int"),
        (lambda s: s.update({"conv1.0.weight": torch.ones(24, 3, 1, 1)}), "conv1.0.weight needs the shape"),
    ],
)
def test_state_that_does_not_fit_is_refused(change, message):
    state = filled(theirs, "shufflenet_v2_x0_5")
    change(state)
    with pytest.raises(InputError, match=message):
        load_torchvision(state, load("shufflenet_v2_x0_5"))


def test_export_refuses_weights_of_another_network():
    state = filled(build, load("shufflenet_v2_x0_5"))
    with pytest.raises(InputError, match=r"stem|s1|head"):
        export_torchvision(state, load("shufflenet_v2_x1_0"))


def test_checkpoint_older_than_the_counters_of_batch_norm_loads():
    network = load("shufflenet_v2_x0_5")
    state = filled(theirs, network.name)
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    ours = load_torchvision(old, network)
    assert len(ours) == len(state) > len(old)
    assert torch.equal(logits(empty(build, network), ours), logits(empty(theirs, network.name), state))


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
        start = time.monotonic()
        with pytest.raises(InputError, match=r"failed: .*timed out"):
            pretrained(load("efficientnet_b0"), name="efficientnet_b0")
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
