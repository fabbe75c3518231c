"""What every place promises that a run is kept in: one suite over the run folder, SQLite and PostgreSQL.

Real processes that start at once, and die at any moment. `Folder` holds the record, the others its copy.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from test_search import search
from test_storages import STUDY, database, keep, many, numbers

from scalesearch.errors import RunHeldError
from scalesearch.search.lock import LOCK
from scalesearch.search.storages.address import read_address
from scalesearch.search.storages.target import Target
from scalesearch.search.store import RECORD, RunStore, load_trials
from scalesearch.search.study import Limits

assert database  # the fixture
PAUSE = 0.02  # seconds between two trials of a folder, so that a kill finds it at work


class Folder:
    """The run folder."""

    def __init__(self, where):
        self.where, self.path, self.shown = where, Path(where), where

    def keep(self, trials):
        """Write what is missing."""
        with RunStore(self.path) as store:
            for trial in trials[len(store.finished) :]:
                store.finish(trial)
                time.sleep(PAUSE)

    def numbers(self):
        return [trial.number for trial in load_trials(self.path)]

    @contextmanager
    def driven(self, _kept=()):
        """Hold the place, which keeps some trials already; yields what writes one."""
        with RunStore(self.path) as store:
            yield store.finish

    def lose_the_lock(self):
        (self.path / LOCK).unlink()


class Copy:
    """A study in SQLite or PostgreSQL."""

    def __init__(self, where):
        self.where, self.address = where, read_address(where)
        # A SQLite file has one writer, whatever the study.
        self.shown = (
            f"the study run in {self.address.shown}" if self.address.file is None else self.address.shown
        )

    def keep(self, trials):
        keep(self.where, trials)

    def numbers(self):
        return numbers(self.where)

    @contextmanager
    def driven(self, kept=()):
        target = Target(read_address(self.where), "run", STUDY)
        try:
            target.open(kept)
            yield target.write
        finally:
            target.close()

    def lose_the_lock(self):
        if self.address.file is not None:
            (self.address.file.with_name(f"{self.address.file.name}.lock") / LOCK).unlink()
            return
        with psycopg.connect(**self.address.arguments, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            )


def place_of(where):
    return Copy(where) if "://" in where else Folder(where)


@pytest.fixture(params=["run folder", "sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "run folder":
        return Folder(str(tmp_path / "run"))
    if request.param == "sqlite":
        return Copy(f"sqlite:///{tmp_path / 'studies.db'}")
    server = request.getfixturevalue("server")
    return Copy(server.url(database=request.getfixturevalue("database")))


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return search(tmp_path_factory.mktemp("run"), Limits(trials=1), study=STUDY, workers=1)[1][0]


FORKS = """
import json, os, sys, time
sys.path.insert(0, {tests!r})
from test_keeping import RunHeldError, load_trials, many, place_of

def forked(work):
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return child

place = place_of(os.environ["PLACE"])
{work}
"""


def in_forks(work, place):
    """Begin a script whose processes are forks of one that has loaded everything."""
    script = FORKS.format(tests=str(Path(__file__).parent), work=work)
    environment = {**os.environ, "PLACE": place.where}
    return subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE)


def answer(process):
    """Return what a script prints as its last words."""
    with process:
        said = process.stdout.read()
    assert process.returncode == 0
    return json.loads(said)


def test_only_what_is_missing_is_written_and_a_second_call_writes_nothing(place, trial):
    trials = many(trial, 5)
    place.keep(trials[:3])
    assert place.numbers() == [0, 1, 2]
    for _ in range(2):
        place.keep(trials)
        assert place.numbers() == [0, 1, 2, 3, 4]


KILLED = """
trials, lives = many(load_trials({folder!r})[0], 24), []
for life in range(5):
    child = forked(lambda: place.keep(trials))
    time.sleep(0.1 + 0.15 * life)
    os.kill(child, 9)
    lives.append(os.WTERMSIG(os.waitpid(child, 0)[1]))
    time.sleep(0.1)  # until a server has noticed
print(json.dumps(lives))
"""


def test_kill_9_at_any_time_leaves_a_prefix_that_the_next_call_completes(place, trial, tmp_path):
    with RunStore(tmp_path / "source") as store:
        store.finish(trial)
    assert signal.SIGKILL in answer(in_forks(KILLED.format(folder=str(store.folder)), place))
    place.keep(many(trial, 24))
    assert place.numbers() == list(range(24))


CONTENDERS = """
go, end, answers = os.pipe(), os.pipe(), []

def contend(writing):
    os.read(go[0], 1)
    try:
        with place.driven():
            os.write(writing, json.dumps([os.getpid(), "won"]).encode())
            os.read(end[0], 1)
    except RunHeldError as error:
        os.write(writing, json.dumps([os.getpid(), str(error)]).encode())

for _ in range(16):
    reading, writing = os.pipe()
    forked(lambda: contend(writing))
    answers.append(reading)
os.write(go[1], b"x" * 16)
found = [json.loads(os.read(one, 4096)) for one in answers]
os.write(end[1], b"x" * 16)
print(json.dumps(found))
"""


def test_of_16_drivers_that_start_at_once_exactly_one_wins_and_is_named(place):
    answers = answer(in_forks(CONTENDERS, place))
    winners = [process for process, told in answers if told == "won"]
    assert len(answers) == 16
    assert len(winners) == 1
    refused = f"{place.shown} is driven by process {winners[0]} on {socket.gethostname()}"
    assert [told for _, told in answers if told != "won"] == [refused] * 15
    assert place.numbers() == []


HOLDER = """
with place.driven():
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_holder_however_it_dies(place):
    with in_forks(HOLDER, place) as holder:
        assert int(holder.stdout.readline()) == holder.pid
        with pytest.raises(RunHeldError, match=f"is driven by process {holder.pid} on "), place.driven():
            pass
        holder.send_signal(signal.SIGKILL)
    with place.driven():
        pass


def test_a_second_driver_in_the_same_process_is_refused(place):
    refused = pytest.raises(RunHeldError, match=f"is driven by process {os.getpid()} on ")
    with place.driven(), refused, place.driven():
        pass
    with place.driven():  # the lock went with its holder
        pass


def test_a_driver_whose_lock_was_lost_to_another_writes_no_more(place, trial):
    with place.driven() as write:
        write(trial)
        place.lose_the_lock()
        with driven_soon(place, [trial]) as other:
            with pytest.raises(RunHeldError):
                write(replace(trial, number=1))
            other(replace(trial, number=2))
    assert place.numbers() == [0, 2]


@contextmanager
def driven_soon(place, kept):
    """Hold a place whose server notices a moment later that nobody holds it."""
    deadline = time.monotonic() + 10
    with ExitStack() as held:
        while True:
            try:
                write = held.enter_context(place.driven(kept))
                break
            except RunHeldError:
                assert time.monotonic() < deadline
        yield write


def test_a_moved_run_folder_is_not_written_to(tmp_path):
    with RunStore(tmp_path / "here") as store:
        (tmp_path / "here").rename(tmp_path / "there")
        with pytest.raises(RunHeldError, match=r"driver\.lock was removed, or its folder moved"):
            store.append("one")
    assert (tmp_path / "there" / RECORD).read_bytes() == b""
