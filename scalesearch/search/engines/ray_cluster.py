"""The Ray cluster that trainings run on: joining it, and whether it has room."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray
from ray.exceptions import AuthenticationError

from scalesearch.errors import InputError

CONNECT_SECONDS = 10.0
SIGNALS = signal.SIGINT, signal.SIGTERM


class Resources(NamedTuple):
    """What a training holds of its node: CPU cores and GPUs, of which it may hold a fraction."""

    cpus: float
    gpus: float


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join the cluster at an address, or start Ray on this machine, until the block ends.

    Without an address RAY_ADDRESS counts, as elsewhere. A cluster started here has no dashboard and reports
    its use to nobody. Raises InputError where no cluster is reached.
    """
    with _handlers_kept():
        _join(address or os.environ.get("RAY_ADDRESS"))
    try:
        yield
    finally:
        with _handlers_kept():
            ray.shutdown()


@contextmanager
def _handlers_kept() -> Iterator[None]:
    # Ray takes SIGTERM for itself; what an interruption does to a run is the command's to say.
    kept = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _join(address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init("local", include_dashboard=False, **quiet)
        else:
            _check_answers(address)
            ray.init(address, **quiet)
    except AuthenticationError as error:
        rule = "the Ray cluster wants its token (RAY_AUTH_MODE=token with RAY_AUTH_TOKEN)"
        raise InputError(f"--address {address}: {rule}") from error
    except (OSError, ValueError) as error:
        words = " ".join(str(error).split())[:300]
        raise InputError(f"--address {address}: no Ray cluster is reached there ({words})") from error


def _check_answers(address: str) -> None:
    # Ray itself asks an address where nobody is for minutes. What `auto` stands for, Ray alone knows.
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


def nodes() -> list[Resources]:
    """Return the resources of the nodes that the cluster has now."""
    found = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [Resources(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in found]


def room(wanted: Resources) -> int:
    """Return how many trainings the nodes of the cluster hold at once."""
    return sum(_room(node, wanted) for node in nodes())


def _room(node: Resources, wanted: Resources) -> int:
    # In ten thousandths, as Ray counts: 1 / 0.1 is less than 10 in binary fractions.
    pairs = [(round(has * 1e4), round(want * 1e4)) for has, want in zip(node, wanted, strict=True)]
    return min(has // want for has, want in pairs if want)


def check_room(wanted: Resources) -> None:
    """Raise InputError where no node holds a training: Ray would wait for one for ever."""
    if room(wanted) == 0:
        there = ", ".join(f"{one.cpus:g} CPUs and {one.gpus:g} GPUs" for one in nodes())
        raise InputError(
            f"a training holds {wanted.cpus:g} CPUs and {wanted.gpus:g} GPUs of one node, but the cluster's "
            f"nodes have {there}: where nodes start on demand, one of them must stand first"
        )
