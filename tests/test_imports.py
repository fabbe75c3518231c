"""What is not loaded: starting quickly is a feature, and the floors are kept by a tool."""

import subprocess
import sys
from importlib.metadata import version

import pytest

HEAVY = ("torch", "optuna", "plotly", "pandas", "scipy", "sklearn")
HEAVIER = ("torchvision", "sympy", "sklearn", "scipy.stats", "scipy.optimize", "triton")  # beside torch
COMPILER = ("torch._dynamo", "torch._inductor", "sympy")


def loaded(code, names=HEAVY):
    """Run code in a fresh interpreter and return which of some modules it has loaded."""
    report = f"\nimport sys; print(*[name for name in {names!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def command(*arguments, code=0):
    return (
        f"import sys; sys.argv = ['scalesearch', *{arguments!r}]\n"
        "from scalesearch.cli import main\n"
        "try: main()\n"
        f"except SystemExit as end: assert (end.code or 0) == {code}, end.code"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import scalesearch",
        "import scalesearch; scalesearch.load('efficientnet_b0').cost()",
        command("show", "efficientnet_b0"),
        command("show", "efficientnet_v2_s", "--json"),
        command("scale", "efficientnet_b0", "--budget-flops", "2e9"),
        command("space", "efficientnet_v2_s_blocks", "--samples", "100", "--budget-flops", "3e9"),
        command("--help"),
        command("--version"),
    ],
)
def test_light_parts_load_nothing_heavy(code):
    assert loaded(code) == []


@pytest.mark.parametrize("module", ["definition", "session", "best", "train_session", "target"])
def test_what_commands_that_train_begin_with(module):
    """Loading torchvision takes three times as long as torch, also where a name is unknown."""
    assert loaded(f"import scalesearch.cli.{module}", HEAVIER) == []


def test_an_error_of_run_is_answered_with_no_more():
    assert loaded(command("run", "--budget-flops", "1e8", "--device", "gpu", code=2), HEAVIER) == []


def test_a_training_does_without_torchs_compiler():
    """Loading it takes twice as long as loading torch, in each process that trains."""
    training = """
from dataclasses import replace

from scalesearch import load
from scalesearch.training import augment, data, loop, recipe

network = replace(load("mobilenet_v2"), resolution=32, classes=10)
loop.train(network, augment.DeviceData.of(data.load("digits"), "cpu"), recipe.Recipe(), images=64, seed=0)
"""
    assert loaded(training, COMPILER) == []


@pytest.mark.slow
def test_a_run_that_exports_the_network_alone_does_without_it_too(tmp_path, monkeypatch):
    """So does one that is stopped, which therefore ends seconds earlier."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text("name: tiny\nrungs: [64]\nfinals: {candidates: 1, seeds: 1}\n")
    asked = "--study tiny.yaml --data digits --trials 2 --workers 1 --budget-flops 2e7 --export network"
    assert loaded(command("run", *asked.split()), COMPILER) == []


def test_weights_are_read_without_torchs_compiler(tmp_path):
    file = tmp_path / "a.safetensors"
    reading = f"""
from pathlib import Path

from safetensors.torch import save_file

from scalesearch import load
from scalesearch.handover.model import read_weights
from scalesearch.training.build import build

network = load("mobilenet_v1")
save_file(build(network).state_dict(), {str(file)!r})
read_weights(Path({str(file)!r}), network)
"""
    assert loaded(reading, COMPILER) == []


def test_the_version_is_the_installed_one():
    asked = [sys.executable, "-m", "scalesearch", "--version"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["scalesearch", version("scalesearch")]


def test_the_check_itself_sees_what_is_loaded():
    assert "pandas" in loaded("import pandas")
    assert "sympy" in loaded("import torchvision", HEAVIER)


def test_public_names_are_complete_and_sorted():
    import scalesearch

    assert scalesearch.__all__ == sorted(scalesearch.__all__)
    for name in scalesearch.__all__:
        assert getattr(scalesearch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scalesearch.nothing
