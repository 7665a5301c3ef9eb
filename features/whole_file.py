"""A Parquet file that is there when all of it is written, and not at all where that fails."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@contextmanager
def parquet_writer(path: Path, columns: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Give a writer whose file takes its place at the end; an earlier one stays until then, and where it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(beside, columns, compression="zstd") as writer:
            yield writer
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
