"""Copies of a run in storages: complete, in order, once; one driver each; nothing secret in sight."""

import os
import socket
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

import optuna
import psycopg
import pytest
from formula import make
from test_search import MIXED, definition, search

from scalesearch.errors import InputError, RunHeldError
from scalesearch.search.driver import Driver
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.storages import mirror as mirrors
from scalesearch.search.storages.address import read_address
from scalesearch.search.storages.locks import lock_of
from scalesearch.search.storages.mirror import Mirror, mirrored
from scalesearch.search.storages.target import Target
from scalesearch.search.storages.trials import write_optuna
from scalesearch.search.store import RunStore
from scalesearch.search.study import Limits

STUDY = definition(rungs=(1000, 2000))
KINDS = ("sqlite", "postgresql")


@pytest.fixture
def database(server):
    """A database of this server that is empty."""
    name = f"d{time.monotonic_ns()}"
    with psycopg.connect(**read_address(server.url()).arguments, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return name


@pytest.fixture(params=KINDS)
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studies.db'}"
    server = request.getfixturevalue("server")
    return server.url(database=request.getfixturevalue("database"))


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """A record with a failed trial, longer rungs and finalists."""
    folder = tmp_path_factory.mktemp("run")
    return search(folder, Limits(trials=9), study=STUDY, fail={2: "x"}, workers=1)[1]


def keep(url, trials, new=(), name="run", say=print):
    with mirrored(url, name, STUDY, trials, say) as add:
        for trial in new:
            add(trial)


def load(url, name="run"):
    address = read_address(url)
    settings = {"connect_args": address.arguments}
    storage = optuna.storages.RDBStorage(address.bare, engine_kwargs=settings)
    found = optuna.load_study(storage=storage, study_name=name)
    kept = found.directions, found.metric_names, found.trials
    storage.remove_session()
    storage.engine.dispose()
    return kept


def numbers(url, name="run"):
    return [trial.user_attrs["trial"] for trial in load(url, name)[2]]


def first_of(trials):
    return [t.number for t in trials if t.role == "search" and t.rung == 0]


def told_by(trial):
    """All that Optuna keeps of a trial but its key in the storage."""
    return {name: value for name, value in vars(trial).items() if name != "_trial_id"}


def test_a_copy_says_what_the_journal_in_the_run_folder_says(url, trials, tmp_path):
    keep(url, trials[:4], new=trials[4:])
    path = tmp_path / "optuna.journal"
    write_optuna(path, "run", MIXED, trials, STUDY.study.objectives, STUDY.budget)
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    journal = optuna.storages.JournalStorage(backend)
    own = optuna.load_study(storage=journal, study_name="run")
    directions, names, copied = load(url)
    assert (directions, names) == (own.directions, own.metric_names)
    assert len(copied) == 9
    assert [told_by(t) for t in copied] == [told_by(t) for t in own.trials]
    assert {t.state.name for t in copied} == {"COMPLETE", "FAIL"}


def many(trial, count):
    return [replace(trial, number=n, finished=n / 7) for n in range(count)]


class Cutter:
    """Between a client and the server: once armed, it passes a commit on and loses the answer."""

    def __init__(self, port, hang=False):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port, self.target, self.armed, self.cut = self.listening.getsockname()[1], port, False, 0
        self.hang = hang
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                upstream = socket.create_connection(("127.0.0.1", self.target))
                lost = threading.Event()
                for work in (self.ask, self.answer):
                    threading.Thread(target=work, args=(client, upstream, lost), daemon=True).start()

    def ask(self, client, upstream, lost):
        with suppress(OSError):
            while data := client.recv(65536):
                if self.armed and b"COMMIT" in data:
                    self.armed, self.cut = False, self.cut + 1
                    lost.set()
                upstream.sendall(data)
        with suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)

    def answer(self, client, upstream, lost):
        with suppress(OSError):
            while data := upstream.recv(65536):
                if not lost.is_set():
                    client.sendall(data)
                elif not self.hang:
                    break
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        client.close()
        upstream.close()


