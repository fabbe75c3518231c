"""The official CIFAR-10 batches (Krizhevsky 2009), read by torchvision once their checksums match."""

import queue
import tarfile
import threading
import urllib.request
import warnings
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import numpy as np

from scalesearch.errors import InputError
from scalesearch.training.data.cache import building
from scalesearch.training.data.pool import Pool, Progress, identify

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
CONNECT_SECONDS = 10.0
CHUNK = 1 << 20  # bytes


class UnreachableError(InputError):
    """CIFAR-10 is not on this machine and could not be downloaded."""


@dataclass(frozen=True)
class OfficialCifar10:
    """The folder `cifar-10-batches-py`."""

    folder: Path
    demonstration = False

    @property
    def where(self) -> str:
        """What errors name."""
        return str(self.folder)

    def identity(self) -> list[object]:
        """See Source.identity."""
        files = sorted(path for path in self.folder.iterdir() if path.is_file())
        return ["cifar-10-batches-py", *identify(files, self.folder)]

    def read(self, scratch: Path, progress: Progress) -> Pool:
        """See Source.read; raises InputError where a file's MD5 is not the published one."""
        from torchvision.datasets import CIFAR10

        progress("reading CIFAR-10", 0.0)
        with warnings.catch_warnings():
            # The batches were pickled by Python 2, whose dtypes say align=0; NumPy 2.4 frowns at that.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            try:
                train, test = (CIFAR10(self.folder.parent, train=part) for part in (True, False))
            except RuntimeError as error:
                raise InputError(
                    f"{self.folder}: a batch is missing or has not its published MD5, so none is unpickled"
                ) from error
        progress("reading CIFAR-10", 1.0)
        parts = np.repeat(["train", "test"], [len(train), len(test)])
        images = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)
        labels = np.array([*train.targets, *test.targets], dtype=np.int64)
        return Pool("CIFAR-10", tuple(train.classes), images, labels, parts)


def find_batches(root: Path) -> OfficialCifar10 | None:
    """Look for the official batches in `root` itself or directly below it."""
    folder = root if root.name == FOLDER else root / FOLDER
    return OfficialCifar10(folder) if folder.is_dir() else None


def obtain(cache: Path, progress: Progress) -> OfficialCifar10:
    """Find CIFAR-10 in the cache, `.` or `./data`, or download it into the cache (170 MB, once).

    Raises UnreachableError where that fails; a connection is given up after 10 s.
    """
    kept = cache / "cifar10-official"
    for root in (kept, Path.cwd(), Path.cwd() / "data"):
        if (found := find_batches(root)) is not None:
            return found
    connection = _connect()
    with building(kept, Path.is_dir) as scratch, connection:
        _download(connection, scratch / ARCHIVE, progress)
        with tarfile.open(scratch / ARCHIVE) as archive:
            archive.extractall(scratch, filter="data")
        (scratch / ARCHIVE).unlink()
    return OfficialCifar10(kept / FOLDER)


def _connect() -> HTTPResponse:
    from torchvision.datasets import CIFAR10

    answers: queue.Queue[HTTPResponse | Exception] = queue.Queue()

    def attempt() -> None:
        try:
            answers.put(urllib.request.urlopen(CIFAR10.url, timeout=CONNECT_SECONDS))
        except (OSError, HTTPException) as error:
            answers.put(error)

    # A timeout of urlopen holds for each address and not for the name look-up; this one holds for all.
    threading.Thread(target=attempt, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise UnreachableError(_unreachable(f"no answer within {CONNECT_SECONDS:g} s")) from None
    if isinstance(answer, Exception):
        raise UnreachableError(_unreachable(str(answer))) from answer
    return answer


def _download(connection: HTTPResponse, archive: Path, progress: Progress) -> None:
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    size = int(connection.headers.get("Content-Length") or 0)
    with archive.open("wb") as file:
        try:
            while chunk := connection.read(CHUNK):
                file.write(chunk)
                progress("downloading CIFAR-10", file.tell() / size if size else 0.0)
        except (OSError, HTTPException) as error:
            raise UnreachableError(_unreachable(f"the download broke off: {error}")) from error
    if not check_integrity(str(archive), CIFAR10.tgz_md5):
        raise UnreachableError(_unreachable("the download's MD5 is not the published one"))


def _unreachable(reason: str) -> str:
    from torchvision.datasets import CIFAR10

    return f"CIFAR-10 cannot be had from {CIFAR10.url} ({reason}): give a folder that holds {FOLDER}"
