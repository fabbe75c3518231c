"""Short trainings: exact, repeatable, continued bit for bit, honest about failure; and they learn."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.training.augment import DeviceData, Order, channel_statistics, crop_flip, prepare, resize
from scalesearch.training.build import build
from scalesearch.training.curve import POINTS
from scalesearch.training.data import load
from scalesearch.training.loop import train
from scalesearch.training.recipe import Phase, Recipe

TINY = Network(
    name="tiny",
    resolution=8,
    stem=Stem(8, stride=1),
    stages=(
        Stage("mbconv", 8, 1, 1, (("expand", 2),)),
        Stage("fused_mbconv", 16, 2, 2, (("expand", 2),)),
        Stage("shufflenet_v2", 16, 1, 2),
    ),
    head=Head(24, dropout=0.2),
    classes=10,
    drop_path=0.2,
)
RECIPE = Recipe(batch_size=16, phases=(Phase(0.5, 0.75), Phase(0.5, 1.0)), norm_batches=2)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return DeviceData.of(load("digits", cache=tmp_path_factory.mktemp("cache")))


def known(outcome):
    """Everything of an outcome that a repeat must reproduce."""
    return replace(outcome, seconds=0.0, peak_memory=0, checkpoint=None)


def stop_after(steps):
    asked = itertools.count()
    return lambda: next(asked) >= steps


def test_a_repeat_is_equal_bit_for_bit_and_leaves_the_caller_s_randomness_alone(digits, tmp_path):
    runs, files = [], [tmp_path / "a", tmp_path / "b"]
    for file in files:
        state = torch.get_rng_state()
        runs.append(train(TINY, digits, RECIPE, images=200, seed=3, weights=file))
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(1)
    assert known(runs[0]) == known(runs[1])
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_seed_gives_another_training(digits):
    first, second = (train(TINY, digits, RECIPE, images=64, seed=seed) for seed in (0, 1))
    assert first.curve != second.curve


@pytest.mark.parametrize("stop", [0, 1, 5, 6, 12])
def test_a_stopped_training_continues_bit_for_bit(digits, tmp_path, stop):
    images, file = 200, tmp_path / "checkpoint"
    whole = train(TINY, digits, RECIPE, images=images, seed=1, weights=tmp_path / "whole")
    stopped = train(
        TINY, digits, RECIPE, images=images, seed=1, checkpoint=file, should_stop=stop_after(stop)
    )
    assert (stopped.status, stopped.images, stopped.val_accuracy) == ("interrupted", 16 * stop, None)
    continued = train(
        TINY, digits, RECIPE, images=images, seed=1, checkpoint=file, weights=tmp_path / "continued"
    )
    assert known(continued) == known(whole)
    assert (tmp_path / "continued").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["continued", "whole"]


def test_a_training_may_stop_many_times(digits, tmp_path):
    arguments = {"images": 100, "seed": 1, "checkpoint": tmp_path / "checkpoint"}
    outcomes = [train(TINY, digits, RECIPE, **arguments, should_stop=stop_after(2)) for _ in range(4)]
    assert [o.status for o in outcomes] == ["interrupted"] * 3 + ["complete"]
    assert [o.images for o in outcomes] == [32, 64, 96, 100]
    assert known(outcomes[-1]) == known(train(TINY, digits, RECIPE, images=100, seed=1))


def test_a_checkpoint_of_another_training_is_refused(digits, tmp_path):
    file = tmp_path / "checkpoint"
    arguments = {"images": 100, "seed": 1, "checkpoint": file}
    train(TINY, digits, RECIPE, **arguments, should_stop=stop_after(1))
    others = (
        (replace(TINY, resolution=10), digits, RECIPE, arguments),
        (TINY, replace(digits, fingerprint="other"), RECIPE, arguments),
        (TINY, digits, replace(RECIPE, flip=False), arguments),
        (TINY, digits, RECIPE, arguments | {"seed": 2}),
        (TINY, digits, RECIPE, arguments | {"images": 101}),
    )
    for network, data, recipe, changed in others:
        with pytest.raises(ValueError, match="continues only the training that wrote it"):
            train(network, data, recipe, **changed)
    assert file.exists()


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"", lambda _: b"no checkpoint"])
def test_a_damaged_checkpoint_is_named(digits, tmp_path, damage):
    file = tmp_path / "checkpoint"
    train(TINY, digits, RECIPE, images=100, seed=1, checkpoint=file, should_stop=stop_after(1))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"whole file written by a training, but .*checkpoint"):
        train(TINY, digits, RECIPE, images=100, seed=1, checkpoint=file)


def test_a_checkpoint_must_be_a_training_s(digits, tmp_path):
    torch.save({"some": 1}, tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="something else"):
        train(TINY, digits, RECIPE, images=100, seed=1, checkpoint=tmp_path / "checkpoint")


@pytest.mark.parametrize("images", [1, 15, 16, 17, 100, 2000])
def test_exactly_the_asked_images_are_seen_and_counted(digits, images):
    told = []
    outcome = train(TINY, digits, RECIPE, images=images, seed=0, on_progress=told.append)
    assert outcome.images == images == told[-1] == outcome.curve[-1][0]
    assert told == [min(16 * (i + 1), images) for i in range(math.ceil(images / 16))]
    assert len(outcome.curve) <= POINTS
    small = sum(min(16, images - start) for start in range(0, images, 16) if start / images < 0.5)
    cost = {side: replace(TINY, resolution=side).cost().flops for side in (6, 8)}
    assert outcome.macs == small * cost[6] + (images - small) * cost[8]


def test_the_last_quarter_s_loss_is_the_mean_over_its_images(digits):
    outcome = train(TINY, digits, RECIPE, images=100, seed=0)  # 7 steps, each a point of the curve
    sizes = [b - a for a, b in itertools.pairwise([0, *(seen for seen, _ in outcome.curve)])]
    each_image = [loss for (_, loss), size in zip(outcome.curve, sizes, strict=True) for _ in range(size)]
    assert outcome.train_loss_last_quarter == pytest.approx(np.mean(each_image[75:]), rel=1e-6)


def test_a_loss_that_is_not_finite_ends_the_training_as_failed(digits, tmp_path):
    wild = replace(RECIPE, sgd_learning_rate=1e30, clip_norm=1e30, warmup_share=0.0)
    file = tmp_path / "weights"
    outcome = train(TINY, digits, wild, images=200, seed=0, weights=file)
    assert outcome.status == "failed"
    assert outcome.reason.startswith("non-finite loss at image ")
    at = int(outcome.reason.split()[-1])
    assert 0 < at < 200
    assert outcome.images == at + 16
    assert not file.exists()
    assert outcome.val_accuracy is None


def test_the_report_half_influences_nothing_but_its_own_accuracy(digits):
    changed = replace(digits, report_labels=(digits.report_labels + 1) % 10)
    first, second = (known(train(TINY, data, RECIPE, images=600, seed=0)) for data in (digits, changed))
    assert first.report_accuracy != second.report_accuracy
    assert replace(first, report_accuracy=None) == replace(second, report_accuracy=None)


def test_the_saved_weights_give_the_reported_accuracy(digits, tmp_path):
    file = tmp_path / "weights.safetensors"
    outcome = train(TINY, digits, RECIPE, images=600, seed=0, weights=file)
    assert outcome.checkpoint == str(file)
    model = build(TINY).eval()
    model.load_state_dict(load_file(file))
    with torch.no_grad():
        right = model(prepare(digits.select_images, (8, 8), digits)).argmax(1) == digits.select_labels
    assert right.float().mean().item() == pytest.approx(outcome.val_accuracy, abs=0.01)


def test_slow_running_statistics_are_measured_anew(digits):
    slow = replace(TINY, norm_momentum=0.001, drop_path=0.0, head=Head(64))
    stale, fresh = (
        train(slow, digits, replace(RECIPE, norm_batches=n), images=2000, seed=0).val_accuracy for n in (0, 8)
    )
    assert fresh > stale + 0.1


def test_digits_are_learned(digits):
    network = replace(TINY, drop_path=0.0, head=Head(64))
    outcome = train(network, digits, replace(RECIPE, flip=False, crop_padding=1), images=6000, seed=0)
    assert outcome.status == "complete"
    assert outcome.val_accuracy > 0.9
    assert outcome.val_loss < 0.4
    assert outcome.curve[0][1] > outcome.train_loss_last_quarter


@pytest.mark.parametrize(
    ("change", "rule"), [({"classes": 7}, "10 classes"), ({"in_channels": 1}, "in_channels=3")]
)
def test_a_network_that_does_not_fit_the_data_is_refused(digits, change, rule):
    with pytest.raises(ValueError, match=rule):
        train(replace(TINY, **change), digits, RECIPE, images=10, seed=0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"warmup_share": 1.0}, r"warmup_share must be in \[0, 1\)"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0"),
        ({"phases": (Phase(0.5, 1.0),)}, "add up to 1, but add up to 0.5"),
    ],
)
def test_a_recipe_outside_its_ranges_is_refused(change, rule):
    with pytest.raises(ValueError, match=rule):
        replace(RECIPE, **change)


@given(st.floats(0, 0.9), st.floats(0, 1))
def test_the_learning_rate_rises_to_one_and_falls_to_zero(warmup, progress):
    recipe = replace(RECIPE, warmup_share=warmup)
    assert 0 <= recipe.rate(progress) <= 1
    assert recipe.rate(warmup) == 1
    assert recipe.rate(1.0) == 0


def test_each_epoch_shows_every_image_once_in_another_order():
    order = Order(10, seed=0)
    epochs = [order.indices(10 * i, 10 * (i + 1)).tolist() for i in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert order.indices(7, 24).tolist() == [*epochs[0][7:], *epochs[1], *epochs[2][:4]]


def some_images(n=6, height=9, width=7):
    torch.manual_seed(0)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)


def test_each_augmented_image_is_a_window_of_its_own_padded_image():
    images = some_images()
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    flips = 0
    for image, frame in zip(crop_flip(images, 2, True), padded, strict=True):
        windows = [frame[:, y : y + 9, x : x + 7] for y in range(5) for x in range(5)]
        straight = any(torch.equal(image, window) for window in windows)
        assert straight or any(torch.equal(image, window.flip(2)) for window in windows)
        flips += not straight
    assert 0 < flips < 6


def test_augmentation_follows_the_generator_only():
    images = some_images(64)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(crop_flip(images, 2, True))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(crop_flip(images, 0, False), images)


def test_a_crop_wider_than_the_image_is_refused():
    with pytest.raises(ValueError, match="crop_padding must be below the images' side"):
        crop_flip(some_images(), 7, True)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_resizing_by_area_keeps_the_mean_and_constants(side, target):
    images = torch.rand(2, 3, side, side + 3)
    resized = resize(images, (target, target + 1))
    assert resized.shape == (2, 3, target, target + 1)
    torch.testing.assert_close(resized.mean((2, 3)), images.mean((2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        resize(torch.ones_like(images), (target, target)), torch.ones(2, 3, target, target)
    )


def test_resizing_by_a_whole_factor_is_average_pooling():
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(resize(images, (16, 16)), torch.nn.functional.avg_pool2d(images, 2))


def test_training_images_are_normalised_to_mean_zero_and_deviation_one(digits):
    x = prepare(digits.train_images, digits.train_images.shape[2:], digits)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    images = some_images(50)
    mean, std = channel_statistics(images)
    torch.testing.assert_close(mean.view(3), images.float().mean((0, 2, 3)))
    torch.testing.assert_close(std.view(3), images.float().std((0, 2, 3), correction=0))
