"""Data: found in every layout, decoded alike, divided by content, kept in a cache that can be trusted."""

import hashlib
import io
import json
import math
import multiprocessing
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scalesearch.errors import InputError
from scalesearch.training.data import CacheError, load, open_cached
from scalesearch.training.data.cache import building
from scalesearch.training.data.decode import common_side, decode_image
from scalesearch.training.data.split import apportion, content_hashes, divide, hold_out

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def noise(seed, size=(32, 32), mode="RGB"):
    """An image unlike any other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_classes(root, counts, size=(32, 32), start=0):
    """Class folders with `counts` different PNG images each."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            noise(start + 1000 * label + number, size).save(root / name / f"{number:03}.png")
    return root


def png(image):
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_parquet(file, contents, labels, names=("cat", "dog"), column="label"):
    file.parent.mkdir(parents=True, exist_ok=True)
    feature = {"_type": "ClassLabel", "names": list(names)}
    metadata = {
        "huggingface": json.dumps({"info": {"features": {"img": {"_type": "Image"}, column: feature}}})
    }
    images = [{"bytes": content, "path": f"{row}.png"} for row, content in enumerate(contents)]
    table = pa.table({"img": pa.array(images, IMAGE), column: pa.array(labels, pa.int64())})
    pq.write_table(table.replace_schema_metadata(metadata), file)


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def splits_of(data):
    return [split for split in (data.train, data.select, data.report, data.test) if split is not None]


def contents(split):
    return set(content_hashes(split.images))


# --- CIFAR-10 as Parquet files -----------------------------------------------------------------------


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


# --- other Parquet files -----------------------------------------------------------------------------


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


# --- digits and names --------------------------------------------------------------------------------


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


# --- class folders -----------------------------------------------------------------------------------


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
    assert data.name == "d (class folders, JPEG/PNG images)"


def test_a_corrupt_file_is_named_and_skipped_up_to_the_permitted_share(tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 20, "dog": 20})
    whole = (root / "cat" / "000.png").read_bytes()
    (root / "cat" / "half.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "text.png").write_text("no image")
    data = load(root, cache=tmp_path / "cache", max_corrupt=0.05)
    assert data.skipped == (str(Path("cat/half.png")), str(Path("dog/text.png")))
    assert sum(map(len, splits_of(data))) == 40
    for fresh_or_not in (tmp_path / "cache", tmp_path / "other"):
        with pytest.raises(InputError, match=r"2 of 42 images \(4\.8%\) cannot be decoded.*cat/half\.png"):
            load(root, cache=fresh_or_not)


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


# --- one image ---------------------------------------------------------------------------------------


def decoded(image, side, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return decode_image(stream.getvalue(), side)


def test_an_image_of_the_right_size_is_kept_exactly():
    image = noise(0)
    assert np.array_equal(decoded(image, 32), np.asarray(image).transpose(2, 0, 1))


def test_transparent_pixels_are_laid_on_white():
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert decoded(image, 32).min() == 255
    assert decoded(image.convert("RGB"), 32).max() == 0


def test_sixteen_bit_grey_keeps_its_upper_byte():
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    assert np.array_equal(decoded(Image.fromarray(ramp), 64)[1], ramp >> 8)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned a quarter clockwise
    image = noise(1)
    turned = decoded(image, 32, exif=exif)
    assert np.array_equal(turned, np.asarray(image.rotate(-90)).transpose(2, 0, 1))


def test_a_larger_image_is_cropped_in_its_centre():
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("blue", (100, 0, 200, 100))
    assert (decoded(wide, 50)[2] > 250).mean() > 0.95


def test_a_large_jpeg_matches_decoding_it_in_full():
    image = noise(2, (80, 60)).resize((800, 600), Image.Resampling.BICUBIC)
    ours = decoded(image, 96, "JPEG", quality=95).astype(int)
    full = image.resize((128, 96), Image.Resampling.BICUBIC).crop((16, 0, 112, 96))
    assert np.abs(ours - np.asarray(full).transpose(2, 0, 1)).mean() < 1


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), min_size=1, max_size=20))
def test_the_common_side_is_a_multiple_of_eight_unless_one_small_square(sizes):
    side = common_side(np.array(sizes))
    one_small_square = len({length for size in sizes for length in size}) == 1 and sizes[0][0] <= 64
    assert side == sizes[0][0] if one_small_square else (side % 8 == 0 and 8 <= side <= 128)


# --- the split ---------------------------------------------------------------------------------------


def hashes_of(numbers):
    """Content hashes of images that are equal where the numbers are."""
    return np.array([hashlib.sha256(str(number).encode()).hexdigest()[:32].encode() for number in numbers])


