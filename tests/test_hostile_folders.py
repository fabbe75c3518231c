"""Run folders of strangers: the ordinary command on them writes nowhere else."""

import json
import os

import pytest
from test_search import search

from scalesearch.errors import InputError
from scalesearch.search.lock import LOCK, FolderLock
from scalesearch.search.store import RECORD, WORK, RunStore
from scalesearch.search.study import Limits


@pytest.fixture
def folder(tmp_path):
    search(tmp_path / "run", Limits(trials=3), workers=1)
    return tmp_path / "run"


@pytest.fixture
def victim(tmp_path):
    (tmp_path / "home").mkdir()
    for name in (".netrc", "config"):
        (tmp_path / "home" / name).write_text("mine")
    yield tmp_path / "home"
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [".netrc", "config"]
    assert {path.read_text() for path in (tmp_path / "home").iterdir()} == {"mine"}


@pytest.mark.parametrize("kind", ["finished", "taken"])
@pytest.mark.parametrize(
    "name", ["../home/config", "/etc/passwd", "work/../../home/config", "work/x.safetensors", 3]
)
def test_weights_that_are_named_elsewhere_are_refused(name, kind, folder, victim):
    first, *others = (json.loads(line) for line in (folder / RECORD).read_text().splitlines())
    finished = next(event for event in (first, *others) if event["event"] == "finished")
    finished["trial"]["outcome"]["checkpoint"] = name
    (folder / WORK / "taken").mkdir(parents=True)
    (folder / WORK / "taken" / "config").write_text("theirs")
    with (folder / RECORD).open("a") as record:
        record.write(json.dumps(finished | {"event": kind}) + "\n")
    with pytest.raises(InputError, match=f"{kind} trial "), RunStore(folder) as store:
        _ = store.taken


@pytest.mark.parametrize("name", [LOCK, RECORD, WORK, f"{WORK}/taken", "best", "dashboard.html"])
def test_links_are_refused_before_anything_is_written(name, folder, victim):
    path = folder / name
    if path.is_dir():
        path.rename(folder.parent / "aside")
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(victim if name in (WORK, f"{WORK}/taken", "best") else victim / "config")
    with (
        pytest.raises(InputError, match=f"files and folders alone, but .*{path.name} is neither"),
        RunStore(folder) as store,
    ):
        store.open_work()


def test_a_pipe_in_place_of_the_lock_does_not_hang(folder):
    (folder / LOCK).unlink(missing_ok=True)
    os.mkfifo(folder / LOCK)
    with pytest.raises(InputError, match="is neither"), FolderLock(folder):
        pass


def test_a_run_folder_may_itself_be_a_link(folder):
    (folder.parent / "name").symlink_to(folder)
    with RunStore(folder.parent / "name") as store:
        assert {trial.number for trial in store.finished} == {0, 1, 2}
