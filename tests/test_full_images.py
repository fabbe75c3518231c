"""Batches of full trainings: what they hold, and that nothing but seed, epoch and position decides it."""

import multiprocessing
import shutil
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from images import splits_of, write_classes
from photos import TEXTURES, photo
from torchvision.transforms import v2

from scalesearch.errors import InputError
from scalesearch.training.augment import Order
from scalesearch.training.data import load
from scalesearch.training.data.dataset import Split
from scalesearch.training.full.images import IMAGENET, TrainImages, evaluation_batches, statistics
from scalesearch.training.full.recipe import FullRecipe, Setting

PLAIN = FullRecipe(batch_size=64, label_smoothing=0.0, flip=False)
SHIFTED = replace(PLAIN, flip=True, crop_padding=4, label_smoothing=0.1)
EVERYTHING = replace(
    PLAIN,
    batch_size=16,
    flip=True,
    crop_area=(0.3, 1.0),
    crop_aspect=(0.75, 1.3333),
    randaugment_magnitude=9,
    mixup=0.2,
    cutmix=1.0,
    random_erasing=0.5,
)
SIZE = (32, 32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load("digits", cache=tmp_path_factory.mktemp("cache"))


def made(data, recipe, seed=1, **options):
    mean, std = statistics(data)
    return TrainImages(data, recipe, seed=seed, mean=mean, std=std, **options)


def taken(source, recipe, epoch=0, size=SIZE, first=0, count=None):
    return list(islice(source.batches(epoch, size, recipe.setting(0), first), count))


def joined(batches):
    return [torch.cat(parts) for parts in zip(*batches, strict=True)]


def same(one, two):
    return len(one) == len(two) and all(
        torch.equal(a, b)
        for left, right in zip(one, two, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def pixels(x, data):
    mean, std = statistics(data)
    return (x * std.view(3, 1, 1) + mean.view(3, 1, 1)) * 255


def test_a_plain_epoch_shows_each_image_once_but_for_the_dropped_remainder(data):
    source = made(data, PLAIN)
    x, targets = joined(taken(source, PLAIN))
    assert (source.steps, len(data.train)) == (22, 1437)
    order = Order(1437, 1).indices(0, 22 * 64)
    assert len(order.unique()) == 22 * 64
    expected = torch.from_numpy(data.train.images[order.numpy()])
    assert (pixels(x, data) - expected).abs().max() < 1e-3
    assert torch.equal(targets.argmax(1), torch.from_numpy(data.train.labels[order.numpy()]))
    assert torch.equal(targets.sum(1), torch.ones(22 * 64))
    assert not same(taken(source, PLAIN, count=2), taken(source, PLAIN, epoch=1, count=2))
    assert not same(taken(source, PLAIN, count=2), taken(made(data, PLAIN, seed=2), PLAIN, count=2))


@pytest.mark.parametrize("recipe", [SHIFTED, EVERYTHING], ids=["shifted", "everything"])
def test_taking_an_epoch_up_again_gives_what_an_uninterrupted_one_gives(data, recipe):
    recipe = replace(recipe, accumulate=2)
    whole = taken(made(data, recipe), recipe, epoch=3, count=12)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert same(taken(made(data, recipe), recipe, epoch=3, first=4, count=4), whole[8:])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.long)]
)
def test_processes_that_prepare_batches_change_nothing(data, workers):
    recipe = replace(EVERYTHING, batch_size=400)
    here = [taken(made(data, recipe), recipe, epoch=epoch) for epoch in (0, 1)]
    torch.manual_seed(99)
    state = torch.get_rng_state()
    with made(data, recipe, workers=workers) as source:
        started = multiprocessing.active_children()
        assert same(taken(source, recipe, epoch=0), here[0])
        processes = multiprocessing.active_children()
        assert len(processes) - len(started) == workers
        assert same(taken(source, recipe, epoch=1, first=1), here[1][1:])
        assert {p.pid for p in multiprocessing.active_children()} == {p.pid for p in processes}
    assert torch.equal(torch.get_rng_state(), state)
    for process in processes:
        process.join(10)
        assert not process.is_alive()


