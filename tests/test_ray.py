"""Trainings on a real Ray cluster of several nodes on this machine, one of which is killed."""

import importlib.util
import os
import secrets
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import unavailable
from engines import EngineConformance, events_of, job, outcomes_of
from formula import make
from test_search import definition, results
from test_training import RECIPE, TINY, known

from scalesearch.architecture.document import to_document
from scalesearch.cli.engines import Place, make_engine, on_this_node, packed, staff_ray
from scalesearch.errors import InputError
from scalesearch.search.driver import Driver
from scalesearch.search.engines import Progress
from scalesearch.search.engines.local import LocalEngine
from scalesearch.search.store import RunStore
from scalesearch.search.study import Limits
from scalesearch.training.calibration import Setting
from scalesearch.training.data import load as load_data
from scalesearch.training.data import open_cached
from scalesearch.training.graph import DEFAULT

# Ray 2.60 warns so of its own future defaults.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray")]
MEMORY = 100 * 2**20
STARTS = 3  # Ray gives its processes 15 seconds to start, which on a busy machine may not do


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster of two nodes with one core each; their data cache is not the driver's."""
    if importlib.util.find_spec("ray") is None:
        unavailable("Ray (pip install 'scalesearch[ray]')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("SCALESEARCH_CACHE", str(tmp_path_factory.mktemp("nodes")))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        from ray.cluster_utils import Cluster

        found = Cluster()
        for _ in range(2):
            add_node(found)
        patch.delenv("SCALESEARCH_CACHE")
        yield found
        found.shutdown()


def add_node(cluster, starts=STARTS, cpus=1):
    try:
        return cluster.add_node(num_cpus=cpus, include_dashboard=False, object_store_memory=MEMORY)
    except Exception:
        if starts == 1:
            raise
    return add_node(cluster, starts - 1, cpus)


@pytest.fixture
def ray_engine(cluster):
    from scalesearch.search.engines.ray import RayEngine

    return lambda make_evaluate, workers, **options: RayEngine(
        workers, make_evaluate, address=cluster.address, **options
    )


class TestRayEngine(EngineConformance):
    @pytest.fixture
    def engine(self, ray_engine):
        return ray_engine


def test_what_no_node_could_hold_is_refused(cluster, ray_engine):
    from scalesearch.search.engines.ray_cluster import Resources

    with (
        pytest.raises(InputError, match="holds 2 CPUs and 0 GPUs"),
        ray_engine(make(), 1, resources=Resources(2, 0)),
    ):
        pass
    with pytest.raises(InputError, match=r"holds 1 CPUs and 0\.5 GPUs"):
        staff_ray(Place("ray", cluster.address, gpus=0.5), 0, "cuda")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_an_address_where_no_cluster_answers_is_refused_at_once(address):
    pytest.importorskip("ray")
    with pytest.raises(InputError, match=f"--address {address}: no Ray cluster is reached there"):
        staff_ray(Place("ray", address), 0, "auto")


def test_auto_takes_as_many_workers_as_the_cluster_holds(cluster):
    assert staff_ray(Place("ray", cluster.address), 0, "auto") == (Setting(2, 1), "cpu")
    assert staff_ray(Place("ray", cluster.address), 5, "cpu") == (Setting(5, 1), "cpu")


def test_more_workers_than_room_still_end_every_job(ray_engine):
    with ray_engine(make(), workers=5) as running:
        assert len(outcomes_of(running, [job(number) for number in range(8)])) == 8


def search(folder, engine, trials, on_status=lambda _status: None):
    with RunStore(folder) as store, engine as running:
        ending = Driver(definition(), store, running, on_status).run(Limits(trials=trials))
        return ending, store.finished


def children(pid):
    """The processes that a process has started, and theirs."""
    own = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                own.append(int(status.parent.name))
    return [one for child in own for one in (child, *children(child))]


def kill(node):
    """Let a node vanish with everything on it, as a machine does that loses its power."""
    pids = [one.process.pid for kind in node.all_processes.values() for one in kind]
    trainings = [one for pid in pids for one in children(pid) if one not in pids]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in (*trainings, *pids):
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_node_loses_nothing_and_changes_no_result(cluster, ray_engine, tmp_path):
    third, said, killed = add_node(cluster), [], []
    engine = ray_engine(make(pause=1.0, jitter=0.2), 3, say=said.append)

    def on_status(status):
        busy = all(slot.job is not None for slot in engine._slots)
        if not killed and len(status.trials) >= 4 and busy:
            killed.append(third.node_id)
            kill(third)

    ending, trials = search(tmp_path / "killed", engine, 14, on_status)
    _, undisturbed = search(tmp_path / "local", LocalEngine(3, make()), 14)
    assert killed
    assert len(said) == 1
    assert said[0].endswith("its training is tried again, attempt 2 of 3")
    assert ending == "trials"
    assert sorted(t.number for t in trials if t.role == "search") == list(range(14))
    assert {t.outcome.status for t in trials} == {"complete"}
    assert results(trials) == results(undisturbed)


def test_a_cluster_that_loses_its_last_node_with_room_is_waited_for_and_given_up_in_the_end(
    cluster, ray_engine
):
    from scalesearch.search.engines.ray_cluster import Resources

    node, said = add_node(cluster, cpus=2), []
    with ray_engine(make(pause=30.0), 1, resources=Resources(2, 0), barren=3.0, say=said.append) as running:
        running.submit(job(0))
        events_of(running, lambda events: any(isinstance(event, Progress) for event in events))
        kill(node)
        with pytest.raises(InputError, match="for 3 s no node of the cluster could hold a training; what"):
            events_of(running, lambda _events: False)
    assert said[-1] == "no node of the cluster could hold a training; one is waited for, at most 3 s"


def files(folder, number):
    return {name: str(folder / f"{number}.{name}") for name in ("weights", "checkpoint")}


def test_real_trainings_give_the_same_as_on_one_machine(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path / "cache"))
    data, found = load_data("digits"), []
    for place in (Place(), Place("ray", cluster.address)):
        folder = tmp_path / place.engine
        folder.mkdir()
        jobs = [
            replace(job(number, images=128), network=to_document(TINY), **files(folder, number))
            for number in range(2)
        ]
        engine = make_engine(place, Setting(1, 1), data, RECIPE, "cpu", DEFAULT, 600.0, print)
        if place.engine == "ray":  # where the data's folder is out of reach, it comes through the store
            data.folder.rename(tmp_path / "elsewhere")
        with engine as running:
            outcomes = outcomes_of(running, jobs)
        weights = [Path(one.weights).read_bytes() for one in jobs]
        assert [outcomes[n].checkpoint for n in range(2)] == [one.weights for one in jobs]
        found.append(([known(outcomes[n]) for n in range(2)], weights))
    assert found[0] == found[1]
    assert found[0][0][0].status == "complete"


def test_data_is_fetched_once_and_again_where_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path / "driver"))
    data, fetched = load_data("digits"), []

    def fetch():
        fetched.append(1)
        return packed(data.folder)

    assert on_this_node(data.folder, data.fingerprint, fetch) == data.folder
    assert not fetched
    monkeypatch.setenv("SCALESEARCH_CACHE", str(tmp_path / "node"))
    absent = tmp_path / "absent" / data.folder.name
    for _ in range(2):
        here = on_this_node(absent, data.fingerprint, fetch)
    assert len(fetched) == 1
    assert here.parent == tmp_path / "node"
    assert (open_cached(here).train.images == data.train.images).all()
    (here / "train.labels.npy").write_bytes(b"")
    assert on_this_node(absent, data.fingerprint, fetch) == here
    assert open_cached(here).fingerprint == data.fingerprint
    assert len(fetched) == 2


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"engine": "dask"}, "--engine is local or ray"),
        ({"address": "auto"}, "belong to --engine ray"),
        ({"engine": "ray", "gpus": 2.0}, "at most one GPU"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(options, rule):
    with pytest.raises(InputError, match=rule):
        Place(**options)
