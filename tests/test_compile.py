"""`--compile`: the same training in compiled code, another study, a clear end where there is no compiler."""

from dataclasses import replace

import pytest
import torch
from test_command import call

from scalesearch import documents
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.cli.definition import Request, define, run_folder
from scalesearch.search.study import Study
from scalesearch.training.augment import DeviceData
from scalesearch.training.data import load
from scalesearch.training.graph import Execution
from scalesearch.training.loop import train
from scalesearch.training.recipe import Phase, Recipe
from scalesearch.training.steps import Task

# Dropout and drop path draw random numbers inside of what is compiled.
TINY = Network(
    name="tiny",
    resolution=8,
    stem=Stem(8, stride=1),
    stages=(Stage("mbconv", 8, 1, 1, (("expand", 2),)), Stage("fused_mbconv", 16, 2, 2, (("expand", 2),))),
    head=Head(24, dropout=0.2),
    classes=10,
    drop_path=0.2,
)
RECIPE = Recipe(phases=(Phase(0.5, 0.75), Phase(0.5, 1.0)), norm_batches=2)
NO_COMPILER = {"CXX": "/nowhere/c++"}
STUDY = "name: small\nrungs: [128]\nfinals: {candidates: 0, seeds: 0}\n"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return DeviceData.of(load("digits", cache=tmp_path_factory.mktemp("cache")))


def request(**changes):
    return replace(Request(Study("small"), (2e9,), {}, "digits", 2, None, "cpu", 1, None), **changes)


def defined(asked):
    space, recipe = documents.load_space(asked.study.space), documents.load_recipe(asked.study.recipe)
    return define(asked, space, recipe, load("digits"), workers=1)


def test_compile_is_another_study_in_another_folder_and_its_absence_is_not_written():
    plain, compiled = (defined(request(compile=on)) for on in (False, True))
    assert "compile" not in plain.resolved
    assert compiled.resolved == plain.resolved | {"compile": True}
    assert run_folder(request(), plain) != run_folder(request(compile=True), compiled)


def test_a_checkpoint_is_continued_by_the_same_kind_of_execution(digits):
    def key(**execution):
        return Task(TINY, digits, RECIPE, 64, 0, torch.device("cpu"), Execution(**execution)).key()

    assert key(graph=False) == key(graph=True)
    assert key(compile=True) != key(compile=False)


@pytest.mark.slow
def test_without_a_compiler_the_run_ends_in_one_line_before_anything_is_written(tmp_path):
    options = ("--budget-flops", "2e9", "--compile", "--data", "digits", "--trials", 1, "--device", "cpu")
    code, out, err = call("run", *options, "--out", "found", cwd=tmp_path, **NO_COMPILER)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: --compile needs a compiler")
    assert NO_COMPILER["CXX"] in err
    assert not (tmp_path / "found").exists()


@pytest.mark.long
def test_a_compiled_training_ends_like_the_plain_one_and_repeats_bit_by_bit(digits):
    def trained(on):
        outcome = train(TINY, digits, RECIPE, images=2560, seed=0, execution=Execution(compile=on))
        return replace(outcome, seconds=0.0, peak_memory=0)

    plain, compiled = trained(False), trained(True)
    assert compiled.status == "complete"
    assert compiled.val_loss == pytest.approx(plain.val_loss, rel=1e-4)
    assert compiled != plain  # or nothing was compiled: it rounds differently
    assert trained(True) == compiled


@pytest.mark.long
def test_a_run_with_compile_trains_and_belongs_to_itself_alone(tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    options = ("--budget-flops", "2e9", "--study", "small.yaml", "--data", "digits", "--trials", 1)
    run = ("run", *options, "--device", "cpu", "--workers", 1, "--out", "found")
    code, _, err = call(*run, "--compile", cwd=tmp_path)
    assert code == 0, err
    assert documents.read(tmp_path / "found" / "study.yaml")["compile"] is True
    code, _, err = call(*run, cwd=tmp_path)
    assert code == 2
    assert "differs in compile: True there, None here" in err