@pytest.mark.parametrize("recipe", [SHIFTED, EVERYTHING], ids=["shifted", "everything"])
def test_ranks_divide_a_step_among_themselves_as_accumulation_does(data, recipe):
    one, many = replace(recipe, accumulate=4), replace(recipe, accumulate=2)
    parts = taken(made(data, one), one, count=12)
    ranks = [taken(made(data, many, rank=rank, world=2), many, count=6) for rank in range(2)]
    assert same([part for turn in zip(*ranks, strict=True) for part in turn], parts)
    unmixed = replace(recipe, mixup=0.0, cutmix=0.0)
    four = replace(unmixed, accumulate=4)
    whole = taken(made(data, unmixed), unmixed, count=3)[2]
    assert same([joined(taken(made(data, four), four, count=12)[8:])], [whole])


@pytest.mark.parametrize(
    "name", ["crop_padding", "crop_area", "randaugment_magnitude", "random_erasing", "mixup"]
)
def test_equal_images_are_varied_otherwise_in_each_epoch_step_and_part(data, name):
    strong = {
        "crop_padding": 6,
        "crop_area": (0.2, 1.0),
        "randaugment_magnitude": 20,
        "random_erasing": 0.9,
        "mixup": 1.0,
    }
    recipe = replace(PLAIN, batch_size=32, accumulate=2, **{name: strong[name]})
    # All alike, or of two classes in turn where images vary by mixing with each other.
    images = np.repeat(data.train.images[:1], 64, axis=0)
    labels = np.zeros(64, np.int64) if name != "mixup" else np.arange(64) % 2
    source = made(replace(data, train=Split(images, labels)), recipe)
    batches = [one for epoch in (0, 1) for one in taken(source, recipe, epoch)]
    shown = [targets.amax(1).sort().values if name == "mixup" else x for x, targets in batches]
    assert len(shown) == 8
    assert not any(torch.equal(one, two) for one, two in combinations(shown, 2))


def test_shifts_and_mirroring_are_those_of_short_trainings(data):
    source, plain = made(data, SHIFTED), made(data, PLAIN)
    varied, images = (
        pixels(taken(one, r, count=1)[0][0], data) for one, r in ((source, SHIFTED), (plain, PLAIN))
    )
    shifts = {}
    for image, original in zip(varied, images, strict=True):
        padded = F.pad(original[None], (4, 4, 4, 4), mode="reflect")[0]
        for flipped in (False, True):
            view = padded.flip(2) if flipped else padded
            for row, column in np.ndindex(9, 9):
                if (view[:, row : row + 32, column : column + 32] - image).abs().max() < 1e-2:
                    shifts.setdefault((flipped, row, column), 0)
                    shifts[flipped, row, column] += 1
    assert sum(shifts.values()) >= 64  # each is found, symmetric ones twice
    assert {flipped for flipped, _, _ in shifts} == {False, True}
    assert len({(row, column) for _, row, column in shifts}) > 20


def test_crops_show_a_part_of_the_image_at_the_asked_size(data):
    recipe = replace(PLAIN, crop_area=(0.2, 0.3), crop_aspect=(0.8, 1.25))
    x, _ = taken(made(data, recipe), recipe, size=(20, 24), count=1)[0]
    whole, _ = taken(made(data, PLAIN), PLAIN, size=(20, 24), count=1)[0]
    assert x.shape == (64, 3, 20, 24)
    assert ((x - whole).abs().amax((1, 2, 3)) > 0.1).all()


def test_every_augmentation_is_torchvisions_on_its_own_stream(data):
    # What the library does to one image with the stream that its position names.
    from scalesearch.training.augment import stream_seed

    recipe = replace(PLAIN, crop_area=(0.3, 1.0), crop_aspect=(0.75, 1.25), randaugment_magnitude=12)
    x, _ = taken(made(data, recipe), recipe, epoch=2, first=1, count=1)[0]
    order = Order(1437, 1).indices(2 * 1437 + 64, 2 * 1437 + 128)
    fill = (255 * statistics(data)[0]).round().tolist()
    crop = v2.RandomResizedCrop(SIZE, scale=(0.3, 1.0), ratio=(0.75, 1.25), antialias=True)
    augment = v2.RandAugment(2, 12, fill=fill)
    for number in (0, 63):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(1, 6, 2, 64 + number))
            image = augment(crop(torch.from_numpy(np.array(data.train.images[order[number]]))))
        assert (pixels(x[number], data) - image).abs().max() < 1e-3


