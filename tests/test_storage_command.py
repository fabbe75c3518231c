"""`run --storage` as a user gives it: a real server, real trainings, and nothing secret left anywhere."""

import json
from urllib.parse import quote

import optuna
import pytest
from test_command import call

from scalesearch import load_trials
from scalesearch.search.storages.address import read_address

RUN = ["run", "--budget-flops", "1e8", "--data", "digits", "--study", "tiny.yaml", "--workers", "2"]
RUN += ["--export", "network", "--out", "found", "--json"]


def holding(folder, secrets):
    """Return which files of a folder hold one of some texts, in any of the usual encodings."""
    wanted = [secret.encode(code) for secret in secrets for code in ("utf-8", "utf-16-le")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    return [path.relative_to(folder) for path in files if any(one in path.read_bytes() for one in wanted)]


@pytest.mark.slow
def test_a_run_is_copied_to_the_server_and_leaves_no_credentials(server, tmp_path):
    (tmp_path / "tiny.yaml").write_text("name: tiny\nrungs: [100]\nfinals: {candidates: 1, seeds: 1}\n")
    secrets = [server.password, quote(server.password, safe=""), "wrong-secret"]
    said = []

    code, out, err = call(*RUN, "--trials", "2", "--storage", server.url("wrong-secret"), cwd=tmp_path)
    said += [out, err]
    assert code == 2
    assert [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in err

    # The second half of the run has its URL from the environment.
    for trials, storage in (("2", ["--storage", server.url()]), ("3", [])):
        environment = {} if storage else {"SCALESEARCH_STORAGE": server.url()}
        code, out, err = call(*RUN, "--trials", trials, *storage, cwd=tmp_path, **environment)
        said += [out, err]
        assert code == 0, err
    assert not [text for text in said if any(secret in text for secret in secrets)]
    assert holding(tmp_path, secrets) == []

    address = read_address(server.url())
    storage = optuna.storages.RDBStorage(address.bare, engine_kwargs={"connect_args": address.arguments})
    (name,) = optuna.get_all_study_names(storage)
    copied = {
        t.user_attrs["trial"]: t.user_attrs["accuracy"]
        for t in optuna.load_study(study_name=name, storage=storage).trials
    }
    storage.remove_session()
    storage.engine.dispose()
    kept = {t.number: t.outcome.val_accuracy for t in load_trials(tmp_path / "found") if t.role == "search"}
    assert copied == kept
    assert len(kept) == json.loads(out)["trials"]["complete"] == 3
