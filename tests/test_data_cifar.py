"""The official CIFAR-10 batches: found, checked, downloaded."""

import hashlib
import os
import pickle
import socket
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from images import CIFAR10_CLASSES, splits_of

from scalesearch.errors import InputError
from scalesearch.training.data import load


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
