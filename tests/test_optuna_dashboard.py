"""A run's storage opens in optuna-dashboard, the tool that people know."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from conftest import unavailable
from test_search import MIXED, search

from scalesearch.search.storages.trials import write_optuna
from scalesearch.search.study import Limits


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of an optuna-dashboard that was given the journal of a run, and the run's trials."""
    program = shutil.which("optuna-dashboard", path=str(Path(sys.executable).parent))
    if program is None:
        unavailable("optuna-dashboard (pip install optuna-dashboard)")
    folder = tmp_path_factory.mktemp("run")
    _, trials = search(folder, Limits(trials=7), fail={2: "x"}, workers=1)
    write_optuna(folder / "optuna.journal", "test", MIXED, trials, ("accuracy", "flops"), 2e9)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "optuna.journal", "--host", "127.0.0.1", "--port", str(port), "--server", "wsgiref"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        yield f"http://127.0.0.1:{port}", trials, process
        process.kill()


def ask(address, path, process):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urlopen(address + path, timeout=30) as answer:
                return json.load(answer)
        except URLError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"optuna-dashboard gave no answer: {process.stderr.read()}")
            time.sleep(0.2)


def test_optuna_dashboard_shows_the_study_and_its_trials(address):
    address, trials, process = address
    (study,) = ask(address, "/api/studies", process)["study_summaries"]
    assert study["study_name"] == "test"
    assert study["directions"] == ["minimize", "minimize"]
    detail = ask(address, f"/api/studies/{study['study_id']}?after=0", process)
    first = [t for t in trials if t.role == "search" and t.rung == 0]
    assert len(detail["trials"]) == len(first) == 7
    complete = {t.number: t for t in first if t.complete}
    seen = {one["number"]: one for one in detail["trials"] if one["state"] == "Complete"}
    numbers = [t.number for t in first]
    assert {numbers[place] for place in seen} == set(complete)
    for place, one in seen.items():
        trial = complete[numbers[place]]
        assert one["values"] == pytest.approx([trial.outcome.val_loss, trial.deployed.flops])
        assert {param["name"]: param["param_external_value"] for param in one["params"]} == {
            name: str(value) for name, value in trial.params.items()
        }
