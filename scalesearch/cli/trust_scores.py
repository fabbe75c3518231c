"""Zero-cost scores of a survey's networks, measured once: score and seconds, kept in a Parquet file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.progress import track

from scalesearch.architecture.document import from_document
from scalesearch.search.study import digest
from scalesearch.search.tables import read_parquet, write_parquet
from scalesearch.training.augment import DeviceData, prepare
from scalesearch.training.data import DataSet
from scalesearch.training.scores import SCORES, scores

IMAGES = 64  # training images of the batch that every network is scored on
SEED = 0


@dataclass(frozen=True)
class Scored:
    """One score of one network, and the seconds that it took, the network's construction included."""

    value: float
    seconds: float


class ScoreTable:
    """The scores of networks on a data set, in a file that spares measuring them again."""

    def __init__(self, path: Path, data: DataSet, device: str) -> None:
        self.path, self._data, self._device = path, data, device
        self._rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            frame = read_parquet(path, ("key", *SCORES, *map(_seconds, SCORES)))
            self._rows = {str(row["key"]): row for row in frame.to_dict("records")}  # type: ignore[misc]

    def of(
        self, networks: Mapping[str, str], console: Console, stop_requested: Callable[[], bool]
    ) -> dict[str, dict[str, Scored]] | None:
        """Return the scores by network's name and score, or None where a stop was asked for before the end.

        `networks` has documents as JSON by name.
        """
        keys = {name: self._key(json.loads(document)) for name, document in networks.items()}
        missing = [name for name in networks if keys[name] not in self._rows]
        if missing:
            wanted = {keys[name]: json.loads(networks[name]) for name in missing}
            self._measure(wanted, console, stop_requested)
        if not self._rows.keys() >= set(keys.values()):
            return None
        return {name: _scored(self._rows[key]) for name, key in keys.items()}

    def _key(self, network: Mapping[str, Any]) -> str:
        unnamed = {name: value for name, value in network.items() if name != "name"}
        return digest([unnamed, self._data.fingerprint, IMAGES, SEED])

    def _measure(
        self,
        networks: Mapping[str, Mapping[str, Any]],
        console: Console,
        stop_requested: Callable[[], bool],
    ) -> None:
        data = DeviceData.of(self._data, self._device)
        shown = track(networks.items(), "scoring networks", console=console, transient=True)
        for key, network in shown:
            if stop_requested():
                return
            self._rows[key] = {"key": key, **dict(self._score(network, data))}
            write_parquet(self.path, pd.DataFrame(list(self._rows.values())))

    def _score(self, document: Mapping[str, Any], data: DeviceData) -> Iterator[tuple[str, float]]:
        network = from_document(document)
        images = prepare(data.train_images[:IMAGES], network.input.size, data)
        labels = data.train_labels[:IMAGES]
        for name in SCORES:
            started = time.perf_counter()
            found = scores(network, [name], images, labels, seed=SEED, device=self._device)
            if torch.device(self._device).type == "cuda":
                torch.cuda.synchronize(self._device)
            yield name, found[name]
            yield _seconds(name), time.perf_counter() - started


def _seconds(name: str) -> str:
    return f"{name}_seconds"


def _scored(row: Mapping[str, Any]) -> dict[str, Scored]:
    return {name: Scored(float(row[name]), float(row[_seconds(name)])) for name in SCORES}
