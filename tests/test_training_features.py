"""What a recipe or a machine may add to a training: crops, cutouts, averages, recorded steps, less memory."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.training.augment import (
    DeviceData,
    channel_statistics,
    cut_out,
    draw_boxes,
    draw_corners,
    prepare,
    resize,
    resize_boxes,
)
from scalesearch.training.batches import draw, network_input, with_null_choices
from scalesearch.training.data import load
from scalesearch.training.ema import WeightAverage
from scalesearch.training.graph import WARM_UP, Execution, Recorder
from scalesearch.training.loop import train
from scalesearch.training.memory import is_out_of_memory
from scalesearch.training.recipe import Phase, Recipe
from scalesearch.training.steps import Task, Training

TINY = Network(
    name="tiny",
    resolution=8,
    stem=Stem(8, stride=1),
    stages=(Stage("mbconv", 8, 1, 1, (("expand", 2),)), Stage("fused_mbconv", 16, 2, 2, (("expand", 2),))),
    head=Head(24, dropout=0.2),
    classes=10,
    drop_path=0.2,
)
RECIPE = Recipe(batch_size=16, phases=(Phase(0.5, 0.75), Phase(0.5, 1.0)), norm_batches=2)
EVERYTHING = replace(RECIPE, cutout=0.3, crop_area=(0.5, 1.0), crop_aspect=(0.75, 4 / 3), ema_decay=0.9)
CPU = torch.device("cpu")
sides = st.integers(1, 40)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return DeviceData.of(load("digits", cache=tmp_path_factory.mktemp("cache")))


def few(data, count):
    """The data with its first training images only: the second epoch, which is varied, comes soon."""
    return replace(data, train_images=data.train_images[:count], train_labels=data.train_labels[:count])


def known(outcome):
    return replace(outcome, seconds=0.0, peak_memory=0, checkpoint=None)


def task(data, recipe=RECIPE, images=200):
    return Task(TINY, data, recipe, images, 0, CPU, Execution())


@settings(deadline=None, max_examples=40)
@given(sides, sides, st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_cutout_covers_one_rectangle_of_exactly_its_area(height, width, share, seed):
    torch.manual_seed(seed)
    x = torch.rand(5, 3, height, width) + 1
    covered = cut_out(x, draw_corners(5, share, (height, width)), share)
    tall, wide = (max(1, round(share * side)) for side in (height, width))
    for image, original in zip(covered, x, strict=True):
        hole = image == 0
        assert torch.equal(hole[0], hole[1])
        assert torch.equal(hole[0], hole[2])
        assert (int(hole[0].any(1).sum()), int(hole[0].any(0).sum()), int(hole[0].sum())) == (
            tall,
            wide,
            tall * wide,
        )
        assert torch.equal(image[~hole], original[~hole])


def test_cutouts_reach_every_place():
    torch.manual_seed(0)
    corners = draw_corners(2000, 0.5, (8, 6)).squeeze(2)
    assert {tuple(pair) for pair in corners.T.tolist()} == set(itertools.product(range(5), range(4)))


def test_a_cutout_takes_integers_too():
    images = torch.full((2, 3, 8, 8), 7, dtype=torch.uint8)
    covered = cut_out(images, torch.zeros(2, 2, 1, dtype=torch.int64), 0.5)
    assert covered.dtype == torch.uint8
    assert int(covered.sum()) == 7 * 2 * 3 * (64 - 16)


@settings(deadline=None, max_examples=30)
@given(sides, sides, sides, sides)
def test_a_box_around_the_whole_image_is_the_plain_resize(height, width, to_height, to_width):
    images = torch.rand(3, 3, height, width)
    boxes = draw_boxes(3, (1.0, 1.0), (1.0, 1.0))
    size = (to_height, to_width)
    torch.testing.assert_close(resize_boxes(images, boxes, size), resize(images, size))


def test_a_box_of_whole_pixels_is_a_crop_and_a_resize():
    images = torch.rand(2, 3, 20, 16)
    boxes = torch.tensor(
        [[5 / 20, 2 / 16, 10 / 20, 9 / 16], [0.0, 7 / 16, 11 / 20, 9 / 16]], dtype=torch.float64
    )
    got = resize_boxes(images, boxes, (6, 5))
    torch.testing.assert_close(got[0], resize(images[:1, :, 5:15, 2:11], (6, 5))[0])
    torch.testing.assert_close(got[1], resize(images[1:, :, :11, 7:], (6, 5))[0])


@given(st.floats(0.1, 1), st.floats(0.1, 1), st.floats(0.3, 1), st.floats(1, 3), st.integers(0, 9))
def test_boxes_lie_inside_and_keep_their_ranges(one, other, narrow, wide, seed):
    torch.manual_seed(seed)
    area = (min(one, other), max(one, other))
    boxes = draw_boxes(50, area, (narrow, wide))
    near = 1e-9
    assert boxes.min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 1 + near
    uncut = boxes[(boxes[:, 2:] < 1).all(1)]
    shares, aspects = uncut[:, 2] * uncut[:, 3], uncut[:, 3] / uncut[:, 2]
    assert ((shares >= area[0] - near) & (shares <= area[1] + near)).all()
    assert ((aspects >= narrow - near) & (aspects <= wide + near)).all()
    assert (boxes[:, 2] * boxes[:, 3] <= area[1] + near).all()


def test_random_crops_keep_constants_and_in_expectation_the_mean():
    torch.manual_seed(0)
    n = 3000
    boxes = draw_boxes(n, (0.2, 1.0), (0.75, 4 / 3))
    ramp = torch.linspace(0, 1, 24).repeat(24, 1) + torch.linspace(0, 2, 24)[:, None]
    crops = resize_boxes(ramp.expand(n, 1, 24, 24), boxes, (7, 9)).mean((1, 2, 3))
    assert crops.std() > 0.1
    assert crops.mean().item() == pytest.approx(1.5, abs=5 * crops.std().item() / n**0.5)
    torch.testing.assert_close(resize_boxes(torch.ones(n, 1, 24, 24), boxes, (7, 9)), torch.ones(n, 1, 7, 9))


def test_a_cutout_covers_with_the_mean_colour():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (500, 3, 8, 8), dtype=torch.uint8)
    mean, std = channel_statistics(images)
    none = torch.zeros(0)
    x = prepare(images, (8, 8), DeviceData(images, none, images, none, images, none, 1, mean, std))
    covered = cut_out(x, draw_corners(len(x), 0.5, (8, 8)), 0.5)
    assert covered.is_contiguous(memory_format=torch.channels_last)
    assert covered.mean().item() == pytest.approx(0.0, abs=0.01)  # as before
    assert x[covered == 0].std().item() == pytest.approx(1.0, abs=0.05)


def varied(data, recipe, seed):
    torch.manual_seed(seed)
    batch = draw(torch.arange(16), recipe, (8, 8), (6, 6), vary=True)
    return network_input(batch, data, recipe, (6, 6))[0]


def test_augmentation_takes_bytes_and_follows_the_seed_alone(digits):
    assert digits.train_images.dtype == torch.uint8
    first, again, other = (varied(digits, EVERYTHING, seed) for seed in (0, 0, 1))
    assert first.shape == (16, 3, 6, 6)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("change", [{"cutout": 0.3}, {"crop_area": (0.5, 1.0)}, {"crop_aspect": (0.5, 2.0)}])
def test_each_augmentation_changes_images_from_their_second_time_on(digits, change):
    changed = replace(RECIPE, **change)
    assert not torch.equal(varied(digits, RECIPE, 0), varied(digits, changed, 0))
    plain, other = (train(TINY, few(digits, 96), r, images=128, seed=0).curve for r in (RECIPE, changed))
    assert plain[:6] == other[:6]
    assert plain[7:] != other[7:]


def test_null_choices_change_nothing(digits):
    recipe = replace(RECIPE, cutout=0.5)
    batch = draw(torch.arange(16), recipe, (8, 8), (6, 6), vary=False)
    null = with_null_choices(batch, recipe, (6, 6))
    assert null.tensors().keys() > batch.tensors().keys()
    plain, other = (network_input(b, digits, recipe, (6, 6))[0] for b in (batch, null))
    assert torch.equal(plain, other)
    crops = with_null_choices(batch, EVERYTHING, (6, 6))
    torch.testing.assert_close(network_input(crops, digits, EVERYTHING, (6, 6))[0], plain)


@given(st.integers(1, 12), st.integers(1, 4))
def test_a_batch_s_parts_are_the_batch(n, parts):
    batch = draw(torch.arange(n), EVERYTHING, (8, 8), (6, 6), vary=True)
    pieces = [piece.tensors() for piece in batch.split(parts)]
    assert len(pieces) == min(n, parts)
    for name, tensor in batch.tensors().items():
        axis = 1 if name in ("shifts", "corners") else 0
        assert torch.equal(torch.cat([piece[name] for piece in pieces], axis), tensor)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"cutout": 1.0}, r"cutout must be in \[0, 1\)"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\)"),
        ({"crop_area": (0.5, 0.2)}, "crop_area must be a range"),
        ({"crop_area": (0.5, 1.5)}, "crop_area must be a range"),
        ({"crop_aspect": (0.0, 1.0)}, "crop_aspect must be a range above 0"),
    ],
)
def test_a_recipe_outside_its_ranges_is_refused(change, rule):
    with pytest.raises(ValueError, match=rule):
        replace(RECIPE, **change)


@given(st.floats(0.01, 0.99), st.integers(1, 8))
def test_the_average_weighs_each_step_s_weights_by_its_age(decay, steps):
    model = torch.nn.Linear(2, 1)
    average = WeightAverage(model, decay)
    seen = []
    for step in range(steps):
        torch.nn.init.constant_(model.weight, float(step + 1) ** 2)
        seen.append((decay ** (steps - 1 - step), float(step + 1) ** 2))
        average.update()
    average.apply(steps)
    expected = sum(w * value for w, value in seen) / sum(w for w, _ in seen)
    assert model.weight[0, 0].item() == pytest.approx(expected, rel=1e-4)


def test_the_average_is_evaluated_and_stored(digits, tmp_path):
    outcomes, weights = [], []
    for decay in (0.0, 1e-12, 0.98):
        file = tmp_path / str(decay)
        recipe = replace(RECIPE, ema_decay=decay)
        outcomes.append(train(TINY, digits, recipe, images=400, seed=0, weights=file))
        weights.append(load_file(file)["stem.conv.weight"])
    assert outcomes[0].curve == outcomes[1].curve == outcomes[2].curve
    assert outcomes[0].val_loss == pytest.approx(outcomes[1].val_loss, rel=1e-4)
    assert outcomes[0].val_loss != outcomes[2].val_loss
    torch.testing.assert_close(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])


@pytest.mark.parametrize("stop", [0, 3, 10])
def test_a_stopped_training_with_everything_on_continues_bit_for_bit(digits, tmp_path, stop):
    data, asked = few(digits, 96), itertools.count()
    arguments = {"images": 200, "seed": 1}
    whole = train(TINY, data, EVERYTHING, **arguments, weights=tmp_path / "whole")
    file = {"checkpoint": tmp_path / "checkpoint"}
    stopped = train(TINY, data, EVERYTHING, **arguments, **file, should_stop=lambda: next(asked) >= stop)
    assert (stopped.status, stopped.images) == ("interrupted", 16 * stop)
    continued = train(TINY, data, EVERYTHING, **arguments, **file, weights=tmp_path / "continued")
    assert known(continued) == known(whole)
    assert (tmp_path / "continued").read_bytes() == (tmp_path / "whole").read_bytes()


class Log(TorchDispatchMode):
    """Records kernels with their memory and the host's numbers, as a CUDA graph does, and repeats them."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def repeat(self):
        for func, args, kwargs, out in self.calls:
            for there, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(there, torch.Tensor) and there.data_ptr() != new.data_ptr():
                    there.copy_(new)


