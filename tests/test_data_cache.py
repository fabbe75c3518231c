"""The cache of decoded data: there as a whole or not at all."""

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from images import contents, noise, splits_of, write_classes

from scalesearch.errors import InputError
from scalesearch.training.data import CacheError, load, open_cached
from scalesearch.training.data.cache import building


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
