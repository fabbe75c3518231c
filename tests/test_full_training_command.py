"""`scalesearch train` as a user gives it: real images, real trainings, real signals, real files."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from test_command import call, start

from scalesearch import documents
from scalesearch.cli import main
from scalesearch.handover.model import read_model
from scalesearch.search.lock import FolderLock
from scalesearch.search.study import digest
from scalesearch.training.build import build
from scalesearch.training.data import load
from scalesearch.training.full.distributed import Ranks
from scalesearch.training.full.images import evaluation_batches

NETWORK = """
name: tiny
resolution: 8
stem: {channels: 8, kernel: 3, stride: 1, act: relu}
stages:
  - {operator: mbconv, channels: 8, repeats: 1, stride: 2, kernel: 3, expand: 2}
head: {channels: 16, act: relu}
"""
RECIPE = "epochs: 2\nbatch_size: 128\nlearning_rate: 0.1\nwarmup_epochs: 1\nema_decay: 0.8\n"
COMMAND = ["train", "tiny.yaml", "--data", "digits", "--recipe", "short.yaml"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the documents, which is the current one."""
    (tmp_path / "tiny.yaml").write_text(NETWORK)
    (tmp_path / "short.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(here, monkeypatch, capsys):
    """The command within this process, which saves its imports: exit code, standard output and error."""

    def run(*arguments, command=COMMAND):
        monkeypatch.setattr(sys, "argv", ["scalesearch", *command, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, " ".join(err.split())

    return run


def right(model, split):
    module = build(model.network).eval()
    module.load_state_dict(model.weights)
    mean, std = torch.tensor(model.mean), torch.tensor(model.std)
    with torch.no_grad():
        batches = evaluation_batches(split, model.network.input.size, mean, std)
        return sum(int((module(x).argmax(1) == labels).sum()) for x, labels in batches)


def test_a_training_leaves_a_model_that_does_what_its_report_says(train, here):
    code, out, err = train("--json")
    assert code == 0, err
    report = json.loads(out)
    [folder] = (here / "runs").glob("train_tiny_*")
    assert json.loads((folder / "metrics.json").read_text()) == report
    assert (report["schema"], report["status"], report["epochs"]) == (1, "complete", 2)
    model, data = read_model(folder / report["best"]["model"]), load("digits")
    assert model.classes == data.classes
    for name in ("select", "report", "test"):
        said, split = report["best"][name], getattr(data, name)
        assert said["images"] == len(split)
        assert said["accuracy"] == right(model, split) / len(split)
        assert said["interval"][0] < said["accuracy"] < said["interval"][1]
    assert model.facts["data"]["fingerprint"] == data.fingerprint
    assert model.facts["test"] == report["best"]["test"]
    last = read_model(folder / report["last"]["model"])
    assert right(last, data.select) / len(data.select) == report["last"]["select_accuracy"]
    assert "test" not in last.facts
    assert len((folder / "log.csv").read_text().splitlines()) == 3


def test_a_finished_training_is_told_again_and_not_repeated(train, here):
    first, out, _ = train("--json", "--out", "found", "--epochs", 1)
    before = (here / "found" / "checkpoint.pt").stat().st_mtime_ns
    again, told, err = train("--json", "--out", "found", "--epochs", 1)
    assert (first, again) == (0, 0)
    assert told == out
    assert "this training is finished" in err
    assert (here / "found" / "checkpoint.pt").stat().st_mtime_ns == before


def test_options_are_part_of_the_recipe_and_a_folder_has_one_training(train):
    code, out, err = train("--out", "found", "--json", "--epochs", 1, "--batch-size", 256, "--accumulate", 2)
    assert code == 0, err
    recipe = json.loads(out)["recipe"]
    assert (recipe["epochs"], recipe["batch_size"], recipe["accumulate"]) == (1, 256, 2)
    assert recipe["warmup_epochs"] == 0.5
    code, _, err = train("--out", "found", "--epochs", 1, "--batch-size", 256)
    assert code == 2
    assert err.endswith("it differs in recipe.accumulate: 2 there, 1 here")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--amp", "half"], "--amp is off, bf16 or fp16, but got 'half'"),
        (["--amp", "fp16", "--device", "cpu"], "fp16 needs a CUDA device"),
        (["--accumulate", 3], "--accumulate: accumulate must divide batch_size 128, but got 3"),
        (["--learning-rate", 0], "--learning-rate: learning_rate must be above 0, but got 0"),
        (["--freeze", "9"], "what is frozen must be none, trunk, or a number of stages"),
        (["--weights", "none.safetensors"], "none.safetensors: no readable safetensors file"),
        (["--accumulate", 128], "batch norm that is trained needs 2 images in each part of a batch"),
        (["--recipe", "proxy"], "a recipe without epochs is one of short trainings"),
        (["--out", "."], "--out: a training has a folder for itself, but . holds something else"),
    ],
)
def test_bad_input_is_one_line_that_names_the_rule_and_leaves_no_folder(train, here, options, said):
    code, out, err = train(*options)
    assert (code, out) == (2, "")
    assert said in err
    assert not list(here.glob("runs/*"))


def test_a_held_folder_is_refused(train, here):
    (here / "found").mkdir()
    with FolderLock(here / "found"):
        code, _, err = train("--out", "found")
    assert code == 3
    assert "found is driven by process" in err


def test_a_loss_that_is_not_finite_is_a_failure_that_says_where(train, here):
    code, out, err = train("--out", "found", "--learning-rate", 1e30, "--json")
    assert code == 1
    assert "failed: non-finite loss in epoch 1 of 2, step 2 of 11" in err
    assert json.loads(out)["best"] is None
    assert not (here / "found" / "best").exists()


def test_trained_weights_go_on_in_another_training(train, here):
    assert train("--out", "first", "--epochs", 1)[0] == 0
    code, out, err = train("--out", "second", "--weights", "first/best", "--freeze", "trunk", "--json")
    assert code == 0, err
    found = json.loads(out)
    first, second = (read_model(here / name / "best").weights for name in ("first", "second"))
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert changed == {"head.classifier.weight", "head.classifier.bias"}
    assert found["weights"]["source"].endswith("weights.safetensors")


def test_a_models_own_weights_are_said_not_to_be_used_and_a_trainings_folder_gives_its_best(train, here):
    assert train("--out", "first", "--epochs", 1)[0] == 0
    again = ["train", "first/best", *COMMAND[2:], "--epochs", 1]
    code, out, err = train("--out", "afresh", "--json", command=again)
    assert code == 0, err
    assert "the weights of the model in first/best are not used" in err
    assert "--weights first/best begins with those" in err
    assert json.loads(out)["weights"] is None
    code, out, err = train("--out", "second", "--weights", "first", "--json", command=again)
    assert code == 0, err
    assert "not used" not in err
    assert json.loads(out)["weights"]["source"] == "first/best/weights.safetensors"


def test_a_renamed_network_goes_on_in_its_folder(train, here):
    first = json.loads(train("--json", "--epochs", 1)[1])
    [folder] = (here / "runs").iterdir()
    (here / "tiny.yaml").write_text(NETWORK.replace("tiny", "other"))
    for out in ([], ["--out", folder]):
        code, told, err = train("--json", "--epochs", 1, *out)
        assert (code, json.loads(told)) == (0, first), err
    assert [folder] == list((here / "runs").iterdir())


def test_the_default_folder_of_a_former_version_is_found(train, here):
    train("--json", "--epochs", 1)
    [folder] = (here / "runs").iterdir()
    key = documents.read(folder / "training.yaml")["training"]
    former = key | {"network": {"name": "tiny"} | key["network"]}
    (folder / "training.yaml").write_text(documents.write_text({"schema": 1, "training": former}))
    hashed = digest({name: value for name, value in former.items() if name != "processes"})
    folder.rename(here / "runs" / f"train_tiny_{hashed[:8]}")
    code, _, err = train("--json", "--epochs", 1)
    assert code == 0
    assert "this training is finished" in err
    assert len(list((here / "runs").iterdir())) == 1


def test_the_data_are_loaded_in_turn_and_not_by_all_processes_at_once(train, monkeypatch):
    turns, order = Ranks.in_turn, []

    def in_turn(ranks, prepare):
        order.append("turn")
        found = turns(ranks, prepare)
        order.append("over")
        return found

    def loaded(*arguments, **options):
        order.append("load")
        return load(*arguments, **options)

    monkeypatch.setattr(Ranks, "in_turn", in_turn)
    monkeypatch.setattr("scalesearch.cli.train_session.load", loaded)
    assert train("--epochs", 1)[0] == 0
    assert order == ["turn", "load", "over"]


def test_speed_counts_the_images_that_were_shown(train):
    code, out, err = train("--epochs", 2, "--batch-size", 4096, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["steps"] == 2
    shown = 2 * report["data"]["images"]["train"]
    low, high = (shown / (report["seconds"] + half) for half in (0.05, -0.05))
    assert low - 1 <= report["images_per_second"] <= high + 1


def test_without_tensorboard_the_option_says_what_to_install(train, monkeypatch):
    monkeypatch.setattr("scalesearch.training.full.logs.find_spec", lambda _name: None)
    code, _, err = train("--tensorboard")
    assert code == 2
    assert "pip install 'scalesearch[tensorboard]'" in err


def test_a_command_that_is_told_to_end_is_continued_by_the_same_one(train, here):
    arguments = [*COMMAND, "--epochs", "400", "--out", "found"]
    process = start(*arguments, cwd=here, OMP_NUM_THREADS="1")
    while not (here / "found" / "log.csv").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped: the same command continues" in err
    report = json.loads((here / "found" / "metrics.json").read_text())
    assert (report["status"], report["best"]["test"]) == ("interrupted", None)
    assert read_model(here / "found" / "best").facts["status"] == "interrupted"


@pytest.mark.long
def test_torchrun_trains_with_two_processes(here):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "scalesearch"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = [*command, *COMMAND, "--out", "found", "--json"]
    outs = []
    for _ in range(2):
        done = subprocess.run(
            arguments, cwd=here, env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        outs.append(json.loads(done.stdout))
    assert outs[0] == outs[1]
    assert outs[0]["processes"] == 2
    assert "this training is finished" in done.stderr


@pytest.mark.long
def test_two_epochs_of_cifar10_beat_chance_by_far(here, cifar10_path):
    (here / "wider.yaml").write_text(
        documents.write_text(documents.read("tiny.yaml") | {"name": "wider", "resolution": 32})
    )
    arguments = ["train", "wider.yaml", "--data", cifar10_path, "--epochs", "2", "--json"]
    code, out, err = call(*arguments, cwd=here)
    assert code == 0, err
    test = json.loads(out)["best"]["test"]
    assert test["images"] == 10_000
    assert test["interval"][0] > 0.2