images_with_copies = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=30, max_size=120
)  # (what it shows, label)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=8).filter(any), st.data())
def test_places_go_to_the_largest_remainders(counts, data):
    total = data.draw(st.integers(0, sum(counts)))
    seats = apportion(np.array(counts), total)
    share = [Fraction(count * total, sum(counts)) for count in counts]
    assert seats.sum() == total
    assert all(
        math.floor(exact) <= seat <= math.ceil(exact) for exact, seat in zip(share, seats, strict=True)
    )
    more = [exact % 1 for exact, seat in zip(share, seats, strict=True) if seat > exact]
    less = [exact % 1 for exact, seat in zip(share, seats, strict=True) if seat < exact]
    assert min(more, default=1) >= max(less, default=0)


@given(images_with_copies, st.integers(0, 60), st.randoms())
def test_held_out_images_meet_their_quotas_as_far_as_copies_permit(images, total, random):
    total = min(total, len(images))
    numbers, labels = (np.array(column) for column in zip(*images, strict=True))
    hashes = hashes_of(numbers)
    held = hold_out(hashes, labels, total)
    quota = apportion(np.bincount(labels), total)
    left = quota - np.bincount(labels[held], minlength=len(quota))
    assert quota.sum() == total
    assert (left >= 0).all()
    for number in np.unique(numbers):
        assert len(np.unique(held[numbers == number])) == 1  # copies on one side
        if not held[numbers == number][0]:  # what stayed outside did not fit in
            assert (np.bincount(labels[numbers == number], minlength=len(quota)) > left).any()
    order = random.sample(range(len(images)), len(images))
    assert np.array_equal(hold_out(hashes[order], labels[order], total), held[order])


@settings(max_examples=50)
@given(
    st.lists(st.integers(15, 60), min_size=2, max_size=4),
    st.sampled_from(["none", "test", "val"]),
    st.randoms(),
)
def test_a_split_is_exact_complete_and_independent_of_the_order_of_files(counts, given_part, random):
    labels = np.repeat(np.arange(len(counts)), counts)
    hashes = hashes_of(range(len(labels)))
    parts = np.full(len(labels), "train", dtype="U5")
    if given_part != "none":
        parts[::4] = given_part
    splits = divide(hashes, labels, parts)
    train = int((parts == "train").sum())
    val = int((parts == "val").sum()) if given_part == "val" else (train + 5) // 10
    assert len(splits["select"]) == val // 2
    assert len(splits["report"]) == val - val // 2
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(labels)))
    order = np.array(random.sample(range(len(labels)), len(labels)))
    again = divide(hashes[order], labels[order], parts[order])
    assert all(np.array_equal(order[again[name]], members) for name, members in splits.items())


def test_a_group_of_copies_stays_together_through_loading(tmp_path):
    root = write_classes(tmp_path / "d", {"cat": 30, "dog": 30})
    for number in range(30):
        shutil.copy(root / "cat" / f"{number:03}.png", root / "cat" / f"copy{number}.png")
    data = load(root, cache=tmp_path / "cache")
    hashes = [contents(split) for split in splits_of(data)]
    assert len(set.union(*hashes)) == sum(map(len, hashes)) == 60
    assert sum(map(len, splits_of(data))) == 90


# --- the official batches ----------------------------------------------------------------------------


