"""Where a full training starts: weights that load or are refused, frozen parts, rates of each part."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import given, settings
from random_weights import filled, theirs
from safetensors.torch import save_file
from strategies import networks
from torch import nn

from scalesearch import load
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.errors import InputError
from scalesearch.training.build import build
from scalesearch.training.checkpoint import write_weights
from scalesearch.training.full.images import IMAGENET
from scalesearch.training.full.recipe import FullRecipe
from scalesearch.training.full.transfer import (
    CLASSIFIER,
    apply_freeze,
    keep_frozen,
    parameter_groups,
    parse_freeze,
    starting,
)
from scalesearch.training.weights import load_torchvision

NETWORK = Network(
    "tiny",
    16,
    Stem(8),
    (Stage("mbconv", 8, 2, options=(("se", 0.25),)), Stage("mbconv", 16, 2, stride=2)),
    Head(16, dropout=0.2),
    classes=3,
    drop_path=0.5,
)
RECIPE = FullRecipe(weight_decay=0.01, head_rate=10.0, stage_decay=0.5)
NAME = "shufflenet_v2_x0_5"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache of torch.hub with random weights in it, which are returned."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = filled(theirs, NAME)
    published = next(iter(torchvision.models.get_model_weights(NAME)))
    torch.save(state, folder / Path(published.url).name)
    return state


def started(network, weights=None, seed=1):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    start = starting(network, weights, seed=seed)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(module.training for module in start.module.modules())
    return start


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_a_fresh_start_follows_from_the_seed():
    one, two, other = (started(NETWORK, seed=seed) for seed in (1, 1, 2))
    assert same(one.module.state_dict(), two.module.state_dict())
    assert not same(one.module.state_dict(), other.module.state_dict())
    assert (one.source, one.loaded, one.mean, one.std) == ("fresh", (), None, None)
    assert one.left_out == tuple(one.module.state_dict())


@pytest.mark.parametrize("classes", [1000, 7])
def test_torchvisions_weights_come_with_imagenets_statistics(hub, classes):
    network = replace(load(NAME), classes=classes)
    start, again = started(network, "torchvision"), started(network, "torchvision")
    expected = load_torchvision(hub, load(NAME))
    built = start.module.state_dict()
    assert start.left_out == (() if classes == 1000 else CLASSIFIER)
    assert set(start.loaded) == set(expected) - set(start.left_out)
    assert all(torch.equal(built[name], expected[name]) for name in start.loaded)
    assert len(built["head.classifier.bias"]) == classes
    assert same(built, again.module.state_dict())  # the new head follows from the seed
    preset = next(iter(torchvision.models.get_model_weights(NAME))).transforms()
    assert start.mean.tolist() == pytest.approx(preset.mean)
    assert start.std.tolist() == pytest.approx(preset.std)
    start.mean.zero_()
    assert IMAGENET[0].min() > 0


def saved(path, network=NETWORK, **changed):
    state = {name: tensor.clone() for name, tensor in build(network).state_dict().items()}
    for name, tensor in changed.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    save_file(state, path)
    return state


@pytest.mark.parametrize("classes", [3, 5])
def test_weights_of_our_own_are_taken_and_a_head_for_other_classes_is_new(tmp_path, classes):
    file = tmp_path / "weights.safetensors"
    state = saved(file)
    start = started(replace(NETWORK, classes=classes), file)
    built = start.module.state_dict()
    assert start.left_out == (() if classes == 3 else CLASSIFIER)
    assert set(start.loaded) | set(start.left_out) == set(state)
    assert all(torch.equal(built[name], state[name]) for name in start.loaded)
    assert (start.source, start.mean) == (str(file), None)
    if classes == 5:
        assert built["head.classifier.weight"].shape == (5, 16)
        assert not built["head.classifier.bias"].any()


def test_statistics_come_with_the_weights_or_stand_beside_them(tmp_path):
    file = tmp_path / "weights.safetensors"
    saved(file)
    about = {"schema": 1, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "model.json").write_text(json.dumps(about))
    for given_ in (tmp_path, str(tmp_path), file):
        start = started(NETWORK, given_)
        assert start.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert start.std.tolist() == pytest.approx([0.4, 0.5, 0.6])
    mean, std = torch.full((3, 1, 1), 51.0), torch.full((3, 1, 1), 102.0)
    write_weights(file, build(NETWORK), mean, std)  # what a short training writes
    assert started(NETWORK, file).mean.tolist() == pytest.approx([0.2] * 3)
    assert started(NETWORK, file).std.tolist() == pytest.approx([0.4] * 3)
    (tmp_path / "model.json").write_text(json.dumps(about | {"mean": None}))
    saved(file)
    assert started(NETWORK, file).mean is None


MISFITS = [
    ({"s1.b0.body.expand.conv.weight": None}, "the file lacks s1.b0.body.expand.conv.weight"),
    ({"extra": torch.ones(1)}, "the file has besides extra"),
    (
        {"stem.conv.weight": torch.ones(9, 3, 3, 3)},
        r"stem.conv.weight must have the shape \(8, 3, 3, 3\), but has \(9,",
    ),
    (
        {"head.classifier.weight": torch.ones(5, 17)},
        r"head.classifier.weight must have .*\(3, 16\), but has \(5, 17\)",
    ),
    ({"head.classifier.bias": None}, "the file lacks head.classifier.bias"),
]


@pytest.mark.parametrize(("changed", "line"), MISFITS, ids=lambda value: str(value)[:30])
def test_the_first_tensor_that_does_not_fit_is_named(tmp_path, changed, line):
    file = tmp_path / "mine.safetensors"
    saved(file, **changed)
    with pytest.raises(InputError, match=line) as error:
        starting(NETWORK, file, seed=1)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("about", ["[1]", "{", '{"mean": ["a"], "std": [1]}', '{"mean": {}, "std": 1}'])
def test_a_damaged_description_is_one_line(tmp_path, about):
    saved(tmp_path / "weights.safetensors")
    (tmp_path / "model.json").write_text(about)
    with pytest.raises(InputError, match="no readable") as error:
        starting(NETWORK, tmp_path, seed=1)
    assert "\n" not in str(error.value)


def test_what_is_no_safetensors_file_is_one_line(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"hello world")
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(InputError, match="no readable safetensors file") as error:
            starting(NETWORK, path, seed=1)
        assert "\n" not in str(error.value)


def frozen(text, norms=False):
    start, freeze = started(NETWORK), parse_freeze(text, NETWORK)
    apply_freeze(start.module, freeze, norms=norms)
    return start.module, freeze


@pytest.mark.parametrize(
    ("text", "held"),
    [("none", ()), ("1", ("stem",)), ("2", ("stem", "s1")), ("3", ("stem", "s1", "s2"))],
)
def test_stages_are_frozen_whole_from_the_input_on(text, held):
    module, _ = frozen(text)
    for name, parameter in module.named_parameters():
        assert parameter.requires_grad == (name.split(".")[0] not in held)


@given(
    networks(),
)
@settings(max_examples=20, deadline=None)
def test_a_frozen_trunk_leaves_the_classifier_alone_to_train(network):
    with torch.device("meta"):
        module = build(network)
    freeze = parse_freeze("trunk", network)
    apply_freeze(module, freeze)
    trained = tuple(name for name, parameter in module.named_parameters() if parameter.requires_grad)
    assert trained == CLASSIFIER
    (weight, bias) = parameter_groups(module, network, RECIPE, freeze)
    assert (weight["names"], bias["names"]) == ([CLASSIFIER[0]], [CLASSIFIER[1]])


def test_the_first_stage_is_not_taken_for_the_tenth():
    network = replace(NETWORK, stages=(Stage("mbconv", 8, 1),) * 10)
    freeze = parse_freeze("2", network)
    assert freeze.holds("s1.b0.body.expand.conv.weight")
    assert not freeze.holds("s10.b0.body.expand.conv.weight")


@pytest.mark.parametrize("text", ["0", "4", "-1", "1.5", "all", "", "²", "Trunk"])
def test_anything_else_to_freeze_is_refused(text):
    with pytest.raises(
        InputError, match=r"must be none, trunk, or a number of stages from 1 .* to 3, but got"
    ):
        parse_freeze(text, NETWORK)


def stepped(module):
    """Train for one step on two batches of noise, as a training does."""
    module.train()
    keep_frozen(module)
    # So large a rate that no gradient is lost in rounding.
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1e5)
    torch.manual_seed(3)
    for _ in range(2):
        nn.functional.cross_entropy(module(5 + torch.randn(8, 3, 16, 16)), torch.arange(8) % 3).backward()
    optimizer.step()


def test_what_is_frozen_stays_as_it_is_and_computes_as_in_evaluation():
    module, freeze = frozen("2")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    stepped(module)
    for name, tensor in module.state_dict().items():
        unchanged = torch.equal(tensor, before[name])
        assert unchanged == freeze.holds(name), name
    modules = dict(module.named_modules())
    assert not any(part.training for name, part in modules.items() if freeze.holds(f"{name}."))
    assert modules["s2.b1.drop"].training
    assert modules["head.dropout"].training
    assert modules["head"].training


def test_norms_that_are_kept_stay_as_they_are_while_all_else_learns():
    module, _ = frozen("none", norms=True)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    stepped(module)
    norms = [name for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)]
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name.rpartition(".")[0] in norms), name
    assert modules_in_training(module, nn.Dropout) == [True]


def modules_in_training(module, kind):
    return [part.training for part in module.modules() if isinstance(part, kind)]


@given(networks())
@settings(max_examples=20, deadline=None)
def test_every_parameter_is_in_one_group_with_the_rate_of_its_place(network):
    with torch.device("meta"):
        module = build(network)
    groups = parameter_groups(module, network, RECIPE, parse_freeze("none", network))
    rates = {name: group["rate"] for group in groups for name in group["names"]}
    assert sum(len(group["names"]) for group in groups) == len(rates) == len(list(module.parameters()))
    places = ["head", *(f"s{n}" for n in range(len(network.stages), 0, -1)), "stem"]
    shapes = dict(module.named_parameters())
    for group in groups:
        assert [id(shapes[name]) for name in group["names"]] == [id(p) for p in group["params"]]
        for name in group["names"]:
            assert group["weight_decay"] == (0.01 if shapes[name].dim() > 1 else 0.0)
    for name, rate in rates.items():
        expected = 10.0 if name in CLASSIFIER else 0.5 ** places.index(name.split(".")[0])
        assert math.isclose(rate, expected)


def test_frozen_parts_and_kept_norms_are_in_no_group():
    module, freeze = frozen("1", norms=True)
    groups = parameter_groups(module, NETWORK, RECIPE, freeze)
    names = {name for group in groups for name in group["names"]}
    assert names == {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert not any("stem" in name or ".norm." in name for name in names)
    torch.optim.SGD(groups, lr=0.1)
