"""The driver on real processes, with a formula in place of the landscape."""

import json
import os
import signal
import time
from dataclasses import replace

import pytest
from formula import loss_of, make

from scalesearch import load, load_trials
from scalesearch.architecture.document import to_document
from scalesearch.architecture.proxy import ProxyPolicy
from scalesearch.documents import load_space, plain
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines import Finished, Job
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.report import accuracies, best_of, counts, frame
from scalesearch.search.selection import ranked
from scalesearch.search.storages.trials import write_optuna
from scalesearch.search.store import RECORD, RunStore
from scalesearch.search.study import Definition, Finals, Limits, SamplerChoice, Study
from scalesearch.search.trust import SeedNoise

MIXED = load_space("mixed")
NOISE = SeedNoise(0.01, 5)


def definition(space=MIXED, seed=0, finals=Finals(candidates=2, seeds=2), **study):  # noqa: B008
    chosen = Study(
        "test",
        seed=seed,
        rungs=study.pop("rungs", (1000,)),
        finals=finals,
        sampler=study.pop("sampler", SamplerChoice(startup=4)),
        **study,
    )
    resolved = {"recipe": {}, "data": {"fingerprint": "f"}, "space": plain(space), "seed": seed}
    return Definition(
        chosen,
        space,
        ProxyPolicy(),
        tuple(level * 2e9 for level in chosen.levels),
        {},
        4,
        10,
        32,
        2500,
        NOISE,
        resolved,
    )


def search(folder, limits, workers=2, stop=lambda: False, study=None, **settings):
    study = study or definition()
    with RunStore(folder) as store, LocalEngine(workers, make(**settings)) as engine:
        driver = Driver(study, store, engine, stop_requested=stop)
        return driver.run(limits), store.finished


def results(trials):
    """What of the trials must not depend on durations or workers."""
    found = [(t.role, t.number, t.params, t.level, t.key, t.outcome.val_loss, t.repeats) for t in trials]
    return sorted(found, key=lambda item: (item[0], item[1], item[4]))


def test_number_of_trials_is_exact_and_no_network_is_over_budget(tmp_path):
    ending, trials = search(tmp_path, Limits(trials=13), jitter=0.02)
    searched = [t for t in trials if t.role == "search"]
    assert ending == "trials"
    assert [t.number for t in sorted(searched, key=lambda t: t.number)] == list(range(13))
    assert all(0.97 <= t.deployed.share <= 1 for t in searched)
    assert {t.level for t in searched} == {2e9, 1e9, 5e8, 2.5e8}
    assert all(t.outcome.val_loss == loss_of(t.proxy.document, t.outcome.seed) for t in trials)
    assert results(load_trials(tmp_path)) == results(trials)


def test_a_run_repeats_exactly_whatever_finishes_first(tmp_path):
    _, one = search(tmp_path / "a", Limits(trials=14), jitter=0.05)
    _, two = search(tmp_path / "b", Limits(trials=14), jitter=0.05)
    _, three = search(tmp_path / "c", Limits(trials=14), workers=1)
    assert results(one) == results(two) == results(three)


def test_proposals_learn_from_results(tmp_path):
    """TPE must beat its own random start on a landscape whose rule it can learn."""
    _, trials = search(tmp_path, Limits(trials=48))
    shuffles = [
        t.pattern.count("shufflenet_v2") / len(t.pattern.split()) for t in trials if t.role == "search"
    ]
    assert sum(shuffles[-16:]) < sum(shuffles[:16])


def test_interrupted_run_goes_on_to_the_same_results(tmp_path):
    _, whole = search(tmp_path / "whole", Limits(trials=12))
    record = tmp_path / "cut" / RECORD

    def stop():
        return record.read_text().count('"finished"') >= 3

    ending, part = search(tmp_path / "cut", Limits(trials=12), pause=0.15, stop=stop)
    assert ending == "stopped"
    assert 0 < len(part) < len(whole)
    ending, again = search(tmp_path / "cut", Limits(trials=12))
    assert ending == "trials"
    assert results(again) == results(whole)


def test_more_trials_extend_a_finished_run_as_if_it_had_been_longer(tmp_path):
    _, whole = search(tmp_path / "whole", Limits(trials=10))
    search(tmp_path / "grown", Limits(trials=6))
    _, grown = search(tmp_path / "grown", Limits(trials=10))
    searched = [[item for item in results(trials) if item[0] == "search"] for trials in (whole, grown)]
    assert searched[0] == searched[1]


def test_failing_trials_are_recorded_with_their_reason_and_the_run_goes_on(tmp_path):
    fail = {1: "something", 2: "nan", 4: "kill"}
    _, trials = search(tmp_path, Limits(trials=10), workers=1, fail=fail)
    failed = {t.number: t.outcome.reason for t in trials if t.outcome.status == "failed"}
    assert failed == {
        1: "RuntimeError: a broken training of something",
        2: "non-finite loss at image 64",
        4: "the evaluating process ended by signal SIGKILL",
    }
    assert counts(trials, 0) == {"complete": 7, "pruned": 0, "failed": 3, "repeated": 0, "interrupted": 0}
    assert not {t.number for t in ranked(trials)} & set(failed)


