"""The command as a user gives it: real images, real trainings, real signals, real files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import scalesearch
from scalesearch import documents

RUN = ["run", "--budget-flops", "2e9", "--export", "network"]
SMALL = [part.replace("2e9", "2e7") for part in RUN]


def start(*arguments, cwd, **environment):
    command = [sys.executable, "-W", "error", "-m", "scalesearch", *map(str, arguments)]
    unset = {"SCALESEARCH_DATA"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*arguments, cwd, **environment):
    """Run the command; return exit code, standard output and standard error."""
    process = start(*arguments, cwd=cwd, **environment)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    """A study with trainings of a second or two: the same recipe, fewer images."""
    path = tmp_path_factory.mktemp("study") / "small.yaml"
    path.write_text("name: small\nrungs: [600]\nfinals: {candidates: 2, seeds: 1, share: 0.3}\n")
    return path


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory, cifar10_path):
    """Three short trainings on real CIFAR-10, and what was printed; no clock, which a busy machine fails."""
    cwd = tmp_path_factory.mktemp("finished")
    study = cwd / "short.yaml"
    study.write_text("name: short\nrungs: [2000]\nfinals: {candidates: 1, seeds: 1}\n")
    code, out, err = call(
        *RUN, "--study", study, "--data", cifar10_path, "--trials", "3", "--out", "found", "--json", cwd=cwd
    )
    assert code == 0, err
    return cwd, json.loads(out), err


def test_the_best_network_is_in_the_band_by_torchs_own_counter(finished_run):
    cwd, report, _ = finished_run
    network = scalesearch.load(cwd / "found" / report["best"]["network"])
    module = scalesearch.build(network).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 3, *network.input.size))
    assert counter.get_total_flops() == 2 * report["best"]["flops"]
    assert 0.97 * 2e9 <= report["best"]["flops"] <= 2e9
    assert network.classes == report["best"]["classes"] == 10


def test_the_report_has_its_stable_keys(finished_run):
    cwd, report, _ = finished_run
    assert json.loads((cwd / "found/report.json").read_text()) == report
    best = report["best"]
    for key in ("flops", "params", "classes", "ties", "resolution", "phi", "network", "proxy_accuracy"):
        assert key in best
    assert set(best["coefficients"]) == {"alpha", "beta", "gamma"}
    assert set(best["realised"]) == {"depth", "width", "resolution"}
    assert set(report["trials"]) == {"complete", "pruned", "failed", "repeated", "interrupted"}
    assert report["budgets"] == [2.5e8, 5e8, 1e9, 2e9]
    assert report["schema"] == 1
    assert report["data"]["train_images"] == 45_000
    assert report["data"]["val_images"] == 5_000
    assert "JPEG" in report["data"]["name"]
    assert report["notice"] is None
    assert 0.1 < best["proxy_accuracy"] < 1
    assert "4,000,000,000 at two operations each" in finished_run[2].replace("\n", " ")


def test_the_run_folder_is_complete_and_readable(finished_run):
    cwd, report, _ = finished_run
    run = cwd / "found"
    trials = scalesearch.load_trials(run)
    table = pd.read_parquet(run / "trials.parquet")
    assert len(table) == len(trials) >= 2
    assert (table[table.role == "search"].budget_share.between(0.97, 1)).all()
    assert (table[table.status == "complete"].images == 2000).all()
    code, out, _ = call("show", run / "best/network.yaml", "--json", cwd=cwd)
    assert code == 0
    assert json.loads(out)["flops"] == report["best"]["flops"]
    from safetensors.torch import load_file

    proxy = scalesearch.build(scalesearch.load(run / "best/proxy/network.yaml"))
    proxy.load_state_dict(load_file(run / "best/proxy/weights.safetensors"))
    assert "<html" in (run / "dashboard.html").read_text()[:200]


def test_a_finished_command_repeated_prints_the_stored_result(finished_run, cifar10_path):
    cwd, report, _ = finished_run
    started = time.monotonic()
    arguments = [
        *RUN,
        "--study",
        "short.yaml",
        "--data",
        cifar10_path,
        "--trials",
        "3",
        "--out",
        "found",
        "--json",
    ]
    code, out, err = call(*arguments, cwd=cwd)
    assert code == 0
    assert json.loads(out) == report
    assert time.monotonic() - started < 30
    assert "finished" in err


def test_another_study_in_the_same_folder_is_refused_and_says_what_differs(finished_run, cifar10_path):
    cwd, _, _ = finished_run
    before = (cwd / "found/record.jsonl").read_bytes()
    arguments = [
        "run",
        "--budget-flops",
        "1e9",
        "--study",
        "short.yaml",
        "--data",
        cifar10_path,
        "--seed",
        "3",
    ]
    code, _, err = call(*arguments, "--out", "found", cwd=cwd)
    assert code == 2
    assert "budget_flops: 2000000000.0 there, 1000000000.0 here" in err
    assert "study.seed: 0 there, 3 here" in err
    assert (cwd / "found/record.jsonl").read_bytes() == before


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(tmp_path, small_study):
    asked = ["--study", small_study, "--data", "digits", "--trials", "4", "--json"]
    arguments = [*SMALL, *asked, "--out", "cut"]
    process = start(*arguments, cwd=tmp_path)
    record = tmp_path / "cut/record.jsonl"
    while not (record.exists() and '"finished"' in record.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    cut = json.loads(out)
    assert cut["trials"]["complete"] >= 1
    code, out, err = call(*arguments, cwd=tmp_path)
    assert code == 0, err
    resumed = json.loads(out)
    assert resumed["trials"]["complete"] + resumed["trials"]["failed"] == 4
    assert resumed["trials"]["interrupted"] == 0
    # The same trials as a run that nobody interrupted.
    code, out, err = call(*SMALL, *asked, "--out", "whole", cwd=tmp_path)
    assert code == 0, err
    found, whole = (
        {t.key: t.outcome.val_loss for t in scalesearch.load_trials(tmp_path / r)} for r in ("cut", "whole")
    )
    assert found == whole


@pytest.mark.slow
def test_demonstration_data_is_headed_as_such_everywhere(tmp_path, small_study):
    """Without CIFAR-10 to be had, digits stand in and nothing is claimed."""
    offline = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    arguments = [*SMALL, "--study", small_study, "--trials", "2", "--out", "demo", "--json"]
    code, out, err = call(*arguments, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache"), **offline)
    assert code == 0, err
    report = json.loads(out)
    assert report["data"]["demonstration"]
    for text in (err, report["notice"], (tmp_path / "demo/dashboard.html").read_text()):
        assert "demonstration data" in text
    assert documents.read(tmp_path / "demo/study.yaml")["data"]["source"] == "digits"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--budget-flops", "10"], "the smallest network of the space mixed costs"),
        (["run", "--budget-flops", "lots"], "--budget-flops must be a number such as 2e9, but got 'lots'"),
        (["run"], "Missing option '--budget-flops'"),
        ([*RUN, "--space", "mixd"], "no space is called 'mixd'; near are mixed"),
        ([*RUN, "--time", "soon"], "a time is a number with s, m, h or d such as 10m, but got 'soon'"),
        ([*RUN, "--trials", "0"], "--trials"),
        ([*RUN, "--data", "nowhere"], "nowhere"),
        (
            [*RUN, "--data", "digits", "--device", "gpu"],
            "--device is auto, cpu, cuda or cuda:N, but got 'gpu'",
        ),
        ([*RUN, "--data", "digits", "--out", "/proc/no"], "cannot be written"),
        (["show", "efficientnet_b0", "--resolution", "0"], "resolution must be a whole number of at least 1"),
        (["scale", "efficientnet_b0", "--budget-flops", "2"], "below the smallest member of the family"),
        (["scale", "efficientnet_b0", "--budget-flops", "2e9", "--alpha", "0.5"], "alpha must be at least 1"),
        (["walk"], "No such command 'walk'"),
    ],
)
def test_bad_input_gets_one_clear_line_and_exit_code_2(tmp_path, arguments, message):
    code, out, err = call(*arguments, cwd=tmp_path)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2, err
    assert out == ""
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in err
    assert not list(Path(tmp_path).iterdir())


def test_an_impossible_budget_is_answered_before_anything_runs(tmp_path):
    started = time.monotonic()
    code, _, err = call("run", "--budget-flops", "100", cwd=tmp_path)
    assert code == 2
    assert f"{documents.load_space('mixed').least().flops:,}" in err
    assert time.monotonic() - started < 20  # 2 s on an idle core; this machine may be busy


def test_scale_prints_a_document_that_show_reads(tmp_path):
    code, out, err = call("scale", "efficientnet_b0", "--budget-flops", "2e9", "--fill", cwd=tmp_path)
    assert code == 0
    (tmp_path / "scaled.yaml").write_text(out)
    code, shown, _ = call("show", "scaled.yaml", "--json", cwd=tmp_path)
    assert 0.97 * 2e9 <= json.loads(shown)["flops"] <= 2e9
    assert f"{json.loads(shown)['flops']:,} FLOPs" in err
    code, shown, _ = call(
        "show", "efficientnet_b0", "--resolution", "240", "--classes", "7", "--json", cwd=tmp_path
    )
    expected = scalesearch.load("efficientnet_b0")
    assert (json.loads(shown)["resolution"], json.loads(shown)["classes"]) == (240, 7)
    assert json.loads(shown)["params"] == expected.cost().params - 1281 * (1000 - 7)
