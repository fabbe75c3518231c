"""Replays of searches on recorded trainings: tables, pools, races and regrets.

A replay takes the recorded networks for the whole space: a method chooses among them and is told what the
table knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalesearch.architecture.document import from_document
from scalesearch.errors import InputError
from scalesearch.search.features import feature_matrix
from scalesearch.search.rungs import Entry, Halving, promotions

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Values = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class View:
    """What a method may know of n networks before any is trained: values by leaf, and (n, k) features."""

    params: Sequence[Values]
    features: Floats

    def of(self, rows: Rows) -> View:
        """Return some of the networks."""
        return View([self.params[row] for row in rows], self.features[rows])


@dataclass(frozen=True, eq=False)
class Table:
    """Recorded trainings of n networks.

    Attributes:
        outcomes: by training images, for each network the (loss, accuracy) of each of its seeds.
    """

    view: View
    outcomes: Mapping[int, Sequence[Sequence[tuple[float, float]]]]

    def having(self, *lengths: int) -> Rows:
        """Return the networks that were trained at all of these lengths."""
        known = [[bool(seeds) for seeds in self.outcomes[images]] for images in lengths]
        return np.flatnonzero(np.all(known, axis=0))


def read_table(frame: pd.DataFrame) -> Table:
    """Return a survey's trainings; a failed one counts as the worst of its length."""
    firsts = frame.drop_duplicates("name")
    names = {name: row for row, name in enumerate(firsts["name"])}
    networks = [from_document(json.loads(text)) for text in firsts["network"]]
    view = View([json.loads(text) for text in firsts["sampled"]], feature_matrix(networks))
    outcomes: dict[int, list[list[tuple[float, float]]]] = {}
    for length, trained in frame.groupby("images"):
        loss = trained["val_loss"].fillna(trained["val_loss"].max())
        accuracy = trained["val_accuracy"].fillna(trained["val_accuracy"].min())
        rows = outcomes.setdefault(int(length), [[] for _ in names])
        for name, *figures in zip(trained["name"], loss, accuracy, strict=True):
            rows[names[name]].append((float(figures[0]), float(figures[1])))
    return Table(view, outcomes)


@dataclass(frozen=True, eq=False)
class Pool:
    """One resample of a table: n networks, each with one outcome at each length.

    Attributes:
        loss, accuracy: by training images, (n,).
    """

    view: View
    loss: Mapping[int, Floats]
    accuracy: Mapping[int, Floats]

    def __len__(self) -> int:
        return len(self.view.params)


def resample(table: Table, lengths: Sequence[int], rng: np.random.Generator) -> Pool:
    """Return the networks of a bootstrap resample, with the outcome of one of each network's seeds.

    A network that is drawn again is the same network, and a search trains none twice (D12): it counts once.
    """
    known = table.having(*lengths)
    if not len(known):
        raise InputError(f"no network of the table was trained on {', '.join(map(str, lengths))} images")
    rows = np.unique(rng.choice(known, len(known)))
    drawn = {n: np.array([_any_of(table.outcomes[n][row], rng) for row in rows]) for n in lengths}
    return Pool(
        table.view.of(rows),
        {n: both[:, 0] for n, both in drawn.items()},
        {n: both[:, 1] for n, both in drawn.items()},
    )


def _any_of(seeds: Sequence[tuple[float, float]], rng: np.random.Generator) -> tuple[float, float]:
    return seeds[int(rng.integers(len(seeds)))]


class Method(Protocol):
    """A search: chooses one of the networks that are left, and learns the loss of what it chose."""

    @property
    def asks(self) -> int:
        """Proposals so far, untrained ones too."""
        ...

    def choose(self, left: Rows) -> int:
        """Return one of the networks that are left."""
        ...

    def learn(self, row: int, loss: float) -> None:
        """Take in the loss of the network that was chosen last."""
        ...


@dataclass(frozen=True)
class Step:
    """One training of a replay: which network, on how many images."""

    row: int
    images: int


def race(method: Method, loss: Floats, images: int, trainings: int) -> list[Step]:
    """Return what a method trains, every network on the same number of images; none twice."""
    steps: list[Step] = []
    left = np.arange(len(loss))
    for _ in range(min(trainings, len(loss))):
        row = method.choose(left)
        left = left[left != row]
        method.learn(row, float(loss[row]))
        steps.append(Step(row, images))
    return steps


def race_halving(method: Method, pool: Pool, lengths: Sequence[int], eta: int, images: int) -> list[Step]:
    """Return what a method trains under successive halving until `images` are spent or all is trained.

    The method learns from the shortest length alone, as in a study.
    """
    steps: list[Step] = []
    entries: list[Entry] = []

    def train(row: int, rung: int) -> float:
        loss = float(pool.loss[lengths[rung]][row])
        entries.append(Entry(row, "search", rung, loss))
        steps.append(Step(row, lengths[rung]))
        return loss

    left = np.arange(len(pool))
    while len(left) and sum(step.images for step in steps) < images:
        row = method.choose(left)
        left = left[left != row]
        method.learn(row, train(row, 0))
        while waiting := _waiting(entries, len(lengths), eta):
            train(*waiting[0])
    return steps


def _waiting(entries: Sequence[Entry], rungs: int, eta: int) -> list[tuple[int, int]]:
    trained = {(entry.number, entry.rung) for entry in entries}
    called = promotions(entries, rungs, Halving(eta=eta))
    return [(p.number, p.rung) for p in called if (p.number, p.rung) not in trained]


def incumbents(steps: Sequence[Step], pool: Pool) -> list[int]:
    """Return the network that each step ends with: the lowest loss on the longest trainings so far (D4)."""
    best: list[int] = []
    held: tuple[int, float, int] | None = None
    for step in steps:
        rank = (-step.images, float(pool.loss[step.images][step.row]), step.row)
        held = rank if held is None else min(held, rank)
        best.append(held[2])
    return best


def regrets(rows: Iterable[int], pool: Pool, images: int) -> tuple[Floats, Floats]:
    """Return by how much loss and accuracy of these networks miss the best of the pool, at one length.

    A search ranks by loss. So its regret in loss never rises and is 0 once the best network is found; the
    most accurate network may be another, and the regret in accuracy of the network with the lowest loss may
    rise and stay above 0.
    """
    at = np.fromiter(rows, dtype=np.intp)
    loss, accuracy = pool.loss[images], pool.accuracy[images]
    return loss[at] - loss.min(), accuracy.max() - accuracy[at]
