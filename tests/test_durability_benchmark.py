"""The benchmark of the engine runs whole at a small size, and its figures are about what they say."""

import json

import durability
from durability_made import Made, definition

from scalesearch.search.store import load_trials


def test_every_part_is_measured_and_written(tmp_path):
    file = tmp_path / "figures.json"
    size = ["--counts", "3", "12", "--workers", "4", "--trials", "10", "--samplers", "random,nsga2"]
    storage = ["--storage", f"sqlite:///{tmp_path / 'studies.db'}"]
    assert durability.main([*size, *storage, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert [(one["sampler"], one["trials"]) for one in report["proposals"]] == [
        ("random", 3),
        ("random", 12),
        ("nsga2", 3),
        ("nsga2", 12),
    ]
    assert {(one["storage"], one["trials"]) for one in report["storages"]} == {
        (kind, count) for kind in ("run folder", "sqlite") for count in (3, 12)
    }
    assert [(one["storage"], one["workers"], one["trials"]) for one in report["runs"]] == [
        ("run folder", 4, 10),
        ("sqlite", 4, 10),
    ]
    # A decision holds a fit of a candidate, which a made-up record of trials must not have saved it.
    assert all(one["median"] > report["fit_ms"] / 10 for one in report["proposals"])
    assert all(0 < one["driver_share"] <= 1.05 for one in report["runs"])


def test_a_made_up_record_is_one_that_a_search_reads(tmp_path):
    made = Made(0)
    durability.write_record(made, tmp_path / "run", 7)
    assert list(load_trials(tmp_path / "run")) == made.trials(7)
    assert {trial.level for trial in made.trials(7)} <= set(definition("random", 1, 0).levels)