def test_erasing_covers_with_the_mean_colour_as_often_as_asked(data):
    recipe = replace(PLAIN, random_erasing=0.25, batch_size=1437)
    (erased, _), (plain, _) = (taken(made(data, r), r)[0] for r in (recipe, replace(PLAIN, batch_size=1437)))
    changed = (erased != plain).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.3
    assert erased[erased != plain].abs().max() == 0
    none = replace(recipe, random_erasing=0.0)
    assert same(taken(made(data, none), none), [(plain, taken(made(data, none), none)[0][1])])


def test_mixup_and_cutmix_mix_targets_as_they_mix_images(data):
    for ways in ({"mixup": 1.0}, {"cutmix": 1.0}):
        recipe = replace(PLAIN, **ways)
        for (x, targets), (plain, labels) in zip(
            taken(made(data, recipe), recipe, count=5), taken(made(data, PLAIN), PLAIN, count=5), strict=True
        ):
            partner, other = plain.roll(1, 0), labels.roll(1, 0)
            share = torch.linalg.lstsq(
                (labels - other).reshape(-1, 1), (targets - other).reshape(-1, 1)
            ).solution
            assert targets.sum(1) == pytest.approx(torch.ones(64), abs=1e-5)
            assert torch.allclose(targets, share * labels + (1 - share) * other, atol=1e-5)
            if "mixup" in ways:
                assert torch.allclose(x, share * plain + (1 - share) * partner, atol=1e-4)
            else:
                own = (x == plain).all(0).all(0)  # one box for all images of the batch
                assert torch.equal(torch.where(own, plain, partner), x)
                assert own.float().mean().item() >= share.item() - 1e-5


def test_with_both_ways_on_each_is_taken_about_half_of_the_time(data):
    recipe = replace(PLAIN, batch_size=8, mixup=1.0, cutmix=1.0)
    plain = replace(PLAIN, batch_size=8)
    cut = 0
    for (x, _), (whole, _) in zip(
        taken(made(data, recipe), recipe, count=60), taken(made(data, plain), plain, count=60), strict=True
    ):
        cut += bool(((x == whole) | (x == whole.roll(1, 0))).all())
    assert 15 <= cut <= 45


@given(smoothing=st.floats(0, 0.9, allow_subnormal=False), mixup=st.sampled_from([0.0, 0.4]))
@settings(max_examples=8, deadline=None)
def test_smoothed_targets_are_what_cross_entropy_smooths(data, smoothing, mixup):
    recipe = replace(PLAIN, label_smoothing=smoothing, mixup=mixup)
    _, smooth = taken(made(data, recipe), recipe, count=1)[0]
    _, hard = taken(made(data, replace(recipe, label_smoothing=0.0)), recipe, count=1)[0]
    logits = torch.randn(64, 10, generator=torch.Generator().manual_seed(1))
    theirs = F.cross_entropy(logits, hard, label_smoothing=smoothing)
    assert F.cross_entropy(logits, smooth) == pytest.approx(theirs.item(), rel=1e-5)


def test_weak_settings_switch_augmentation_off(data):
    off = Setting(1.0, 0, 0.0, 0.0, 0.0, None)
    recipe = replace(EVERYTHING, crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), flip=False)
    plain = replace(PLAIN, batch_size=16)
    here = list(islice(made(data, recipe).batches(0, SIZE, off), 2))
    assert same(here, taken(made(data, plain), plain, count=2))