class Trap:
    """Unpickling this leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def python2_pickle(content):
    """Pickle arrays as Python 2 did, whose dtypes carry 0 and 1 for False and True."""
    return pickle.dumps(content, protocol=2).replace(b"\x89\x88\x87", b"K\x00K\x01\x87")


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A folder laid out as the official one; torchvision is told this folder's checksums."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "official" / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def store(name, content):
        (folder / name).write_bytes(python2_pickle(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    def batch(seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 3072), dtype=np.uint8)
        return {"data": pixels, "labels": list(range(10)) * 4}

    monkeypatch.setattr(CIFAR10, "train_list", [store(f"data_batch_{n}", batch(n)) for n in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [store("test_batch", batch(6))])
    name, md5 = store("batches.meta", {"label_names": list(CIFAR10_CLASSES)})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder


@pytest.mark.parametrize("parent", [False, True])
def test_official_batches_are_read_where_their_checksums_match(batches, parent, tmp_path):
    data = load(batches.parent if parent else batches, cache=tmp_path / "cache")
    assert (data.name, data.classes) == ("CIFAR-10", CIFAR10_CLASSES)
    assert [len(split) for split in splits_of(data)] == [180, 10, 10, 40]
    first = np.random.default_rng(6).integers(0, 256, (40, 3072), dtype=np.uint8)[3].reshape(3, 32, 32)
    (place,) = np.flatnonzero((data.test.images == first).all(axis=(1, 2, 3)))
    assert data.test.labels[place] == 3


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_official_batches_with_a_wrong_checksum_are_never_unpickled(batches, name, tmp_path):
    mark = tmp_path / "unpickled"
    (batches / name).write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(InputError, match=r"cifar-10-batches-py.*MD5"):
        load(batches, cache=tmp_path / "cache")
    assert not mark.exists()
    pickle.loads((batches / name).read_bytes())
    assert mark.exists()  # the trap does work


@pytest.fixture
def served(batches, tmp_path, monkeypatch):
    """The archive of the batches behind a real HTTP server; nothing else to be found nearby."""
    from torchvision.datasets import CIFAR10

    (tmp_path / "www").mkdir()
    archive = tmp_path / "www" / "cifar.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(batches, batches.name)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=archive.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.chdir(archive.parent)
        yield archive
        server.shutdown()


def test_cifar10_is_downloaded_once_with_progress(served, tmp_path):
    told = []
    data = load(
        "cifar10", cache=tmp_path / "cache", progress=lambda doing, share: told.append((doing, share))
    )
    served.unlink()
    assert load(None, cache=tmp_path / "cache").fingerprint == data.fingerprint
    assert ("downloading CIFAR-10", 1.0) in told
    assert not data.demonstration


def test_a_download_with_a_wrong_checksum_is_refused(served, tmp_path):
    served.write_bytes(b"something else")
    with pytest.raises(InputError, match="MD5 is not the published one"):
        load("cifar10", cache=tmp_path / "cache")
    assert not any((tmp_path / "cache").iterdir())


def test_without_cifar10_the_default_is_the_demonstration(served, tmp_path):
    served.unlink()
    assert load(None, cache=tmp_path / "cache").demonstration
    with pytest.raises(InputError, match=r"cannot be had from http.*404"):
        load("cifar10", cache=tmp_path / "cache")


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    from scalesearch.training.data import cifar10 as official

    assert official.CONNECT_SECONDS <= 10
    monkeypatch.setattr(official, "CONNECT_SECONDS", 0.3)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/x")
        started = time.perf_counter()
        with pytest.raises(InputError, match="cannot be had"):
            load("cifar10", cache=tmp_path / "cache")
        assert time.perf_counter() - started < 2


# --- the cache ---------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    return write_classes(tmp_path / "small", {"cat": 20, "dog": 20})


def truncate(file):
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [truncate, Path.unlink, lambda file: file.write_bytes(b"")])
@pytest.mark.parametrize("name", ["train.images.npy", "test.labels.npy", "about.json"])
def test_a_damaged_cache_is_noticed_and_rebuilt(small, tmp_path, damage, name):
    data = load(small, cache=tmp_path / "cache")
    pixels = np.array(data.train.images)
    damage(data.folder / name)
    with pytest.raises(CacheError):
        open_cached(data.folder)
    again = load(small, cache=tmp_path / "cache")
    assert np.array_equal(again.train.images, pixels)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [again.folder.name]


def test_a_build_that_fails_leaves_nothing_behind(tmp_path):
    def fail():
        with building(tmp_path / "cache" / "data", Path.is_dir) as scratch:
            (scratch / "half").write_text("made")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert not any((tmp_path / "cache").iterdir())


def test_what_a_killed_process_left_is_swept_a_day_later(small, tmp_path):
    left = tmp_path / "cache" / ".building-old"
    left.mkdir(parents=True)
    load(small, cache=tmp_path / "cache")
    assert left.exists()
    os.utime(left, (time.time() - 90_000,) * 2)
    (small / "cat" / "000.png").unlink()
    load(small, cache=tmp_path / "cache")
    assert not left.exists()


def test_an_image_that_changes_is_noticed_and_changes_the_fingerprint(small, tmp_path):
    before = load(small, cache=tmp_path / "cache")
    noise(77).save(small / "dog" / "003.png")
    after = load(small, cache=tmp_path / "cache")
    assert after.fingerprint != before.fingerprint
    assert [len(split) for split in splits_of(after)] == [len(split) for split in splits_of(before)]
    assert set.union(*map(contents, splits_of(after))) != set.union(*map(contents, splits_of(before)))


def test_a_cache_folder_holds_the_splits_and_nothing_else(small, tmp_path):
    parts = ("train", "select", "report", "test")
    expected = {f"{part}.{kind}.npy" for part in parts for kind in ("images", "labels")} | {"about.json"}
    assert {path.name for path in load(small, cache=tmp_path / "cache").folder.iterdir()} == expected


def test_two_processes_may_load_at_once(small, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as processes:
        loads = processes.map(partial(load, cache=tmp_path / "cache"), [small] * 4, chunksize=1)
    assert len({data.fingerprint for data in loads}) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_bad_input(small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot be written.*SCALESEARCH_CACHE"):
        load(small, cache=tmp_path / "file" / "cache")


def test_the_cache_lies_where_the_environment_says(small, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path / "own"))
    assert load(small).folder.parent == tmp_path / "own"
    monkeypatch.delenv("SCALESEARCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert load(small).folder.parent == tmp_path / "xdg" / "scalesearch"
