"""Files that are there when all of them is written, and stay as they were where that fails."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.table import Column, arrow_schema

PARQUET = ".parquet"
_PARTIAL = ".partial-"  # begins the name of what is being written, or was when its writer was killed


def is_partial(path: Path) -> bool:
    """Return whether a file is one that is being written: a glob finds it too."""
    return path.name.startswith(_PARTIAL)


def sweep(folder: Path) -> None:
    """Remove what killed writers left in a folder; only where nobody else writes there meanwhile."""
    for left in folder.glob(f"{_PARTIAL}*"):
        left.unlink(missing_ok=True)


def check_suffix(path: Path, suffixes: tuple[str, ...] = (PARQUET,)) -> None:
    """Raise ValueError where the name of a file does not say what is to be written there: asked before the work."""
    if not path.name.endswith(suffixes):
        told = " or ".join(suffixes)
        raise ValueError(f"the name of the table to write must end with {told}, but {str(path)!r} does not")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, with its suffixes; what was written takes its place at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{_PARTIAL}{os.getpid()}-{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def parquet_writer(path: Path, columns: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Give a writer whose file takes its place at the end. Raises ValueError where its name is not one of Parquet."""
    check_suffix(path)
    with whole(path) as beside, pq.ParquetWriter(beside, columns, compression="zstd") as writer:
        yield writer
        writer.close()


def write_frame(path: Path, frame: pd.DataFrame, columns: Sequence[Column]) -> None:
    """Write a frame that keeps a contract as Parquet."""
    schema = arrow_schema(columns)
    with parquet_writer(path, schema) as writer:
        writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))


def write_text(path: Path, text: str) -> None:
    """Write a text, UTF-8."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")