def written(target, trials, count):
    """Write the trials after the first `count` as a mirror does, and return the errors."""
    errors = []
    while count < len(trials):
        try:
            target.write(trials[count])
            count += 1
        except mirrors.AWAY as error:
            errors.append(error)
            count = target.open(trials)
    return errors


def test_a_commit_whose_answer_is_lost_is_not_written_twice(server, database, trials):
    cutter = Cutter(server.port)
    target = Target(read_address(server.url(database=database, port=cutter.port)), "run", STUDY)
    some = many(trials[0], 6)
    assert target.open([]) == 0
    assert not written(target, some[:3], 0)
    cutter.armed = True
    try:
        assert len(written(target, some, 3)) == 1
    finally:
        target.close()
        cutter.listening.close()
    assert cutter.cut == 1
    assert numbers(server.url(database=database)) == list(range(6))


def test_a_server_that_goes_away_is_told_of_once_and_catches_up(server, database, trials):
    lines, url = [], server.url(database=database)
    with mirrored(url, "run", STUDY, trials[:2], lines.append) as add:
        while len(first_of(trials[:2])) > (len(numbers(url)) if "run" in names_in(url) else 0):
            time.sleep(0.01)
        server.stop()
        for trial in trials[2:6]:
            add(trial)
            time.sleep(0.05)
        server.start()
    assert len(lines) == 1
    assert "went away and is tried again later; the run goes on" in lines[0]
    assert numbers(url) == first_of(trials[:6])


def names_in(url):
    with psycopg.connect(**read_address(url).arguments) as connection:
        return [row[0] for row in connection.execute("SELECT study_name FROM studies")]


def test_what_a_server_that_stays_away_lacks_is_said_and_written_by_the_next_call(server, database, trials):
    lines, url = [], server.url(database=database)
    with mirrored(url, "run", STUDY, [], lines.append) as add:
        server.stop()
        for trial in trials:
            add(trial)
    server.start()
    assert "went away" in lines[0]
    assert "lacks 9 of 9 trials, which the run folder holds; the next call with --storage" in lines[1]
    assert len(lines) == 2
    keep(url, trials)
    assert numbers(url) == first_of(trials)


def test_a_stop_does_not_wait_for_the_storage(url, trials):
    lines = []
    target = Target(read_address(url), "run", STUDY)
    began = time.monotonic()
    with Mirror(target, many(trials[0], 5000), lines.append, lambda: True):
        pass
    assert time.monotonic() - began < 5
    assert "of 5000 trials" in lines[0]


def test_a_stop_does_not_wait_for_a_server_that_hangs(server, database, trials, monkeypatch):
    monkeypatch.setattr(mirrors, "SILENCE_AT_STOP", 0.5)
    cutter, lines = Cutter(server.port, hang=True), []
    url = server.url(database=database, port=cutter.port)
    with mirrored(url, "run", STUDY, [], lines.append, lambda: True) as add:
        cutter.armed = True
        add(trials[0])
        while not cutter.cut:
            time.sleep(0.01)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert "lacks 1 of 1 trials" in lines[0]
    cutter.listening.close()


def test_an_unreachable_server_is_bad_input_and_nothing_is_yielded(server, trials):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    rule = r"--storage: postgresql://127.0.0.1:\d+/x cannot be used: .*refused"
    with pytest.raises(InputError, match=rule):
        keep(f"postgresql://someone:secret@127.0.0.1:{port}/x", trials)


def test_a_study_of_another_run_folder_is_refused(url, trials):
    keep(url, trials)
    others = [replace(trial, finished=trial.finished + 1) for trial in trials]
    for record in (others, [], trials[:2]):
        with pytest.raises(InputError, match="holds trials that are not in this run folder"):
            keep(url, record)
    keep(url, others, name="another")
    assert numbers(url) == numbers(url, "another")


def test_two_studies_of_one_server_do_not_hinder_each_other(server, database, trials):
    url = server.url(database=database)
    with mirrored(url, "one", STUDY, trials, print), mirrored(url, "two", STUDY, trials, print):
        pass
    assert numbers(url, "one") == numbers(url, "two") == first_of(trials)


