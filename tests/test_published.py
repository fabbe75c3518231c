"""Every published network, from its document, against figures counted elsewhere; and `verify` itself."""

import json
import sys
import time
from pathlib import Path

import pytest
from test_imports import command, loaded

from scalesearch import cli, documents, load
from scalesearch.cli.show import with_options
from scalesearch.cli.verify import check

PUBLISHED = json.loads((Path(__file__).parent / "data" / "published.json").read_text())
DOCUMENTS = sorted(documents.names("network").values())


def run(monkeypatch, capsys, *arguments):
    """Run the command in this process; return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["scalesearch", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def plain(value):
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_network_is_exact_in_total_and_stage_by_stage(name):
    expected, network = PUBLISHED[name], load(name)
    cost = network.cost()
    assert network.name == name
    assert plain(network.resolution) == expected["resolution"]
    assert (cost.params, cost.flops) == (expected["params"], expected["flops"])
    assert cost.activations == expected["activations"]
    rows = [[row.params, row.flops] for row in network.rows()]
    assert rows == [expected["stem"], *expected["stages"], expected["head"]]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_network_is_exact_at_every_counted_side(name):
    network = load(name)
    for side, flops in PUBLISHED[name]["flops_at"].items():
        assert with_options(network, int(side), None).cost().flops == flops


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_document_equals_its_published_figures(path):
    for entry in documents.entries(path):
        assert entry.published is not None
        assert check(entry).ok is True


def test_documents_and_figures_counted_elsewhere_name_the_same_networks_and_integers():
    stated = {entry.network.name: entry.published for path in DOCUMENTS for entry in documents.entries(path)}
    assert len(PUBLISHED) == 60
    assert set(PUBLISHED) <= set(stated)
    for name, expected in PUBLISHED.items():
        assert stated[name].params == expected["params"]
        assert {str(side): flops for side, flops in stated[name].flops.items()} == expected["flops_at"]


def test_verify_checks_every_network_in_one_run_without_torch(monkeypatch, capsys):
    start = time.monotonic()
    code, out, _ = run(monkeypatch, capsys, "verify", "--json")
    assert time.monotonic() - start < 20
    assert code == 0
    rows = json.loads(out)
    assert {row["name"] for row in rows} >= set(PUBLISHED)
    for row in rows:
        assert list(row)[:6] == ["name", "params", "params_expected", "flops", "flops_expected", "ok"]
        assert row["ok"] is True
        assert (row["params"], row["flops"]) == (row["params_expected"], row["flops_expected"])
    assert loaded(command("verify")) == []


def test_verify_prints_the_papers_figures_beside_the_exact_ones(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "verify", "efficientnet_b0", "mobilenet_v1_0.5")
    assert code == 0
    assert "385,814,752  exact    0.39 billion FLOPs, 5.3 million parameters" in out
    assert "49,160,192" in out
    assert "2 of 2 networks equal their published figures" in out


B0 = documents.find("network", "efficientnet_b0").read_text()


@pytest.mark.parametrize(
    ("figure", "changed", "name"),
    [
        ("params: 5288548", "params: 5288549", "efficientnet_b0"),
        ("{224: 385814752}", "{224: 385814753}", "efficientnet_b0"),
        ("224: 658963440", "224: 658963441", "efficientnet_b2"),  # not the first side
        ("channels: 112", "channels: 120", None),  # the network, not the figure
    ],
)
def test_verify_exits_with_1_on_any_difference(figure, changed, name, tmp_path, monkeypatch, capsys):
    path = tmp_path / "changed.yaml"
    assert B0.count(figure) == 1
    path.write_text(B0.replace(figure, changed))
    code, out, _ = run(monkeypatch, capsys, "verify", path, "--json")
    wrong = [row["name"] for row in json.loads(out) if row["ok"] is False]
    assert code == 1
    assert len(json.loads(out)) == 8
    assert wrong == ([name] if name else [f"efficientnet_b{n}" for n in range(8)])
    code, out, _ = run(monkeypatch, capsys, "verify", path)
    assert code == 1
    assert out.count("DIFFERS") == len(wrong)
    assert "(stated " in out


def test_verify_includes_a_users_documents_and_names_what_states_no_figures(tmp_path, monkeypatch, capsys):
    mine = tmp_path / "space" / "networks"
    mine.mkdir(parents=True)
    mine.joinpath("mine.yaml").write_text(
        "name: mine\nresolution: 64\nstem: {channels: 8}\n"
        "stages:\n  - {operator: mbconv, channels: 16, repeats: 1}\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, "verify", "--json")
    (row,) = [row for row in json.loads(out) if row["name"] == "mine"]
    assert code == 0
    assert row["ok"] is row["params_expected"] is row["flops_expected"] is None
    assert row["flops"] == load("mine").cost().flops
    code, out, _ = run(monkeypatch, capsys, "verify", "mine")
    assert code == 0
    assert "not stated" in out
    wrong = (
        mine.joinpath("mine.yaml").read_text() + f"published: {{params: {row['params']}, flops: {{64: 1}}}}\n"
    )
    mine.joinpath("mine.yaml").write_text(wrong)
    assert run(monkeypatch, capsys, "verify")[0] == 1
    mine.joinpath("mine.yaml").write_text(wrong.replace("64: 1", ""))  # parameters alone
    assert run(monkeypatch, capsys, "verify")[0] == 0


def test_verify_refuses_an_unknown_name_in_one_line(monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "verify", "efficientnet_b9")
    assert code == 2
    assert err.startswith("error: no network is called 'efficientnet_b9'")
    assert err.count("\n") == 1
