"""Each promise has a test that fails when its mechanism is removed: shown on a copy of the source."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("scalesearch", "space", "studies", "dashboards", "tests", "benchmarks", "pyproject.toml")
STORE, LOCAL = "scalesearch/search/store.py", "scalesearch/search/engines/local.py"
LOCK, DRIVER = "scalesearch/search/lock.py", "scalesearch/search/driver.py"
RAY, ATTEMPT = "scalesearch/search/engines/ray.py", "scalesearch/search/engines/attempt.py"

# What is promised: the file, the mechanism in it and what is left of it, and the test that must fail then.
REMOVED = {
    "a line is out of the process before the driver goes on": (
        STORE,
        'self._record = path.open("ab", buffering=0)',
        'self._record = path.open("ab")',
        "test_kill.py::test_a_search_killed_at_random_moments_ends_with_the_record_of_an_undisturbed_one",
    ),
    "no training outlives its driver": (
        LOCAL,
        "ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)",
        "pass",
        "test_kill.py::test_no_training_outlives_its_driver",
    ),
    "a training continues from its checkpoint": (
        "scalesearch/files.py",
        "temporary.replace(path)",
        "path.write_bytes(bytes(content)[: len(content) // 2])",
        "test_kill.py::test_a_checkpoint_is_there_as_a_whole_whenever_its_writer_is_killed",
    ),
    "a driver's death is no damage": (
        LOCAL,
        "except (EOFError, ConnectionError):\n            os._exit(1)",
        "except ZeroDivisionError:\n            os._exit(1)",
        "test_checkpoints.py::test_a_driver_that_is_gone_is_no_damage_of_a_checkpoint",
    ),
    "a torn line is dropped": (
        STORE,
        "os.truncate(path, good)",
        "pass",
        "test_torn.py::test_a_record_cut_at_any_byte_of_its_last_line_loses_that_line_alone_and_says_so",
    ),
    "a torn line is kept beside": (
        STORE,
        'append(backup, path.read_bytes()[good:] + b"\\n")',
        "pass",
        "test_torn.py::test_a_record_cut_at_any_byte_of_its_last_line_loses_that_line_alone_and_says_so",
    ),
    "exactly N: those under way count": (
        DRIVER,
        "if self._tally.counted + running >= trials:",
        "if self._tally.counted >= trials:",
        "test_kill.py::test_a_driver_killed_in_the_middle_of_a_write_loses_that_line_at_most",
    ),
    "exactly N: what an earlier call finished counts": (
        "scalesearch/search/tally.py",
        "self.finalists = self._best(self.searched.values())",
        "self.finalists, self.counted = self._best(self.searched.values()), 0",
        "test_kill.py::test_a_driver_killed_in_the_middle_of_a_write_loses_that_line_at_most",
    ),
    "nothing is counted twice": (
        DRIVER,
        "if self._unfinished:\n            return self._unfinished.popleft()",
        "if False:\n            return self._unfinished.popleft()",
        "test_kill.py::test_a_driver_killed_in_the_middle_of_a_write_loses_that_line_at_most",
    ),
    "a damaged record asks for no more than a moment": (
        "scalesearch/search/samplers.py",
        "if place not in range(self._places, self._places + PATIENCE):",
        "if False:",
        "test_damaged_records.py::test_no_number_of_a_record_asks_for_more_than_a_moment",
    ),
    "one driver a run": (
        LOCK,
        "fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "test_keeping.py::test_of_16_drivers_that_start_at_once_exactly_one_wins_and_is_named[run folder]",
    ),
    "a driver without its lock writes no more": (
        STORE,
        "self._lock.check()",
        "pass",
        "test_keeping.py::test_a_driver_whose_lock_was_lost_to_another_writes_no_more[run folder]",
    ),
    "nor one of a copy in SQLite": (
        "scalesearch/search/storages/locks.py",
        "self._lock.check()",
        "pass",
        "test_keeping.py::test_a_driver_whose_lock_was_lost_to_another_writes_no_more[sqlite]",
    ),
    "a dead process's training is tried again": (
        LOCAL,
        "fresh.begin(worker.job, worker.attempt + worker.ready)",
        'return Finished(worker.job.number, Outcome("failed", reason), worker.number)',
        "test_engines.py::TestLocalEngine::test_a_training_whose_process_died_is_tried_again",
    ),
    "a hanging training is ended": (
        LOCAL,
        "if worker.job is not None and worker.silent >= patience:",
        "if False:",
        "test_engines.py::TestLocalEngine::test_a_training_that_hangs_is_failed_and_the_next_ones_run",
    ),
    "a process is not used after an exception": (
        LOCAL,
        "worker.end()\n            self._begin(worker.number)\n            message",
        "message",
        "test_engines.py::TestLocalEngine::test_an_exception_is_the_last_thing_that_its_process_does",
    ),
    "the same on Ray": (
        RAY,
        "if isinstance(trained.outcome, Raised):\n            self._replace(slot)",
        "",
        "test_ray.py::TestRayEngine::test_an_exception_is_the_last_thing_that_its_process_does",
    ),
    "a cluster without nodes is given up": (
        RAY,
        "if self._barren >= self._patient:",
        "if False:",
        "test_ray.py::test_a_cluster_that_loses_its_last_node_with_room_is_waited_for_and_given_up_in_the_end",
    ),
    "a damaged checkpoint is set aside": (
        ATTEMPT,
        "except DamagedCheckpointError as error:",
        "except ZeroDivisionError as error:",
        "test_engines.py::TestLocalEngine::test_a_checkpoint_is_continued_from_and_a_damaged_one_is_set_aside_and_said",
    ),
    "a full disk fails no training": (
        ATTEMPT,
        "return _refused(error, job) or Raised(",
        "return Raised(",
        "test_engines.py::TestLocalEngine::test_a_full_disk_ends_the_run_and_fails_no_training",
    ),
    "processes take turns at a cache": (
        "scalesearch/files.py",
        "fcntl.flock(file, fcntl.LOCK_EX)",
        "pass",
        "test_calibration.py::test_processes_that_calibrate_at_once_lose_nothing_of_each_other",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for part in PARTS:
        source = ROOT / part
        ignored = shutil.ignore_patterns("__pycache__", "results")
        (shutil.copytree if source.is_dir() else shutil.copy)(
            source, folder / part, **({"ignore": ignored} if source.is_dir() else {})
        )
    return folder


def outcome_of(copy, test):
    run = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n0",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        f"tests/{test}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        run, cwd=copy, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said, _ = process.communicate(timeout=600)
    finally:
        with suppress(ProcessLookupError):  # trainings that outlive their driver are among what is shown
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said[-3000:]


@pytest.mark.long
@pytest.mark.parametrize("promise", REMOVED)
def test_a_promise_is_broken_without_its_mechanism_and_its_test_says_so(copy, promise):
    name, mechanism, left, test = REMOVED[promise]
    path = copy / name
    source = path.read_text()
    assert source.count(mechanism) == 1, f"{name} has the mechanism {source.count(mechanism)} times"
    path.write_text(source.replace(mechanism, left))
    try:
        code, said = outcome_of(copy, test)
    finally:
        path.write_text(source)
    print(f"\n{promise}: {said.strip().splitlines()[-1]}")
    assert code == 1, said


@pytest.mark.long
def test_with_all_of_them_those_tests_pass(copy):
    for test in sorted({test for *_, test in REMOVED.values()}):
        code, said = outcome_of(copy, test)
        assert code == 0, said