def test_the_holder_is_named_to_a_role_that_may_see_nothing_else(server, database):
    with psycopg.connect(**read_address(server.url()).arguments, autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'g'")
    held = lock_of(read_address(server.url(database=database)), "run")
    held.hold()
    guest = lock_of(read_address(f"postgresql://guest:g@127.0.0.1:{server.port}/{database}"), "run")
    with pytest.raises(RunHeldError, match=f"is driven by process {os.getpid()} on "):
        guest.hold()
    held.release()


def test_a_driver_whose_lock_was_lost_to_another_writes_no_more(server, database, trials):
    lines, url = [], server.url(database=database)
    with mirrored(url, "run", STUDY, [], lines.append) as add:
        with psycopg.connect(**read_address(server.url()).arguments, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            )
        other = lock_of(read_address(url), "run")
        while True:
            try:
                other.hold()
                break
            except RunHeldError:
                time.sleep(0.01)
        for trial in trials:
            add(trial)
    assert f"is driven by process {os.getpid()}" in lines[0]
    assert numbers(url) == []
    other.release()


# Credentials


def test_neither_output_nor_errors_nor_the_folder_hold_credentials(server, database, trials, tmp_path, capfd):
    lines, told = [], []
    for password in ("", "wrong-secret"):
        url = server.url(password, database)
        try:
            with (
                RunStore(tmp_path / "run") as store,
                mirrored(url, "run", STUDY, store.finished, lines.append) as add,
            ):
                told.append(repr(read_address(url)))
                store.finish(trials[0])
                add(trials[0])
                server.stop()
        except InputError as error:
            lines.append(str(error))
            told.append(traceback.format_exc())
        finally:
            if server.process.poll() is not None:
                server.start()
    assert "password authentication failed" in told[-1]
    assert len(lines) == 3
    kept = [path.read_text() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    everything = "\n".join([*lines, *told, *kept, *capfd.readouterr()])
    for secret in (server.password, quote(server.password, safe=""), "wrong-secret"):
        assert secret not in everything
    assert server.user not in "\n".join([*lines, *kept])


def test_a_password_may_come_from_the_environment_or_a_file(server, database, trials, tmp_path, monkeypatch):
    url = server.url(None, database)
    with pytest.raises(InputError, match="no password supplied"):
        keep(url, [])
    monkeypatch.setenv("PGPASSWORD", server.password)
    keep(url, trials[:1])
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    escaped = server.password.replace("\\", "\\\\").replace(":", "\\:")
    file.write_text(f"127.0.0.1:{server.port}:*:{server.user}:{escaped}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    keep(url, trials)
    assert numbers(url) == first_of(trials)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("mysql://u:secret@h/d", "but this is mysql"),
        ("secret", "but this is no URL"),
        ("postgresql://u:secret@h:port/d", "but this is no URL"),
        ("postgresql://u:secret@h", "but this names no database"),
        ("sqlite://", "but this names no file"),
        ("sqlite:////no/such/folder/secret.db?secret", "there is no folder /no/such/folder"),
        ("postgresql://h/d?password=secret&host=secret", "cannot be used"),
    ],
)
def test_what_is_no_storage_is_refused_without_repeating_it(text, rule):
    with pytest.raises(InputError, match=rule) as caught:
        keep(text, [])
    assert "secret@" not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in str(caught.value)


# Under the real driver


class Telling(RunStore):
    """A run's store that tells of every trial once it is written."""

    add = staticmethod(lambda _trial: None)

    def finish(self, trial):
        super().finish(trial)
        self.add(trial)


def test_a_run_that_is_extended_is_copied_whole(server, database, tmp_path):
    url = server.url(database=database)
    for limit in (4, 7):
        with Telling(tmp_path) as store, LocalEngine(1, make()) as engine:
            with mirrored(url, "run", STUDY, store.finished, print) as store.add:
                Driver(STUDY, store, engine).run(Limits(trials=limit))
            finished = store.finished
    assert sorted(first_of(finished)) == list(range(7))
    assert numbers(url) == first_of(finished)
