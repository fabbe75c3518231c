"""What the parts of networks take on this machine: measured once, kept in the user's cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scalesearch.architecture.latency import LatencyModel, segments
from scalesearch.architecture.network import Network
from scalesearch.files import replace_file, taking_turns
from scalesearch.training.build import build
from scalesearch.training.calibration import machine
from scalesearch.training.data.cache import cache_folder
from scalesearch.training.latency import WARM_SHARE, Bench, Conditions, Timing, repeated, timing_of, warm_up

FILE = "latency.json"
SCHEMA = 1
SECONDS = 0.5  # of a network whose parts are timed


@dataclass(frozen=True)
class Known:
    """What is known of one machine under one set of conditions.

    Attributes:
        parts: timings by the key of a segment. model: learnt from random networks and their parts.
    """

    parts: Mapping[str, Timing] = field(default_factory=dict)
    model: LatencyModel | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Known:
        """Read what `to_json` wrote; ValueError, TypeError or KeyError where it is something else."""
        parts = {key: Timing(*row) for key, row in data["parts"].items()}
        return cls(parts, data["model"] and LatencyModel.from_json(data["model"]))

    def to_json(self) -> dict[str, Any]:
        """Return plain data; a part is a row of median, quartiles and passes."""
        rows = {key: list(asdict(one).values()) for key, one in self.parts.items()}
        return {"model": self.model and self.model.to_json(), "parts": rows}

    def missing(self, network: Network) -> int:
        """Return how many different parts of a network are not in the table."""
        return len({segment.key for segment in segments(network)} - set(self.parts))

    def seconds(self, network: Network) -> float | None:
        """Return the seconds that the parts of a network add up to, or None where one was never measured."""
        if self.missing(network):
            return None
        return sum(self.parts[segment.key].median for segment in segments(network))


def key_of(conditions: Conditions) -> dict[str, Any]:
    """Return what timings depend on: this machine, its software, and the conditions."""
    described = {name: value for name, value in asdict(conditions).items() if name != "device"}
    return machine(conditions.device) | described


class Cache:
    """The tables of all machines and conditions that use one cache folder, in one JSON file."""

    def __init__(self, say: Callable[[str], None], folder: Path | None = None) -> None:
        self.path, self._say = (folder or cache_folder()) / FILE, say

    def read(self, conditions: Conditions) -> Known:
        """Return what is known; a damaged file is said to be, and counts as empty."""
        key = key_of(conditions)
        return next((known for one, known in self._entries() if one == key), Known())

    def write(self, conditions: Conditions, known: Known) -> None:
        """Add to what is known, which it replaces part by part; where it cannot be kept, that is said.

        Processes that write at once wait for each other, so that none loses what another has measured.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with taking_turns(self.path):
                self._add(key_of(conditions), known)
        except OSError as error:
            self._say(f"the latencies cannot be kept in {self.path}: {error.strerror}")

    def _add(self, key: Mapping[str, Any], known: Known) -> None:
        entries = self._entries()
        before = next((other for one, other in entries if one == key), Known())
        added = Known({**before.parts, **known.parts}, known.model or before.model)
        kept = [(one, other) for one, other in entries if one != key]
        tables = [{"machine": one, **other.to_json()} for one, other in [*kept, (key, added)]]
        replace_file(self.path, json.dumps({"schema": SCHEMA, "tables": tables}, indent=1).encode())

    def _entries(self) -> list[tuple[dict[str, Any], Known]]:
        if not self.path.is_file():
            return []
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            return [(dict(table["machine"]), Known.from_json(table)) for table in stored["tables"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            self._say(f"{self.path} is damaged ({type(error).__name__}): latencies are measured anew")
            return []


class _Stamps:
    """Notes when each part of a network has ended, pass by pass: on CUDA as events in the stream."""

    def __init__(self, module: nn.Module, paths: Sequence[str], bench: Bench) -> None:
        self._bench, self._marks = bench, list[Any]()
        for path in paths:
            module.get_submodule(path).register_forward_hook(lambda *_: self._marks.append(self._mark()))

    def once(self) -> list[float]:
        """Return the seconds of each part in one pass."""
        self._marks = [self._mark()]
        self._bench.run()
        return [self._between(one, after) for one, after in pairwise(self._marks)]

    def _mark(self) -> Any:
        if not self._bench.conditions.cuda:
            return self._bench.read()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _between(self, one: Any, after: Any) -> float:
        return float(one.elapsed_time(after) / 1e3 if self._bench.conditions.cuda else after - one)


def measure_parts(network: Network, conditions: Conditions, seconds: float = SECONDS) -> dict[str, Timing]:
    """Measure the parts of a network in this process, by their keys, in passes of the whole network.

    Within it, since alone a part finds its weights and input in the caches: on the CPU, networks took 1.1 to
    2.6 times as long as their parts did alone.
    """
    timed = list(segments(network))
    with torch.inference_mode():
        module = build(network)
        bench = Bench(module, (network.in_channels, *network.input.size), conditions)
        stamps = _Stamps(module, [one.path for one in timed], bench)
        warm_up(lambda: sum(stamps.once()), WARM_SHARE * seconds)
        passes = repeated(stamps.once, (1 - WARM_SHARE) * seconds)
    by_key: dict[str, list[float]] = {}
    for number, segment in enumerate(timed):
        by_key.setdefault(segment.key, []).extend(one[number] for one in passes)
    return {key: timing_of(taken) for key, taken in by_key.items()}
