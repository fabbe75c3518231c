"""Torn and damaged files, full disks, folders without leave: repaired and said, or one clear line."""

import json
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from conftest import unavailable

from scalesearch.errors import InputError
from scalesearch.search.engines import Finished, Job, Progress
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import RECORD, RunStore, write_atomically


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A record of real trials and the place where its last line begins."""
    from test_search import Limits, search

    folder = tmp_path_factory.mktemp("record")
    search(folder, Limits(trials=3), workers=1)
    data = (folder / RECORD).read_bytes()
    return data, data.rstrip(b"\n").rfind(b"\n") + 1


# The record


def reopened(folder):
    said = []
    with RunStore(folder, said.append) as store:
        return store.finished, list(store.events), said


def test_a_record_cut_at_any_byte_of_its_last_line_loses_that_line_alone_and_says_so(tmp_path, record):
    data, last = record
    path = tmp_path / RECORD
    path.write_bytes(data)
    _, whole, said = reopened(tmp_path)
    assert said == []
    dropped = b""
    for cut in range(last, len(data)):
        path.write_bytes(data[:cut])
        _, events, said = reopened(tmp_path)
        assert events == whole[:-1]
        assert path.read_bytes() == data[:last]
        assert len(said) == (cut > last)
        if cut > last:
            dropped += data[last:cut] + b"\n"
            assert path.with_suffix(".torn").read_bytes() == dropped  # of the earlier ones too
            assert said == [f"{path}: the last line was cut off; it was dropped, record.torn keeps it"]
    print(f"\n{len(data) - last} places to cut")


def test_what_a_power_failure_leaves_at_the_end_is_dropped_likewise(tmp_path, record):
    data, last = record
    for tail in (b"\0" * 4096, b"\xff\xfe", b'{"event"', data[last : last + 40] + b"\0" * 100):
        (tmp_path / RECORD).write_bytes(data[:last] + tail)
        finished, _, said = reopened(tmp_path)
        assert len(said) == 1
        assert len(finished) == data[:last].count(b'"event": "finished"')


def test_appending_after_a_repair_gives_a_whole_record(tmp_path, record):
    data, last = record
    (tmp_path / RECORD).write_bytes(data[: last + 10])
    with RunStore(tmp_path) as store:
        store.append("ended", ending="stopped")
    assert (tmp_path / RECORD).read_bytes() == data[:last] + b'{"event": "ended", "ending": "stopped"}\n'


def test_every_event_is_on_the_disk_before_the_driver_goes_on(tmp_path, monkeypatch):
    brought = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (real(handle), brought.append(os.fstat(handle).st_size)))
    with RunStore(tmp_path) as store:
        for number in range(3):
            store.append("asked", number=number)
            assert brought[-1] == (tmp_path / RECORD).stat().st_size


# A disk without room


@contextmanager
def files_of_at_most(size):
    """Let no file grow beyond this, as on a full disk: the kernel takes what fits and then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_midway_leaves_a_whole_record_wherever_the_room_ends(tmp_path, record):
    data, last = record
    event = json.loads(data[last:])
    fields = {name: value for name, value in event.items() if name != "event"}
    path = tmp_path / RECORD
    path.write_bytes(data[:last])
    for room in range(0, len(data) - last, 7):
        with RunStore(tmp_path) as store:
            with files_of_at_most(last + room), pytest.raises(InputError) as refused:
                store.append(event["event"], **fields)
            assert path.read_bytes() == data[:last]
        assert str(refused.value).startswith(f"{path} cannot be written: File too large; what was finished")
    with RunStore(tmp_path) as store:
        store.append(event["event"], **fields)
    assert path.read_bytes() == data


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path):
    path = tmp_path / "study.yaml"
    write_atomically(path, "old\n")
    with files_of_at_most(10), pytest.raises(InputError, match="cannot be written: File too large"):
        write_atomically(path, "new\n" * 100)
    assert path.read_text() == "old\n"
    assert [file.name for file in tmp_path.iterdir()] == ["study.yaml"]


