"""One driver a run folder, whatever happens to the others: real processes that start at once and die."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from scalesearch.errors import RunHeldError
from scalesearch.search.lock import LOCK
from scalesearch.search.store import RECORD, RunStore

HOLD = """
import os, sys, time
from pathlib import Path
from scalesearch.errors import RunHeldError
from scalesearch.search.store import RunStore

for _ in range({drivers}):
    if os.fork() == 0:
        sys.stdin.buffer.raw.read(1)
        try:
            with RunStore(Path(sys.argv[1])) as store:
                store.append("begun", process=os.getpid())
                os.write(1, f"{{os.getpid()}} won\\n".encode())
                time.sleep(60)
        except RunHeldError as error:
            os.write(1, f"{{os.getpid()}} {{error}}\\n".encode())
        os._exit(0)
for _ in range({drivers}):
    os.wait()
"""


def drivers_of(folder, count):
    """Begin drivers, forks of one process; they wait for a byte each, and tell one line each."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(drivers=count), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def go(process, count):
    process.stdin.write(b"x" * count)
    process.stdin.flush()


def told(process):
    pid, _, words = process.stdout.readline().decode().strip().partition(" ")
    return int(pid), words


def test_of_16_drivers_that_start_at_once_exactly_one_wins_and_is_named(tmp_path):
    with drivers_of(tmp_path, 16) as process:
        go(process, 16)
        answers = [told(process) for _ in range(16)]
        winners = [pid for pid, words in answers if words == "won"]
        for pid in winners:
            os.kill(pid, signal.SIGKILL)
    assert len(winners) == 1
    refused = f"{tmp_path} is driven by process {winners[0]} on {socket.gethostname()}"
    assert [words for _, words in answers if words != "won"] == [refused] * 15
    assert (tmp_path / RECORD).read_text().count("\n") == 1


def test_a_second_driver_is_refused_with_the_holders_name(tmp_path):
    with RunStore(tmp_path), pytest.raises(RunHeldError, match=r"process [0-9]+ on"), RunStore(tmp_path):
        pass
    with RunStore(tmp_path) as store:  # the lock went with its holder
        assert store.finished == []


def test_the_lock_dies_with_its_holder(tmp_path):
    with drivers_of(tmp_path, 1) as process:
        go(process, 1)
        holder, words = told(process)
        assert words == "won"
        with pytest.raises(RunHeldError, match=f"is driven by process {holder} on "), RunStore(tmp_path):
            pass
        os.kill(holder, signal.SIGKILL)
    with RunStore(tmp_path) as store:
        assert len(store.events) == 1


def test_a_holder_whose_lock_was_removed_writes_no_more(tmp_path):
    with RunStore(tmp_path) as first:
        first.append("one")
        (tmp_path / LOCK).unlink()
        with RunStore(tmp_path) as second:
            second.append("two")
            with pytest.raises(RunHeldError, match=r"driver\.lock was removed, or its folder moved"):
                first.append("three")
            second.append("four")
    with RunStore(tmp_path) as store:
        assert [event["event"] for event in store.events] == ["one", "two", "four"]


def test_a_moved_folder_is_not_written_to(tmp_path):
    with RunStore(tmp_path / "here") as store:
        (tmp_path / "here").rename(tmp_path / "there")
        with pytest.raises(RunHeldError, match="its folder moved"):
            store.append("one")
    assert (tmp_path / "there" / RECORD).read_bytes() == b""