def test_a_set_smaller_than_a_batch_is_one_step_of_equal_parts(data):
    recipe = replace(PLAIN, batch_size=2000, accumulate=5)
    source = made(data, recipe)
    assert source.steps == 1
    assert [len(x) for x, _ in taken(source, recipe)] == [287] * 5
    few = replace(data, train=Split(data.train.images[:3], data.train.labels[:3]))
    with pytest.raises(InputError, match="each of 5 parts of a batch needs an image, but there are 3"):
        made(few, recipe)
    with pytest.raises(InputError, match=r"needs 300 images in each part .* 1437 images in 5 parts .* 287$"):
        made(data, recipe, least=300)


def test_batches_that_cannot_be_divided_and_too_wide_padding_are_refused(data):
    with pytest.raises(InputError, match=r"batch_size must be a multiple .* 64 for 3 x 2"):
        made(data, replace(PLAIN, accumulate=2), world=3)
    with pytest.raises(InputError, match="crop_padding must be below the images' 32 px, but got 32"):
        made(data, replace(PLAIN, crop_padding=32))


def test_statistics_are_those_of_the_training_images(data):
    mean, std = statistics(data)
    images = data.train.images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert mean.tolist() == pytest.approx(images.mean(1).tolist(), rel=1e-5)
    assert std.tolist() == pytest.approx(images.std(1).tolist(), rel=1e-5)
    flat = replace(data, train=Split(np.full((4, 3, 8, 8), 7, np.uint8), np.zeros(4, np.int64)))
    assert statistics(flat)[1].tolist() == pytest.approx([1 / 255] * 3)


def test_evaluation_shows_every_image_once_whole_and_in_order(data):
    mean, std = IMAGENET
    batches = list(evaluation_batches(data.report, SIZE, mean, std, batch_size=40))
    assert [len(labels) for _, labels in batches] == [40, 40, 10]
    x, labels = joined(batches)
    assert torch.equal(labels, torch.from_numpy(np.array(data.report.labels)))
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean.tolist(), std.tolist())])
    assert torch.allclose(x, theirs(torch.from_numpy(np.array(data.report.images))), atol=1e-5)
    smaller, _ = next(evaluation_batches(data.report, (20, 24), mean, std))
    assert smaller.shape == (90, 3, 20, 24)
    assert smaller.mean((0, 2, 3)) == pytest.approx(x.mean((0, 2, 3)), abs=0.02)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos") / "mine"
    rng = np.random.default_rng(5)
    for kind in TEXTURES:
        (root / kind).mkdir(parents=True)
        for number in range(20):
            photo(rng, kind, (160, 120)).save(root / kind / f"{number}.jpg")
    return root


def test_photos_keep_the_pixels_that_the_network_needs_and_their_splits(photos, tmp_path):
    usual, large = load(photos, cache=tmp_path), load(photos, cache=tmp_path, side=98)
    assert (usual.resolution, large.resolution) == (64, 112)
    assert load(photos, cache=tmp_path, side=500).resolution == 120  # they have no more
    assert load(photos, cache=tmp_path, side=32).folder == usual.folder
    assert len({load(photos, cache=tmp_path, side=side).folder for side in (98, 224, None)}) == 3
    for one, two in zip(splits_of(usual), splits_of(large), strict=True):
        assert np.array_equal(one.labels, two.labels)
        reduced = v2.functional.resize(torch.from_numpy(np.array(two.images)), [64, 64], antialias=True)
        assert (reduced.float() - torch.from_numpy(np.array(one.images)).float()).abs().mean() < 4
    assert usual.fingerprint != large.fingerprint


def test_small_square_images_stay_as_they_are(tmp_path):
    root = write_classes(tmp_path / "small", {"cat": 20, "dog": 20})
    usual, asked = (load(root, cache=tmp_path / "cache", side=side) for side in (None, 224))
    assert asked.resolution == 32
    assert asked.fingerprint == usual.fingerprint
    digits = [load("digits", cache=tmp_path / "cache", side=side).folder for side in (None, 224)]
    assert digits[0] == digits[1]


def test_a_full_disk_is_named_with_need_and_room(photos, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert load(photos, cache=tmp_path).resolution == 64  # 1.5 MB
    usage = usage._replace(free=4_000_000)
    with pytest.raises(InputError, match=r"decoding takes 0.0045 GB of .*, where 0.004 are free"):
        load(photos, cache=tmp_path, side=98)