def inside(options, command, folder):
    """Run a command with `folder` on a small file system of its own, which nobody else sees."""
    own = ["--user", "--map-root-user"] if os.geteuid() else []
    prepare = f'mount -t tmpfs -o {options[0]} tmpfs "$0" && {options[1]} && exec "$@"'
    return subprocess.run(
        ["unshare", "--mount", *own, "sh", "-c", prepare, str(folder), *map(str, command)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path):
    """What runs a command with a folder of a given size, or one that cannot be written."""
    try:
        works = inside(("size=1m", "true"), ["true"], tmp_path).returncode == 0
    except FileNotFoundError:
        works = False
    if not works:
        unavailable("a small file system of one's own (unshare, mount)")
    (tmp_path / "disk").mkdir()
    return partial(inside, folder=tmp_path / "disk")


ASKED = ["-W", "error", "-m", "scalesearch", "run", "--budget-flops", "1e8", "--data", "digits"]
ASKED += ["--workers", "2", "--trials", "2", "--export", "network"]


def complaint(done):
    """The one line that a refusal is."""
    found = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(found) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    return found[0]


@pytest.mark.slow
def test_a_full_disk_ends_the_command_with_one_line_and_the_same_command_goes_on(tmp_path, small_disk):
    study = tmp_path / "tiny.yaml"
    study.write_text("name: tiny\nrungs: [100]\nfinals: {candidates: 1, seeds: 1}\n")
    asked = [sys.executable, *ASKED, "--study", study, "--out", tmp_path / "disk" / "run"]
    # Room for the record and the study, then for the weights, then for everything.
    script = f"""
import subprocess, sys
for room in ("200k", "64m"):
    subprocess.run(["mount", "-o", "remount,size=" + room, {str(tmp_path / "disk")!r}], check=True)
    done = subprocess.run({list(map(str, asked))!r}, capture_output=True, text=True)
    print(done.returncode, repr(done.stderr))
    sys.stdout.flush()
import scalesearch
print(len(scalesearch.load_trials({str(tmp_path / "disk" / "run")!r})))
"""
    done = small_disk(("size=200k", "true"), [sys.executable, "-c", script])
    assert done.returncode == 0, done.stderr
    full, roomy, count = done.stdout.splitlines()
    assert full.startswith("2 ")
    assert "Traceback" not in full
    assert re.search("error: .* cannot be written: No space left on device; what was finished is kept", full)
    assert roomy.startswith("0 "), roomy
    assert int(count) == 3  # two candidates and a finalist


def test_a_disk_without_any_room_is_one_line_and_no_record_is_made_or_cut(tmp_path, small_disk):
    script = f"""
from pathlib import Path
from scalesearch.errors import InputError
from scalesearch.search.store import RunStore
disk = Path({str(tmp_path / "disk")!r})
with RunStore(disk / "old") as store:
    store.append("one")
record = (disk / "old" / "record.jsonl").read_bytes()
with (disk / "filler").open("wb", buffering=0) as filler:
    try:
        while filler.write(b"x" * 4096):
            pass
    except OSError:
        pass
for name in ("new", "old"):
    try:
        with RunStore(disk / name) as store:
            store.append("two", text="x" * 9000)
    except InputError as error:
        print(error)
print((disk / "old" / "record.jsonl").read_bytes() == record)
(disk / "filler").unlink()
for name in ("new", "old"):
    with RunStore(disk / name) as store:
        store.append("three")
        print([event["event"] for event in store.events])
"""
    done = small_disk(("size=1m", "true"), [sys.executable, "-c", script])
    assert done.returncode == 0, done.stderr
    *refused, same, new, old = done.stdout.splitlines()
    assert len(refused) == 2
    assert all("cannot be written: No space left on device" in line for line in refused)
    assert (same, new, old) == ("True", "['three']", "['one', 'three']")


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path, small_disk):
    disk = tmp_path / "disk"
    done = small_disk(
        ("size=1m", f"mount -o remount,ro {disk}"), [sys.executable, *ASKED, "--out", disk / "run"]
    )
    assert (
        complaint(done) == f"error: --out: the folder {disk / 'run'} cannot be written: Read-only file system"
    )


# Checkpoints, with real trainings


