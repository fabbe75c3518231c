"""Whatever a file holds, its reader gives a result or a clear error: in a second, in bounded memory."""

import io
import json
import random
import resource
import signal
import struct
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from factories import report, trial
from images import noise
from mutations import damaged
from PIL import Image
from test_documents import READERS, SHIPPED

from scalesearch import documents, load_trials
from scalesearch.architecture.network import Head, Network, Stage, Stem
from scalesearch.architecture.sampling import NotArraysError, Sampler
from scalesearch.cli.folder import read_json, stored_study
from scalesearch.cli.show import to_json
from scalesearch.errors import InputError
from scalesearch.search.store import RECORD, RunStore
from scalesearch.search.survey import _ALWAYS, read_survey
from scalesearch.training.build import build
from scalesearch.training.calibration import SCHEMA, Cache, Calibrated, Setting, SpeedModel
from scalesearch.training.checkpoint import read_checkpoint, write_checkpoint, write_weights
from scalesearch.training.data.dataset import ABOUT, CacheError, open_cached
from scalesearch.training.data.image import attempt, decode_image
from scalesearch.training.testing import trained

SECONDS = 1.0  # of the processor, so that a busy machine fails no test
ROOM = 4 << 30  # bytes that a reader may reserve; what it may fill is measured
MEGABYTES = 400  # that all damaged files of a kind may add to the process's largest size
LONG = 6_300  # of each kind
LONGEST = 3_000  # characters of an error

NETWORK = Network("small", 16, Stem(8), (Stage("mbconv", 8, 1),), Head(8), classes=2)


@dataclass(frozen=True)
class Kind:
    """Files of one kind: whole ones, with the plain data that they hold or None; and what reads them."""

    name: str
    suffix: str
    whole: Any
    read: Any
    errors: tuple = (InputError,)
    fast: int = 200


def text_file(path):
    data = path.read_bytes()
    return data, documents.read(path)


def document_kinds():
    after = {"network": to_json, "space": use_space}
    for kind, read in READERS.items():
        files = [path for one, path in SHIPPED if one == kind]
        use = after.get(kind, id)
        yield Kind(
            kind,
            ".yaml",
            lambda _, files=files: [text_file(path) for path in files],
            lambda path, read=read, use=use: use(read(path)),
            fast={"network": 100, "space": 40}.get(kind, 150),
        )


def use_space(space):
    """Do what `space map` does to any space before it draws much."""
    try:
        sampler = Sampler(space)
    except NotArraysError:
        return
    sampler.draw(np.random.default_rng(0), 8).bases.cost()


def study_files(_scratch):
    stored = {
        "space": documents.plain(documents.load_space("small")),
        "data": {"name": "digits", "val_images": 180, "source": "digits", "left_out": {}},
        "lag": 2,
    }
    return [(documents.write_text(stored).encode(), stored)]


def read_study_file(path):
    documents.space_from(stored_study(path).get("space"), str(path))


def records(_scratch):
    events = [
        {"event": "began", "at": 1.0},
        *({"event": "finished", "trial": asdict(trial(number))} for number in range(3)),
        {"event": "ended", "ending": "trials", "seconds": 3.0, "machine": {}},
    ]
    lines = [json.dumps(event) for event in events]
    # A line damaged as a tree, between whole ones, is what a byte rarely makes.
    return [
        ("".join(f"{line}\n" for line in lines).encode(), None),
        *((f"{line}\n".encode(), json.loads(line)) for line in lines),
    ]


def read_record(path):
    folder = path.parent / "run"
    folder.mkdir(exist_ok=True)
    path.replace(folder / RECORD)
    try:
        load_trials(folder)
    finally:
        with RunStore(folder):
            pass


def reports(_scratch):
    found = {"schema": 1, **report([trial()], trial())}
    return [(json.dumps(found).encode(), found)]


def tables(scratch):
    row = dict.fromkeys(_ALWAYS, 1.0) | {"key": "k", "network": "{}", "name": "n"}
    pd.DataFrame([row] * 4).to_parquet(scratch / "whole", index=False)
    return [((scratch / "whole").read_bytes(), None)]


def checkpoints(scratch):
    parts = {"model": build(NETWORK).state_dict(), "optimizers": [{"a": torch.zeros(3)}], "average": None}
    write_checkpoint(scratch / "whole", key="key", state={"images": 64}, **parts)
    return [((scratch / "whole").read_bytes(), None)]


