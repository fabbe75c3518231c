"""Parquet files in the layout of the Hugging Face hub: an image column and an integer label column."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scalesearch.errors import InputError
from scalesearch.training.data.decode import BATCH, LARGEST_SIDE, Encoded, decode_all, larger
from scalesearch.training.data.pool import PARTS, Pool, Progress, identify


class Columns(NamedTuple):
    """Which columns hold image and label; `classes` is empty where the schema does not name them."""

    image: str
    label: str
    classes: tuple[str, ...]
    other_labels: tuple[str, ...]


@dataclass(frozen=True)
class ParquetFolder:
    """A folder with `*train*.parquet` and perhaps `*test*.parquet` and `*validation*.parquet` in it."""

    root: Path
    files: tuple[tuple[str, Path], ...]
    largest: int = LARGEST_SIDE
    demonstration = False

    @property
    def where(self) -> str:
        """What errors name."""
        return str(self.root)

    def identity(self) -> list[object]:
        """See Source.identity."""
        return ["parquet", *larger(self.largest), *identify([file for _, file in self.files], self.root)]

    def read(self, scratch: Path, progress: Progress) -> Pool:
        """See Source.read; raises InputError for a file whose columns or labels break the rules."""
        columns = self._columns()
        classes = self._check_labels(columns)
        decoded = decode_all(self.where, lambda: self._batches(columns), scratch, progress, self.largest)
        chosen = f", labels {columns.label}" if columns.other_labels else ""
        name = f"{self.root.name} (Parquet, {decoded.summary}{chosen})"
        return Pool(
            name,
            classes,
            decoded.images,
            decoded.labels,
            decoded.parts,
            decoded.skipped,
            keys=decoded.keys,
        )

    def _columns(self) -> Columns:
        (_, first), *others = self.files
        columns = read_columns(first)
        for _, file in others:
            if read_columns(file) != columns:
                raise InputError(f"{file}: its columns or class names differ from those of {first}")
        return columns

    def _check_labels(self, columns: Columns) -> tuple[str, ...]:
        values = {file: _labels(file, columns.label) for _, file in self.files}
        largest = max(int(labels.max(initial=-1)) for labels in values.values())
        classes = columns.classes or tuple(str(number) for number in range(largest + 1))
        for file, labels in values.items():
            outside = labels[(labels < 0) | (labels >= len(classes))]
            if len(outside):
                raise InputError(f"{file}: {columns.label} {outside[0]} is outside 0..{len(classes) - 1}")
        return classes

    def _batches(self, columns: Columns) -> Iterator[list[Encoded]]:
        import pyarrow.parquet as pq

        for part, file in self.files:
            row = 0
            with readable(file), pq.ParquetFile(file) as table:
                for batch in table.iter_batches(BATCH, columns=[columns.image, columns.label]):
                    images = batch.column(columns.image).to_pylist()
                    labels = batch.column(columns.label).to_pylist()
                    pairs = enumerate(zip(images, labels, strict=True), row)
                    yield [
                        _encoded(file, number, part, image or {}, label) for number, (image, label) in pairs
                    ]
                    row += len(images)


def find_parquet(root: Path, largest: int = LARGEST_SIDE) -> ParquetFolder | None:
    """Look for Parquet files at any depth; None where no file name tells of a training part."""
    found = [(part_of(file), file) for file in sorted(root.rglob("*.parquet")) if _visible(file, root)]
    files = tuple((part, file) for part, file in found if part is not None)
    if not any(part == "train" for part, _ in files):
        return None
    return ParquetFolder(root, files, largest)


def part_of(file: Path) -> str | None:
    """Which part a file name tells of: "train-00000-of-00001.parquet" is "train"; None if none.

    Raises InputError where it tells of two.
    """
    words = re.findall("[a-z]+", file.stem.lower())
    parts = {PARTS[word] for word in words if word in PARTS}
    parts = parts or {PARTS[word] for word in ("train", "validation", "test") if word in file.stem.lower()}
    if len(parts) > 1:
        raise InputError(f"{file}: its name tells of more than one part ({', '.join(sorted(parts))})")
    return parts.pop() if parts else None


def read_columns(file: Path) -> Columns:
    """Find image and label column and the class names in a Parquet file's schema.

    Of several label columns the one called "label" is taken, else the first. Raises InputError where
    the file cannot be read or a column is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with readable(file):
        schema = pq.read_schema(file)
    images = [field.name for field in schema if _is_image(field.type)]
    if not images:
        raise InputError(f"{file}: no column of images (structs of bytes and path) among {schema.names}")
    features = _features(schema.metadata or {})
    integers = [field.name for field in schema if pa.types.is_integer(field.type)]
    labels = [name for name in integers if features.get(name, {}).get("_type") == "ClassLabel"] or integers
    if not labels:
        raise InputError(f"{file}: no column of integer labels among {schema.names}")
    label = "label" if "label" in labels else labels[0]
    names = tuple(features.get(label, {}).get("names") or ())
    return Columns(images[0], label, names, tuple(name for name in labels if name != label))


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turn what pyarrow raises for a broken file into an InputError that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file} cannot be read as a Parquet file: {reason}") from error


def _visible(file: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    binary = (pa.binary(), pa.large_binary())
    return pa.types.is_struct(kind) and any(field.name == "bytes" and field.type in binary for field in kind)


def _features(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _labels(file: Path, column: str) -> np.ndarray:
    import pyarrow.parquet as pq

    with readable(file):
        values = pq.read_table(file, columns=[column]).column(column)
    if values.null_count:
        raise InputError(f"{file}: {values.null_count} rows have no label ({column})")
    return np.asarray(values.to_numpy())


def _encoded(file: Path, row: int, part: str, image: dict[str, Any], label: int) -> Encoded:
    inner = f" ({image['path']})" if image.get("path") else ""
    return Encoded(f"{file.name} row {row}{inner}", part, label, image.get("bytes"))
