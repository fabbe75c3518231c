"""What a command's NETWORK argument names, with the weights and facts that go with it."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from test_command import SMALL, call

from scalesearch import documents
from scalesearch.architecture.document import to_document
from scalesearch.cli.folder import RunFolder
from scalesearch.cli.target import resolve
from scalesearch.errors import InputError
from scalesearch.handover.model import ABOUT, NETWORK, WEIGHTS, Model, read_model, write_model
from scalesearch.training.augment import resize
from scalesearch.training.build import build
from scalesearch.training.data import load


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of three candidates on digits with their weights, and its finished trials."""
    cwd = tmp_path_factory.mktemp("target")
    study = "name: small\nrungs: [600]\nfinals: {candidates: 1, seeds: 1, share: 0.3}\n"
    (cwd / "small.yaml").write_text(study)
    options = [
        "--study",
        "small.yaml",
        "--data",
        "digits",
        "--trials",
        "3",
        "--workers",
        "1",
        "--out",
        "found",
    ]
    code, _, err = call(*SMALL, *options, cwd=cwd)
    assert code == 0, err
    return cwd / "found", RunFolder(cwd / "found").trials


def small(**changes):
    network = replace(documents.load("mobilenet_v2_1.0"), name="small", resolution=32, classes=3)
    return replace(network, **changes)


def test_a_name_and_a_document_are_networks_without_weights(tmp_path):
    assert resolve("efficientnet_b0").model == Model(documents.load("efficientnet_b0"))
    path = tmp_path / "mine:1.yaml"  # a colon in a name asks for nothing
    path.write_text(documents.write_text(to_document(small())))
    assert resolve(str(path)).network == small()


def test_a_run_names_its_best_network_and_each_candidate(finished):
    folder, trials = finished
    best = json.loads((folder / "report.json").read_text())["best"]["trial"]
    by_number = {trial.number: trial for trial in trials if trial.complete}
    assert resolve(str(folder)).network == resolve(f"{folder}:best").network
    for number, text in ((best, ":best"), *((n, f":{n}") for n in by_number)):
        found = resolve(f"{folder}{text}")
        assert found.network.cost().flops == by_number[number].deployed.flops
        assert found.model.weights is None
        assert found.model.facts["candidate"] == number
        assert found.model.classes == tuple("0123456789")


def test_the_proxys_weights_give_the_accuracy_that_the_record_states(finished):
    folder, trials = finished
    data = load("digits")
    images, labels = torch.from_numpy(data.report.images.copy()), torch.from_numpy(data.report.labels.copy())
    seen = 0
    for number in (trial.number for trial in trials if trial.complete and trial.role == "search"):
        model = resolve(f"{folder}:{number}:proxy").model
        if model.weights is None:  # a run keeps those of its best candidates
            continue
        assert model.facts["data"]["resolution"] == data.resolution
        module = build(model.network).eval()
        module.load_state_dict(model.weights)
        pixels = resize(images.float(), model.network.input.size) / 255
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (model.mean, model.std))
        with torch.no_grad():
            right = (module((pixels - mean) / std).argmax(1) == labels).float().mean().item()
        assert right == pytest.approx(model.facts["accuracy"])
        seen += 1
    assert seen >= 1
    assert resolve(f"{folder}:proxy").model.weights is not None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            ":worst",
            "after a run's folder comes :best, a candidate's number, or these and :proxy",
        ),
        (":99999", "candidate 99999 has no finished training"),
        (":1:best", "after a run's folder comes"),
        (":proxy:1", "after a run's folder comes"),
    ],
)
def test_what_a_run_does_not_hold_is_refused(finished, asked, words):
    with pytest.raises(InputError, match=words):
        resolve(f"{finished[0]}{asked}")


def test_a_folder_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="a run's or a model's, not this"):
        resolve(str(tmp_path))
    with pytest.raises(InputError, match="this is no run's folder"):
        resolve(f"{tmp_path}:best")
    with pytest.raises(InputError, match="no network is called"):
        resolve("efficientnet_b99")


def trained(**changes):
    torch.manual_seed(0)
    network = small()
    state = build(network).state_dict()
    facts = {"accuracy": 0.5, "data": {"name": "x"}}
    return replace(Model(network, state, ("a", "b", "c"), (0.1, 0.2, 0.3), (1.0, 2.0, 3.0), facts), **changes)


def test_a_models_folder_is_read_as_it_was_written(tmp_path):
    written = trained()
    write_model(tmp_path / "m", written)
    found = resolve(str(tmp_path / "m")).model
    assert replace(found, weights=None) == replace(written, weights=None)
    assert found.network.name == "small"
    assert list(found.weights) == sorted(written.weights) or found.weights.keys() == written.weights.keys()
    assert all(torch.equal(found.weights[name], written.weights[name]) for name in written.weights)
    write_model(tmp_path / "m", replace(written, weights=None))
    assert read_model(tmp_path / "m").weights is None


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (ABOUT, b"{", "a model's description is one JSON object"),
        (ABOUT, b"[" * 100_000, "a model's description is one JSON object"),
        (ABOUT, b"[]", "of schema 1"),
        (ABOUT, b'{"schema": 1, "trained": true, "facts": {}, "classes": [1]}', "of schema 1"),
        (WEIGHTS, b"PK\x03\x04", "no readable safetensors file"),
        (NETWORK, b"name: [", "no valid YAML"),
    ],
)
def test_a_damaged_models_folder_is_named(tmp_path, file, content, words):
    write_model(tmp_path, trained())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=words) as raised:
        read_model(tmp_path)
    assert file in str(raised.value)


def test_weights_of_another_network_are_refused_with_the_first_tensor_that_does_not_fit(tmp_path):
    write_model(tmp_path, trained())
    state = dict(trained().weights)
    first = next(iter(state))
    save_file(state | {first: torch.zeros(2)}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=f"{first} of small has the shape .* but the file's has .2,."):
        read_model(tmp_path)
    save_file({name: tensor for name, tensor in state.items() if name != first}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match=f"the file lacks {first}"):
        read_model(tmp_path)
    save_file(state | {"more": torch.zeros(1)}, tmp_path / WEIGHTS)
    with pytest.raises(InputError, match="has besides more"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"classes": ("a",)}, "a name for each of its 3 classes"), ({"mean": (0.0,)}, "each of the 3 channels")],
)
def test_a_model_that_contradicts_itself_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        trained(**changes)