def weights(scratch):
    write_weights(scratch / "whole", build(NETWORK), torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    return [((scratch / "whole").read_bytes(), None)]


def calibrations(_scratch):
    one = asdict(Calibrated(100.0, 10**6, SpeedModel(1e-3, 1e-6, 1e-9, 1e-8), 1.0))
    found = {"schema": SCHEMA, "machines": [{"machine": {"cpu": "x"}, "settings": {str(Setting(1, 2)): one}}]}
    return [(json.dumps(found).encode(), found)]


def read_calibration(path):
    path.replace(path.with_name("calibration.json"))
    found = Cache(lambda _line: None, path.parent).read({"cpu": "x"})
    assert all(isinstance(one, Calibrated) for one in found.values())


def caches(_scratch):
    about = {
        "name": "digits",
        "classes": ["0", "1"],
        "fingerprint": "f",
        "resolution": 8,
        "skipped": [],
        "splits": {"train": 4, "select": 4, "report": 4},
        "ignored": [],
        "left_out": {},
        "demonstration": True,
    }
    return [(json.dumps(about).encode(), about)]


def write_arrays(folder):
    for part in ("train", "select", "report"):
        np.save(folder / f"{part}.images.npy", np.zeros((4, 3, 8, 8), np.uint8))
        np.save(folder / f"{part}.labels.npy", np.zeros(4, np.int64))


def read_cache(path):
    write_arrays(path.parent)
    path.replace(path.with_name(ABOUT))
    open_cached(path.parent)


def arrays(scratch):
    write_arrays(scratch)
    return [((scratch / f"train.{part}.npy").read_bytes(), None) for part in ("images", "labels")]


def read_arrays(path):
    write_arrays(path.parent)
    (path.parent / ABOUT).write_bytes(caches(None)[0][0])
    data = path.read_bytes()
    (path.parent / f"train.{'images' if len(data) > 300 else 'labels'}.npy").write_bytes(data)
    open_cached(path.parent)


def pictures(_scratch):
    found = []
    for mode, kind in (
        ("RGB", "PNG"),
        ("RGB", "JPEG"),
        ("P", "GIF"),
        ("RGB", "BMP"),
        ("L", "TIFF"),
        ("RGB", "WEBP"),
    ):
        stream = io.BytesIO()
        noise(1, (24, 20), mode).save(stream, kind)
        found.append((stream.getvalue(), None))
    return found


def read_picture(path):
    found = attempt(lambda content: decode_image(content, 8), path)
    assert isinstance(found, str) or (found.shape, found.dtype) == ((3, 8, 8), np.uint8)


KINDS = [
    *document_kinds(),
    Kind("study of a run", ".yaml", study_files, read_study_file, fast=40),
    Kind("record", ".jsonl", records, read_record),
    Kind("report", ".json", reports, read_json),
    Kind("survey table", ".parquet", tables, read_survey),
    Kind(
        "checkpoint",
        "",
        checkpoints,
        lambda path: read_checkpoint(path, "key", torch.device("cpu")),
        (ValueError,),
    ),
    Kind("weights", ".safetensors", weights, lambda path: trained(NETWORK, path)),
    Kind("calibration", ".json", calibrations, read_calibration, ()),
    Kind("data cache", ".json", caches, read_cache, (CacheError,)),
    Kind("data arrays", ".npy", arrays, read_arrays, (CacheError,)),
    Kind("image", "", pictures, read_picture, ()),
]


class TooSlowError(BaseException):
    """No reader's own handling of errors can hold it."""


@contextmanager
def limited():
    """A second of the processor, and so much address space that a bomb is an error at once."""

    def stop(*_):
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, stop)
    space = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, space[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, space)
        signal.signal(signal.SIGPROF, before)


def fuzz(kind, count, scratch):
    """Read `count` damaged files; return how many gave a result."""
    whole = kind.whole(scratch)
    at, results = scratch / "files" / f"damaged{kind.suffix}", 0
    at.parent.mkdir()
    for data, _ in whole:
        at.write_bytes(data)
        kind.read(at)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        rng = random.Random(f"{kind.name} {number}")
        data = damaged(rng, *rng.choice(whole))
        at.write_bytes(data)
        try:
            with limited():
                kind.read(at)
            results += 1
        except kind.errors as error:
            if not 0 < len(str(error).strip()) < LONGEST:
                pytest.fail(f"an error that nobody reads, of {kind.name} {number}: {str(error)[:200]}")
        except BaseException as error:
            kept = Path(scratch.parent) / f"{kind.name}-{number}{kind.suffix}".replace(" ", "-")
            kept.write_bytes(data)
            pytest.fail(f"{kind.name} {number}, kept as {kept}: {type(error).__name__}: {error}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size) / 1024
    # Pillow decodes up to so many pixels before it calls an image a bomb.
    most = 3 * 2 * Image.MAX_IMAGE_PIXELS / 2**20 + 100 if kind.name == "image" else MEGABYTES
    assert grown < most, f"{kind.name}: {grown:.0f} MB"
    return results


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_damaged_files_end_in_a_result_or_a_clear_error(kind, tmp_path, record_property, one_thread):
    results = fuzz(kind, kind.fast, tmp_path)
    record_property("damaged", f"{kind.name}: {kind.fast} files, {results} results")
    assert (results == kind.fast) == (not kind.errors)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_hundred_thousand_damaged_files(kind, tmp_path, record_property, capsys, one_thread):
    results = fuzz(kind, LONG, tmp_path)
    text = f"{kind.name}: {LONG} damaged files, {results} results, {LONG - results} clear errors"
    with capsys.disabled():
        print(f"\n{text}")
    record_property("damaged", text)


def test_the_long_tier_counts_to_a_hundred_thousand():
    assert len(KINDS) * LONG >= 100_000


def test_an_image_that_unpacks_to_gigabytes_is_not_decoded():
    def chunk(name, content):
        body = name + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    with limited():
        found = attempt(lambda content: decode_image(content, 8), bomb)
    assert found == "more than 178,956,970 pixels"
