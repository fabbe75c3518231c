"""Tables as Parquet files: read with a clear error, replaced in one step."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from scalesearch.errors import InputError
from scalesearch.files import replace_file


def read_parquet(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a table that has at least these columns; InputError where it is damaged or another's."""
    try:
        frame = pd.read_parquet(path)
    except Exception as error:  # pandas and Arrow meet damage with nearly every kind
        raise InputError(f"{path}: no readable Parquet table: {' '.join(str(error).split())}") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: the table has no column {missing[0]!r}, so it is another kind of table")
    return frame


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Replace a table in one step: a reader, or a power cut, finds the old one or the new one."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    replace_file(path, buffer.getbuffer())
