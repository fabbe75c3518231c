"""Data as Parquet files: CIFAR-10 and other contents."""

import io
import pickle
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from images import CIFAR10_CLASSES, IMAGE, contents, noise, png, splits_of, write_parquet
from PIL import Image

from scalesearch.errors import InputError
from scalesearch.training.data import load


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cifar10(cifar10_path, cache):
    return load(cifar10_path, cache=cache)


def test_cifar10_is_divided_45k_2500_2500_10k_with_equal_classes(cifar10, cifar10_path):
    assert [len(split) for split in splits_of(cifar10)] == [45_000, 2_500, 2_500, 10_000]
    assert [set(np.bincount(split.labels)) for split in splits_of(cifar10)] == [{4500}, {250}, {250}, {1000}]
    assert cifar10.classes == CIFAR10_CLASSES
    assert cifar10.name == f"{cifar10_path.name} (Parquet, JPEG images)"
    assert cifar10.resolution == 32
    assert cifar10.skipped == ()
    assert not cifar10.demonstration


def test_cifar10_splits_share_no_image(cifar10):
    hashes = [contents(split) for split in splits_of(cifar10)]
    assert len(set.union(*hashes)) == sum(map(len, hashes)) == 60_000


def test_cifar10_pixels_and_labels_are_those_of_the_files(cifar10, cifar10_path):
    (file,) = cifar10_path.rglob("*test*.parquet")
    row = pq.read_table(file).slice(1234, 1).to_pylist()[0]
    pixels = np.asarray(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB")).transpose(2, 0, 1)
    (place,) = np.flatnonzero((cifar10.test.images == pixels).all(axis=(1, 2, 3)))
    assert cifar10.test.labels[place] == row["label"]


def test_a_second_load_maps_the_cache_at_once(cifar10, cifar10_path, cache):
    started = time.perf_counter()
    again = load(cifar10_path, cache=cache)
    assert time.perf_counter() - started < 0.2
    assert again.fingerprint == cifar10.fingerprint
    assert isinstance(again.train.images, np.memmap)
    assert not again.train.images.flags.writeable
    assert not again.train.labels.flags.writeable


def test_handing_cifar10_to_another_process_costs_nothing(cifar10):
    message = pickle.dumps(cifar10)
    assert len(message) < 1000
    assert np.array_equal(pickle.loads(message).select.labels, cifar10.select.labels)


@pytest.fixture(scope="module")
def some_rows(cifar10_path):
    (file,) = cifar10_path.rglob("*test*.parquet")
    return pq.read_table(file).slice(0, 300)


def write_train_test(root, rows):
    root.mkdir()
    pq.write_table(rows.slice(0, 200), root / "train-0.parquet")
    pq.write_table(rows.slice(200), root / "test-0.parquet")
    return root


def test_a_copy_elsewhere_has_the_same_fingerprint_and_other_content_another(some_rows, tmp_path):
    first = load(write_train_test(tmp_path / "a", some_rows), cache=tmp_path / "1")
    copy = load(write_train_test(tmp_path / "b", some_rows), cache=tmp_path / "2")
    fewer = load(write_train_test(tmp_path / "c", some_rows.slice(0, 299)), cache=tmp_path / "1")
    assert copy.fingerprint == first.fingerprint != fewer.fingerprint
    assert copy.folder != first.folder


def test_a_changed_file_is_decoded_anew(some_rows, tmp_path):
    folder = write_train_test(tmp_path / "a", some_rows)
    before = load(folder, cache=tmp_path / "cache")
    pq.write_table(some_rows.slice(0, 150), folder / "train-0.parquet")
    after = load(folder, cache=tmp_path / "cache")
    assert (len(before.train), len(after.train)) == (180, 135)


def test_a_given_validation_file_is_honoured(tmp_path):
    for part, start, count in (("train", 0, 20), ("validation", 100, 8), ("test", 200, 6)):
        images = [png(noise(start + number)) for number in range(count)]
        write_parquet(tmp_path / "d" / f"{part}-00000.parquet", images, [0, 1] * (count // 2))
    data = load(tmp_path / "d", cache=tmp_path / "cache")
    assert [len(split) for split in splits_of(data)] == [20, 4, 4, 6]


def test_of_several_label_columns_the_name_says_which_was_taken(tmp_path):
    images = [{"bytes": png(noise(number)), "path": None} for number in range(30)]
    columns = {"img": pa.array(images, IMAGE), "fine": [0, 1, 2] * 10, "coarse": [0, 1] * 15}
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "d" / "train.parquet")
    data = load(tmp_path / "d", cache=tmp_path / "cache")
    assert data.name == "d (Parquet, PNG images, labels fine)"
    assert data.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("table", "rule"),
    [
        ({"label": [0, 1]}, "no column of images"),
        ({"img": pa.array([{"bytes": b"", "path": ""}] * 2, IMAGE), "label": ["a", "b"]}, "integer labels"),
    ],
)
def test_parquet_without_its_columns_is_refused(table, rule, tmp_path):
    file = tmp_path / "d" / "train.parquet"
    file.parent.mkdir()
    pq.write_table(pa.table(table), file)
    with pytest.raises(InputError, match=rule) as error:
        load(tmp_path / "d", cache=tmp_path / "cache")
    assert str(file) in str(error.value)


@pytest.mark.parametrize("wrong", [-1, 2])
def test_labels_outside_the_classes_are_refused(wrong, tmp_path):
    images = [png(noise(number)) for number in range(20)]
    write_parquet(tmp_path / "train.parquet", images, [0, 1] * 9 + [0, wrong])
    with pytest.raises(InputError, match=rf"train\.parquet: label {wrong} is outside 0\.\.1"):
        load(tmp_path, cache=tmp_path / "cache")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"not a table")
    with pytest.raises(InputError, match=r"train\.parquet cannot be read as a Parquet file"):
        load(tmp_path, cache=tmp_path / "cache")
