"""Where a run's trainings run (`--engine`), and how the data gets there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scalesearch.cli.evaluation import make_evaluate
from scalesearch.errors import InputError
from scalesearch.search.engines import Evaluate
from scalesearch.search.engines.local import LocalEngine
from scalesearch.training.calibration import Setting
from scalesearch.training.data import CacheError, DataSet, open_cached
from scalesearch.training.data.cache import building, cache_folder
from scalesearch.training.graph import Execution
from scalesearch.training.recipe import Recipe

if TYPE_CHECKING:  # it loads Ray
    from scalesearch.search.engines.ray import RayEngine
    from scalesearch.search.engines.ray_cluster import Resources

LOCAL, RAY = "local", "ray"
Files = dict[str, np.ndarray]  # uint8, by name


@dataclass(frozen=True)
class Place:
    """What the command line says of where trainings run.

    Attributes:
        engine: "local" or "ray". address: of a standing Ray cluster; None starts Ray on this machine.
        cpus: cores that a training on Ray holds, and its threads. gpus: the GPUs that it holds there, which
            may be a fraction of one; None is one where the cluster has any.

    Raises InputError for options that do not belong together, and where Ray is asked for and not installed.
    """

    engine: str = LOCAL
    address: str | None = None
    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.engine not in (LOCAL, RAY):
            raise InputError(f"--engine is local or ray, but got {self.engine!r}")
        if self.engine == LOCAL and (self.address is not None or self.cpus != 1 or self.gpus is not None):
            raise InputError("--address, --cpus-per-trial and --gpus-per-trial belong to --engine ray")
        if self.gpus is not None and (self.gpus < 0 or self.gpus > 1):
            raise InputError(f"--gpus-per-trial: a training uses at most one GPU, but got {self.gpus:g}")
        if self.engine == RAY and importlib.util.find_spec("ray") is None:
            raise InputError("--engine ray needs Ray: pip install 'scalesearch[ray]'")

    def resources(self, device: str) -> Resources:
        """Return what a training on Ray holds of its node."""
        from scalesearch.search.engines.ray_cluster import Resources

        gpus = 1.0 if self.gpus is None else self.gpus
        return Resources(self.cpus, gpus if device == "cuda" else 0.0)


HERE = Place()


def staff_ray(place: Place, workers: int, device: str) -> tuple[Setting, str]:
    """Look at the cluster and return how many trainings at once with how many threads, and the device.

    `workers` is as asked for, 0 (auto) being as many as the cluster holds now; more than that wait for it to
    grow. Raises InputError where the cluster is not reached or holds no training.
    """
    from scalesearch.search.engines.ray_cluster import check_room, connected, nodes, room

    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device}: Ray gives each training its GPU, so say cuda")
    with connected(place.address):
        if device == "auto":
            device = "cuda" if place.gpus != 0 and any(node.gpus for node in nodes()) else "cpu"
        wanted = place.resources(device)
        check_room(wanted)
        return Setting(workers or room(wanted), place.cpus), device


def make_engine(
    place: Place,
    setting: Setting,
    data: DataSet,
    recipe: Recipe,
    device: str,
    execution: Execution,
    patience: float,
    say: Callable[[str], None],
) -> LocalEngine | RayEngine:
    """Return the engine that trains on this data; to be used in a `with` statement.

    `patience` is how many seconds a training may take without a step before it is failed.
    """
    how = recipe, device, setting.threads, execution
    if place.engine == LOCAL:
        return LocalEngine(setting.workers, partial(make_evaluate, data.folder, *how), patience, say)
    from scalesearch.search.engines.ray import RayEngine

    return RayEngine(
        setting.workers,
        partial(evaluate_there, data.folder, data.fingerprint, *how),
        address=place.address,
        resources=place.resources(device),
        goods=(packed(data.folder),),
        patience=patience,
        say=say,
    )


def evaluate_there(
    folder: Path,
    fingerprint: str,
    recipe: Recipe,
    device: str,
    threads: int,
    execution: Execution,
    fetch: Callable[[], Files],
) -> Evaluate:
    """Build the evaluator on a node that may not have the driver's data cache."""
    return make_evaluate(on_this_node(folder, fingerprint, fetch), recipe, device, threads, execution)


def packed(folder: Path) -> Files:
    """Return the files of a cached data set, mapped and not read."""
    files = (path for path in folder.iterdir() if path.is_file())
    return {path.name: np.asarray(np.memmap(path, dtype=np.uint8, mode="r")) for path in files}


def on_this_node(folder: Path, fingerprint: str, fetch: Callable[[], Files]) -> Path:
    """Return where the data set lies on this node; it is fetched where it is not there yet.

    `folder` is where it lies on the driver's machine, which this may be. Raises InputError where the node's
    data cache cannot be written.
    """
    own = cache_folder() / folder.name
    holds: Any = partial(_holds, fingerprint)
    for known in (folder, own):
        if holds(known):
            return known
    with building(own, holds) as scratch:
        for name, content in fetch().items():
            content.tofile(scratch / name)
    return own


def _holds(fingerprint: str, folder: Path) -> bool:
    try:
        return open_cached(folder).fingerprint == fingerprint
    except CacheError:
        return False
