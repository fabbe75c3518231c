"""Damaged events in the records of run folders: whoever reads one gets a result or one clear line."""

import json
import random
from functools import reduce
from operator import getitem

import pytest
from formula import make
from mutations import damaged_tree
from test_folder import finished
from test_fuzz import limited
from test_search import Driver
from test_status import shown

from scalesearch.cli.folder import RunFolder
from scalesearch.errors import InputError
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.lock import LOCK
from scalesearch.search.store import RECORD, STUDY, RunStore

assert finished  # the fixture
DAMAGED = 400


def read(folder, definition):
    """What `status` and `dashboard` do with a folder, and what `run` does before it goes on."""
    run = RunFolder(folder)
    for look in (run.report, run.view, lambda: shown(run)):
        with limited():
            look()
    with limited(), RunStore(folder) as store:
        Driver(definition, store, LocalEngine(1, make()))


def attempt(work):
    """Return the one line that a piece of work ends with, or None."""
    try:
        work()
    except InputError as error:
        return str(error)
    return None


def test_a_damaged_event_is_a_result_or_one_line(finished, tmp_path, record_property):
    source, definition = finished
    lines = (source / RECORD).read_bytes().splitlines()
    (tmp_path / STUDY).write_bytes((source / STUDY).read_bytes())
    results, rng = 0, random.Random(8)
    for _ in range(DAMAGED):
        place = rng.randrange(len(lines))
        event = damaged_tree(rng, json.loads(lines[place]))
        changed = [*lines[:place], json.dumps(event).encode(), *lines[place + 1 :]]
        (tmp_path / RECORD).write_bytes(b"\n".join(changed) + b"\n")
        (tmp_path / LOCK).unlink(missing_ok=True)
        said = attempt(lambda: read(tmp_path, definition))
        results += said is None
        assert said is None or (str(tmp_path) in said and "\n" not in said)
    record_property("damaged", f"{DAMAGED} records, {results} results")
    assert 0 < results < DAMAGED


def leaves(node, *path):
    """Yield the path of every number."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(child, dict | list):
            yield from leaves(child, *path, key)
        elif isinstance(child, int | float):
            yield *path, key


def test_no_number_of_a_record_asks_for_more_than_a_moment(finished, tmp_path):
    """Each number of each kind of event, far out of bounds: a bomb would be one value in thousands."""
    source, definition = finished
    lines = (source / RECORD).read_bytes().splitlines()
    (tmp_path / STUDY).write_bytes((source / STUDY).read_bytes())
    seen, results = set(), 0
    for place, line in enumerate(lines):
        for *above, last in leaves(json.loads(line)):
            kind = (
                json.loads(line)["event"],
                *("#" if isinstance(key, int) else key for key in (*above, last)),
            )
            if kind in seen:
                continue
            seen.add(kind)
            for value in (2**31 - 1, 1e308):
                event = json.loads(line)
                reduce(getitem, above, event)[last] = value
                changed = [*lines[:place], json.dumps(event).encode(), *lines[place + 1 :]]
                (tmp_path / RECORD).write_bytes(b"\n".join(changed) + b"\n")
                (tmp_path / LOCK).unlink(missing_ok=True)
                said = attempt(lambda: read(tmp_path, definition))
                results += said is None
                assert said is None or (str(tmp_path) in said and "\n" not in said), (kind, value)
    assert len(seen) > 100
    assert 0 < results < 2 * len(seen)


def test_the_whole_record_is_a_result(finished, tmp_path):
    for name in (RECORD, STUDY):
        (tmp_path / name).write_bytes((finished[0] / name).read_bytes())
    read(tmp_path, finished[1])


@pytest.mark.parametrize("text", ["", "process 1 on\n", "x" * 10**6])
def test_whatever_the_lock_says_nothing_waits_for_it(text, finished, tmp_path):
    for name in (RECORD, STUDY):
        (tmp_path / name).write_bytes((finished[0] / name).read_bytes())
    (tmp_path / LOCK).write_text(text)
    assert RunFolder(tmp_path).holder is None