def train(folder, data, numbers, stop=False, said=None):
    from test_failing_trials import NETWORK

    from scalesearch.architecture.document import to_document
    from scalesearch.cli.evaluation import make_evaluate
    from scalesearch.training.graph import DEFAULT
    from scalesearch.training.recipe import Recipe

    make = partial(make_evaluate, data.folder, Recipe(), "cpu", 1, DEFAULT)
    outcomes = []
    with LocalEngine(1, make, say=(said if said is not None else []).append) as engine:
        for number in numbers:
            files = [str(folder / f"{number}.{end}") for end in ("safetensors", "checkpoint")]
            engine.submit(Job(number, to_document(NETWORK), 384, 0, *files))
            ended = None
            while ended is None:
                for event in engine.wait(5):
                    if isinstance(event, Progress) and stop:
                        engine.stop()
                    ended = event.outcome if isinstance(event, Finished) else ended
            outcomes.append(replace(ended, seconds=0, peak_memory=0, checkpoint=None))
    return outcomes


def test_a_damaged_checkpoint_is_kept_and_said_and_its_training_begins_again(tmp_path):
    from scalesearch.training.data import load

    data = load("digits")
    [whole] = train(tmp_path, data, [0])
    [stopped] = train(tmp_path, data, [1], stop=True)
    assert (whole.status, stopped.status) == ("complete", "interrupted")
    good = (tmp_path / "1.checkpoint").read_bytes()
    damages = {2: good, 3: good[: len(good) // 2], 4: b"", 5: b"PK\3\4" + good[4:][::-1]}
    for number, content in damages.items():
        (tmp_path / f"{number}.checkpoint").write_bytes(content)
    said = []
    assert train(tmp_path, data, damages, said=said) == [whole] * 4
    assert len(said) == 3
    for number, line in zip((3, 4, 5), said, strict=True):
        assert line.startswith("a checkpoint must be a whole file")
        assert line.endswith(f"this training begins again, {number}.damaged keeps the file")
        assert (tmp_path / f"{number}.damaged").read_bytes() == damages[number]
    assert not (tmp_path / "2.damaged").exists()


def test_a_checkpoint_that_finds_no_room_leaves_the_old_one_and_no_outcome(tmp_path):
    import torch

    from scalesearch.training.checkpoint import read_checkpoint, write_checkpoint

    path, parts = tmp_path / "a.checkpoint", {"optimizers": {}, "average": [], "state": {}}
    write_checkpoint(path, key="k", model=torch.zeros(10_000), **parts)
    with files_of_at_most(20_000), pytest.raises(OSError, match="File too large"):
        write_checkpoint(path, key="k", model=torch.ones(10_000), **parts)
    assert read_checkpoint(path, "k", torch.device("cpu"))["model"].sum() == 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def refused(job, should_stop, on_progress):
    Path(job.weights).write_bytes(b"x" * 5000)


def make_refused():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    return refused


def test_a_training_that_the_disk_refuses_is_not_failed_for_it(tmp_path):
    with LocalEngine(1, make_refused) as engine:
        engine.submit(Job(0, {}, 1, 0, str(tmp_path / "w"), ""))
        with pytest.raises(InputError, match=f"{tmp_path} cannot be written: File too large; what was"):
            list(iter(lambda: engine.wait(30), "an outcome"))


# Files that can be written again from the record


@pytest.mark.long
def test_outputs_that_are_damaged_or_missing_are_written_again(tmp_path):
    from test_command import call

    (tmp_path / "tiny.yaml").write_text("name: tiny\nrungs: [100]\nfinals: {candidates: 0, seeds: 0}\n")
    asked = [*ASKED[4:], "--study", "tiny.yaml", "--out", "run", "--json"]
    code, out, err = call(*asked, cwd=tmp_path)
    assert code == 0, err
    run, record = tmp_path / "run", (tmp_path / "run" / RECORD).read_bytes()
    report = (run / "report.json").read_bytes()
    (run / "report.json").write_bytes(report[: len(report) // 2])
    code, again, err = call(*asked, cwd=tmp_path)
    assert (code, again) == (0, out)
    assert err.count("is damaged or missing: it is written again from the record") == 1
    assert (run / "report.json").read_bytes() == report
    assert (run / "report.json.damaged").read_bytes() == report[: len(report) // 2]
    assert (run / RECORD).read_bytes() == record
    (run / "study.yaml").write_bytes((run / "study.yaml").read_bytes()[:100])
    code, _, err = call(*asked, cwd=tmp_path)
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("error: ")]
    assert (run / RECORD).read_bytes() == record
