"""Data by name and in class folders."""

import subprocess
import sys

import numpy as np
import pytest
from images import noise, splits_of, write_classes
from PIL import Image

from scalesearch.errors import InputError
from scalesearch.training.data import load


def test_digits_are_real_images_marked_as_demonstration(tmp_path):
    data = load("digits", cache=tmp_path)
    assert (data.name, data.demonstration, data.resolution) == ("digits (scikit-learn)", True, 32)
    assert [len(split) for split in splits_of(data)] == [1437, 90, 90, 180]
    assert data.classes == tuple("0123456789")
    assert all(len(np.unique(split.labels)) == 10 for split in splits_of(data))
    assert data.train.images.max() > 200
    assert (data.train.images[:, 0] == data.train.images[:, 2]).all()


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("cifar-10", "did you mean cifar10"),
        ("nowhere/at/all", "data folder nowhere/at/all does not exist"),
        (__file__, "is a file"),
    ],
)
def test_data_that_is_not_there_is_refused_in_one_line(source, line, tmp_path):
    with pytest.raises(InputError, match=line) as error:
        load(source, cache=tmp_path)
    assert "\n" not in str(error.value)
    assert "cifar10, digits or a folder" in str(error.value)


def test_importing_the_data_room_loads_nothing_heavy():
    code = "import scalesearch.training.data, sys; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "torchvision", "pyarrow", "sklearn", "pandas"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_class_folders_are_divided_80_10_10_within_each_class(tmp_path):
    data = load(write_classes(tmp_path / "pets", {"cat": 40, "dog": 20}), cache=tmp_path / "cache")
    assert [np.bincount(split.labels).tolist() for split in splits_of(data)] == [
        [32, 16],
        [2, 1],
        [2, 1],
        [4, 2],
    ]
    assert data.name == "pets (class folders, PNG images)"
    assert data.classes == ("cat", "dog")


def test_given_train_val_and_test_folders_are_honoured(tmp_path):
    root = tmp_path / "d"
    for start, (part, count) in enumerate({"train": 10, "val": 4, "test": 3}.items()):
        write_classes(root / part, {"cat": count, "dog": count}, start=10_000 * start)
    data = load(root, cache=tmp_path / "cache")
    assert [len(split) for split in splits_of(data)] == [20, 4, 4, 6]
    first = np.asarray(noise(20_000)).transpose(2, 0, 1)
    assert (data.test.images == first).all(axis=(1, 2, 3)).any()


def test_given_train_and_val_folders_alone_leave_no_test_split(tmp_path):
    for start, part in enumerate(("train", "valid")):
        write_classes(tmp_path / "d" / part, {"cat": 5, "dog": 5}, start=10_000 * start)
    assert load(tmp_path / "d", cache=tmp_path / "cache").test is None


def test_every_kind_of_image_becomes_rgb_of_one_size(tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 20, "dog": 20}, size=(45, 50))
    for mode in ("L", "LA", "RGBA", "P", "1"):
        noise(99, (60, 41), mode).save(root / "cat" / f"{mode}.png")
    Image.fromarray(np.full((50, 50), 40_000, dtype=np.uint16)).save(root / "cat" / "16.png")
    noise(98, (400, 300)).convert("CMYK").save(root / "cat" / "cmyk.jpg")
    data = load(root, cache=tmp_path / "cache", max_corrupt=0)
    assert data.resolution == 48  # the median 45, rounded to a multiple of 8
    assert sum(map(len, splits_of(data))) == 47
    assert data.name == "d (class folders, JPEG/PNG images brought to 48 px)"


def test_a_corrupt_file_is_named_and_skipped_up_to_the_permitted_share(tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 20, "dog": 20})
    whole = (root / "cat" / "000.png").read_bytes()
    (root / "cat" / "half.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "text.png").write_text("no image")
    data = load(root, cache=tmp_path / "cache", max_corrupt=0.05)
    assert data.skipped == ("cat/half.png (truncated)", "dog/text.png (not an image that can be read)")
    assert sum(map(len, splits_of(data))) == 40
    for fresh_or_not in (tmp_path / "cache", tmp_path / "other"):
        with pytest.raises(
            InputError, match=r"2 of 42 images \(4\.8%\) cannot be decoded, at most 4\.0%.*cat/half\.png"
        ):
            load(root, cache=fresh_or_not, max_corrupt=0.04)


def refused(tmp_path, rule):
    with pytest.raises(InputError, match=rule):
        load(tmp_path / "d", cache=tmp_path / "cache")


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "d").mkdir()
    refused(tmp_path, "holds neither Parquet files.*nor class folders")


def test_a_single_class_is_refused(tmp_path):
    write_classes(tmp_path / "d", {"cat": 20})
    refused(tmp_path, r"at least two classes are needed, found \['cat'\]")


def test_a_class_folder_that_holds_images_only_deeper_is_refused(tmp_path):
    write_classes(tmp_path / "d", {"cat": 20, "dog": 20, "horse/brown": 20})
    refused(tmp_path, r"horse: a class folder must directly hold images")


def test_train_and_test_folders_without_class_folders_are_refused(tmp_path):
    write_classes(tmp_path / "d", {"train": 20, "test": 20})
    refused(tmp_path, "class folders are missing")


def test_a_class_that_is_not_trained_is_refused(tmp_path):
    write_classes(tmp_path / "d" / "train", {"cat": 20, "dog": 20})
    write_classes(tmp_path / "d" / "test", {"cow": 2})
    refused(tmp_path, "class 'cow' is not in")


def test_too_few_images_are_refused(tmp_path):
    write_classes(tmp_path / "d", {"cat": 2, "dog": 2})
    refused(tmp_path, "at least 15 different training images")


def test_only_corrupt_files_are_refused(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "a.jpg").write_bytes(b"")
    refused(tmp_path, "none of its 2 images can be decoded")
