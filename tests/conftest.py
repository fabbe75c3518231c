"""What every test may use: the real data, and the rule that in CI nothing is skipped."""

import os
import sys
from pathlib import Path

import pytest

IN_CI = os.environ.get("SCALESEARCH_CI") == "1"
# Files that take longest begin first: the suite ends with its last file, and each file runs in one process.
LONGEST = (
    *("stop_and_go", "command", "torn", "end_to_end", "best", "calibration", "kill", "full_training", "ray"),
    *(
        "storages",
        "keeping",
        "tutorial",
        "live_browser",
        "survey",
        "target",
        "status",
        "training_features",
        "weights",
    ),
)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: many tests wait for processes that they started."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file the order stays. Full counts take as long as they take."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.timeout(0))


class _AtOnce:
    """Prints a failure when it happens: a suite that is cut off later has said it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            terminal = self._config.get_terminal_writer()
            terminal.line()
            terminal.line(f"{report.nodeid} ({report.when}): {report.longreprtext[-3_000:]}")


def pytest_configure(config: pytest.Config) -> None:
    if IN_CI and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_AtOnce(config))


def unavailable(what: str) -> None:
    """Skip with a named reason on a developer's machine; in CI a missing part is a failure."""
    if IN_CI:
        pytest.fail(f"{what} is missing, and in CI nothing is skipped")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def cifar10_path() -> Path:
    """The folder with CIFAR-10 as Parquet files (JPEG copies), named by SCALESEARCH_DATA."""
    value = os.environ.get("SCALESEARCH_DATA", "")
    if not value or not Path(value).is_dir():
        unavailable("real CIFAR-10 (SCALESEARCH_DATA)")
    return Path(value)


@pytest.fixture(scope="session")
def chrome(tmp_path_factory):
    """One headless browser for all tests of a process; it is set back after each test."""
    from browser import headless, programs, reset

    found = programs()
    if found is None:
        unavailable("Chromium with chromedriver (Debian: apt-get install chromium chromium-driver)")
    with headless(tmp_path_factory.mktemp("profile"), *found) as started:
        reset(started)
        yield started


@pytest.fixture(scope="module")
def server():
    """A real PostgreSQL for the tests of a file."""
    from postgres import programs, running

    found = programs()
    if found is None:
        unavailable("PostgreSQL's server (apt-get install postgresql)")
    with running(found) as started:
        yield started


@pytest.fixture(autouse=True)
def _browser_set_back(request):
    yield
    if "chrome" in request.fixturenames:
        from browser import reset

        reset(request.getfixturevalue("chrome"))


@pytest.fixture(autouse=True)
def _process_set_back():
    """A command that runs within a test prepares its process for training: flushed denormals, threads."""
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
        if threads is not None:
            sys.modules["torch"].set_num_threads(threads)


@pytest.fixture
def one_thread():
    """Torch with one thread, as a training process has it; several would wait for a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
