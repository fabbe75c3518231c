"""The judgement of a comparison: what each trained network says of images that nothing was chosen by.

The test images are read here and nowhere else, and only when the last training has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalesearch.architecture.document import from_document
from scalesearch.errors import InputError
from scalesearch.search.survey import Planned, SurveyTable
from scalesearch.search.tables import read_parquet, write_parquet
from scalesearch.training.augment import DeviceData
from scalesearch.training.data import DataSet, Split
from scalesearch.training.process import prepare_process

Part = Literal["test", "report"]
Right = NDArray[np.bool_]

_COLUMNS = ("key", "part", "fingerprint", "images", "look", "right")


def part_of(data: DataSet) -> Part:
    """Return the part of the data that judges: test, or report where there is no test part."""
    return "report" if data.test is None else "test"


@dataclass(frozen=True)
class Judged:
    """The answers of all trained networks.

    Attributes:
        part: of the data. images: how many it has.
        right: by training, (images,), True where the answer is right.
        looks: how many trainings were judged at the first reading of the images, the second, and so on.
    """

    part: Part
    images: int
    right: Mapping[str, Right]
    looks: tuple[int, ...]


class Judgement:
    """The table of answers in a Parquet file, one row a training, each written as soon as it is there."""

    def __init__(self, path: Path, data: DataSet, device: str) -> None:
        self.path, self._data, self._device = path, data, device
        self.part = part_of(data)
        self._rows = self._read() if path.exists() else []

    def _read(self) -> list[dict[str, Any]]:
        frame = read_parquet(self.path, _COLUMNS)
        here = {"part": self.part, "fingerprint": self._data.fingerprint}
        for column, wanted in here.items():
            if set(frame[column]) - {wanted}:
                raise InputError(f"{self.path} holds answers on other data: give this comparison a folder")
        return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]

    def of(
        self, planned: Sequence[Planned], table: SurveyTable, say: Callable[[str], None] = lambda _line: None
    ) -> Judged:
        """Return the answers of all complete trainings, asking only those networks that were not asked yet.

        Weights are removed once their answers are on the disk. Raises RuntimeError where a planned training
        has not ended, InputError where weights are gone that were not judged.
        """
        if not {one.key for one in planned} <= table.keys:
            raise RuntimeError("the images that judge are read after the last training, not before")
        complete = {row["key"] for row in table.rows if row["status"] == "complete"}
        wanted = [one for one in planned if one.key in complete]
        known = {row["key"] for row in self._rows}
        if missing := [one for one in wanted if one.key not in known]:
            self._ask(missing, table, say)
        right = {row["key"]: _unpacked(row) for row in self._rows}
        keys = [one.key for one in wanted]
        looks = [row["look"] for row in self._rows if row["key"] in set(keys)]
        counted = tuple(looks.count(look) for look in sorted(set(looks)))
        images = max((len(one) for one in right.values()), default=0)
        return Judged(self.part, images, {key: right[key] for key in keys}, counted)

    def _ask(self, missing: Sequence[Planned], table: SurveyTable, say: Callable[[str], None]) -> None:
        for one in missing:
            if not table.weights_of(one.key).is_file():
                raise InputError(
                    f"{table.weights_of(one.key)}: the weights of {one.name}, seed {one.seed}, are gone "
                    "before they were judged: compare again in another folder"
                )
        from scalesearch.training.testing import right_answers

        prepare_process(1)  # a core that others use too slows two threads down to less than one
        data = DeviceData.of(self._data, self._device)
        images, labels = _tensors(self._judging(), self._device)
        say(f"all trainings have ended: the {len(labels):,} {self.part} images are read now")
        look = 1 + max((row["look"] for row in self._rows), default=0)
        for one in missing:
            weights = table.weights_of(one.key)
            self._add(one.key, right_answers(from_document(one.network), weights, images, labels, data), look)
            weights.unlink()
        with suppress(OSError):  # not empty where trainings of a larger comparison wait there
            weights.parent.rmdir()

    def _judging(self) -> Split:
        return self._data.report if self._data.test is None else self._data.test

    def _add(self, key: str, right: Right, look: int) -> None:
        row = {
            "key": key,
            "part": self.part,
            "fingerprint": self._data.fingerprint,
            "images": len(right),
            "look": look,
            "right": np.packbits(right).tobytes(),
        }
        self._rows.append(row)
        write_parquet(self.path, pd.DataFrame(self._rows))


def _unpacked(row: Mapping[str, Any]) -> Right:
    bits = np.unpackbits(np.frombuffer(row["right"], dtype=np.uint8), count=row["images"])
    return bits.astype(bool)


def _tensors(split: Split, device: str) -> tuple[Any, Any]:
    import torch

    # Copies: the arrays of the cache are read-only, which torch warns of.
    images, labels = (torch.from_numpy(np.array(part)) for part in (split.images, split.labels))
    return images.to(device), labels.to(device)