def test_a_signal_to_the_whole_group_leaves_trainings_to_the_driver(tmp_path):
    document = to_document(load("efficientnet_b0"))
    with LocalEngine(1, make(pause=1.0)) as engine:
        engine.submit(Job(0, document, 1000, 0, "", ""))
        events = []
        while not events:
            events += engine.wait(10)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(engine._workers[0].process.pid, number)
        while not any(isinstance(event, Finished) for event in events):
            events += engine.wait(10)
    assert events[-1].outcome.status == "complete"


def test_a_small_space_ends_as_exhausted_and_repeats_cost_no_training(tmp_path):
    row = {"operator": "mbconv", "channels": 16, "repeats": 1, "kernel": 3, "expand": 4, "se": 0}
    document = {"resolution": 32, "stem": {"channels": 16}, "stages": [row], "head": {"channels": 64}}
    tiny = replace(MIXED, document=document, coefficients={"depth": 1 / 3, "width": 0.5, "growth": 2})
    ending, trials = search(tmp_path, Limits(trials=50), study=definition(tiny, levels=(1.0, 0.5)))
    assert ending == "exhausted"
    found = counts(trials, 0)
    assert found["complete"] == 2  # one network a level
    assert found["repeated"] >= 200
    searched = {t.number: t for t in trials if t.role == "search"}
    assert all(t.outcome == searched[t.repeats].outcome for t in trials if t.repeats is not None)


def test_time_begins_no_training_that_would_end_too_late_and_interrupts_the_rest(tmp_path):
    started = time.monotonic()
    ending, trials = search(tmp_path, Limits(time=4.0), pause=0.5)
    assert ending == "time"
    assert 3 < time.monotonic() - started < 12  # processes start within the time, and end after it
    assert any(t.role == "final" for t in trials)
    ending, trials = search(tmp_path / "late", Limits(time=3.0), pause=60)
    assert (ending, trials) == ("time", [])
    asked = [json.loads(line) for line in (tmp_path / "late" / RECORD).read_text().splitlines()]
    assert [event["event"] for event in asked] == ["asked", "asked"]


def test_finalists_are_trained_again_with_fresh_seeds_and_reported_from_those(tmp_path):
    _, trials = search(tmp_path, Limits(trials=9))
    best = ranked(trials)[0]
    finals = [t for t in trials if t.role == "final"]
    assert {t.number for t in finals} == {t.number for t in ranked(trials)[:2]}
    assert len({t.outcome.seed for t in finals} | {0}) == 3
    own = [t.outcome.report_accuracy for t in finals if t.number == best.number]
    assert accuracies(trials, best.number) == own
    described = best_of(trials, 2500, NOISE)
    assert described["proxy_accuracy"] == pytest.approx(sum(own) / 2)
    assert described["proxy_seeds"] == 2


def test_the_choice_does_not_look_at_reported_accuracies(tmp_path):
    _, trials = search(tmp_path, Limits(trials=9))
    flipped = [replace(t, outcome=replace(t.outcome, report_accuracy=t.number / 100)) for t in trials]
    assert [t.number for t in ranked(flipped)] == [t.number for t in ranked(trials)]
    top = [t for t in trials if t.role == "search" and t.level == 2e9]
    assert ranked(trials)[0].outcome.val_loss == min(t.outcome.val_loss for t in top)


def test_a_torn_last_line_is_repaired_with_a_backup_and_nothing_else_is_lost(tmp_path):
    _, whole = search(tmp_path, Limits(trials=5), workers=1)
    record = tmp_path / RECORD
    data = record.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last + 1, len(data), 97):
        record.write_bytes(data[:cut])
        lines = []
        with RunStore(tmp_path, lines.append) as store:
            assert len(store.finished) == len(whole) - 1
        assert record.read_bytes() == data[:last]
        assert record.with_suffix(".torn").read_bytes().endswith(data[last:cut] + b"\n")
        assert "was cut off" in lines[0]
    _, again = search(tmp_path, Limits(trials=5), workers=1)
    assert results(again) == results(whole)


def test_a_damaged_record_is_an_error_that_names_file_and_line(tmp_path):
    search(tmp_path, Limits(trials=2), workers=1)
    record = tmp_path / RECORD
    lines = record.read_text().splitlines(keepends=True)
    record.write_text(lines[0] + "rubbish\n" + "".join(lines[1:]))
    with pytest.raises(InputError, match=r"record\.jsonl:2"), RunStore(tmp_path):
        pass
    with pytest.raises(InputError, match=r"record\.jsonl:2"):
        load_trials(tmp_path)


def test_derived_files_can_be_read_by_pandas_and_optuna(tmp_path):
    import optuna

    _, trials = search(tmp_path, Limits(trials=6), fail={2: "x"}, workers=1)
    table = frame(trials)
    assert len(table) == len(trials)
    assert (table[table.status == "complete"].val_loss > 0).all()
    path = tmp_path / "optuna.journal"
    for _ in range(2):  # written again from the record
        write_optuna(path, "test", MIXED, trials, ("accuracy", "flops"), 2e9)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
        study = optuna.load_study(study_name="test", storage=storage)
        searched = [t for t in trials if t.role == "search"]
        assert len(study.trials) == len(searched)
        assert sum(t.state.is_finished() and t.values is not None for t in study.trials) == 5
        values = {round(t.values[0], 9) for t in study.trials if t.values}
        assert values == {round(t.outcome.val_loss, 9) for t in searched if t.complete}