def record_by_log(recorded):
    """Return a `Record` for the CPU. Recording also carries the step out, so the first repeat does not."""

    def record(function):
        log = Log()
        with log:
            function()
        log.calls = [call for call in log.calls if "set_" not in str(call[0])]
        recorded.append(len(log.calls))
        fresh = iter([True])

        def repeat():
            if not next(fresh, False):
                with torch.no_grad():
                    log.repeat()

        return repeat

    return record


@pytest.mark.parametrize("recipe", [RECIPE, EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("record", ["buffers", "log"])
def test_a_recorded_step_repeats_the_plain_one(digits, recipe, record):
    data, recorded = few(digits, 64), []
    plain, other = (Training(task(data, recipe)) for _ in range(2))
    by = record_by_log(recorded) if record == "log" else lambda function: function
    other.recorder = Recorder(other.take, recipe.batch_size, CPU, by)
    other.optimizers = type(other.optimizers)(other.model, recipe, rates_on_device=True)
    for training in (plain, other):
        while training.state.step < training.steps:
            with torch.random.fork_rng(devices=[]):
                training.step()
    assert len(recorded) == (2 if record == "log" else 0)  # once an input size
    assert plain.steps == 13 > 2 * (WARM_UP + 1)
    torch.testing.assert_close(other.losses(), plain.losses(), rtol=1e-3, atol=1e-4)
    assert plain.losses()[0] == other.losses()[0]
    for training in (plain, other):
        training.settle()
    for (name, one), two in zip(
        plain.model.state_dict().items(), other.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(two, one, rtol=2e-2, atol=2e-3, msg=name)


def test_buffers_take_only_batches_of_their_own_kind():
    static = draw(torch.arange(8), RECIPE, (8, 8), (6, 6), vary=True)
    for other in (
        draw(torch.arange(7), RECIPE, (8, 8), (6, 6), vary=True),
        draw(torch.arange(8), RECIPE, (8, 8), (6, 6), vary=False),
    ):
        with pytest.raises(ValueError, match="same size and choices"):
            static.fill(other)


def test_gradients_of_a_batch_in_parts_are_those_of_the_whole(digits):
    trainings = [Training(task(digits), parts) for parts in (1, 2, 3)]
    for training in trainings:
        training.model.eval()  # batch norm's statistics do depend on the part
        for _ in range(3):
            training.step()
    for training in trainings[1:]:
        assert training.losses() == pytest.approx(trainings[0].losses(), rel=1e-4)


MEMORY = """
import json, os, resource
import torch
from dataclasses import replace
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.training.augment import DeviceData
from scalesearch.training.loop import train
from scalesearch.training.recipe import Phase, Recipe

torch.set_num_threads(1)
images = torch.randint(0, 256, (300, 3, 8, 8), dtype=torch.uint8)
labels = torch.arange(300) % 2
half = images[:50], labels[:50]
data = DeviceData(images, labels, *half, *half, 2, torch.full((3, 1, 1), 128.0), torch.full((3, 1, 1), 74.0))
stages = (Stage("fused_mbconv", 8, 1, 1, (("expand", 2),)),)
network = Network("wide", 32, stem=Stem(16, stride=1), stages=stages, head=Head(16), classes=2)
recipe = Recipe(batch_size=256, phases=(Phase(1.0, 1.0),), norm_batches=0)

def size(name):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

def in_a_child(work):
    ours, theirs = os.pipe()
    if not os.fork():
        os.write(theirs, json.dumps(work()).encode())
        os._exit(0)
    os.close(theirs)
    said = os.read(ours, 10000)
    return json.loads(said) if said else None  # an allocation within a library may end the process

def trained(recipe=recipe):
    outcome = train(network, data, recipe, images=recipe.batch_size, seed=0)
    return outcome.status, outcome.reason, outcome.accumulated, outcome.deterministic, outcome.images

def measured():
    before = size("VmSize")
    return trained(), size("VmPeak") - before

def limited(bytes):
    limit = size("VmSize") + bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return trained()

trained(replace(recipe, batch_size=4))  # what torch loads at its first use is not the batch's
free, most = in_a_child(measured)
# How much less half a batch takes depends on what the kernels hold besides, so a share is looked for.
shares = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
tried = [in_a_child(lambda: limited(int(share * most))) for share in (*shares, 0.2)]
print(json.dumps([free, *tried]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process's memory are Linux's")
def test_without_the_memory_a_batch_is_split_once_then_the_training_fails():
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    free, *tried, failed = json.loads(ran.stdout)
    assert free == ["complete", None, 1, True, 256]
    assert ["complete", None, 2, False, 256] in tried
    assert (failed[0], failed[2], failed[3]) == ("failed", 2, False)
    assert failed[1].startswith("out of memory: ")


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert is_out_of_memory(error.value)


def test_on_the_cpu_an_outcome_says_that_it_repeats(digits):
    outcome = train(TINY, digits, RECIPE, images=16, seed=0)
    assert (outcome.deterministic, outcome.accumulated) == (True, 1)


@pytest.mark.long
def test_a_compiled_network_trains_as_the_plain_one(digits):
    network = replace(TINY, drop_path=0.0, head=Head(24))
    plain, compiled = (
        train(network, digits, RECIPE, images=64, seed=0, execution=Execution(compile=on))
        for on in (False, True)
    )
    assert compiled.val_loss == pytest.approx(plain.val_loss, rel=1e-2)
