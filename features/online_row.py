"""How one window row lies online: layout, window_end and every feature as one string of bytes.

One value per row, because an online store is paid by the value: docs/decisions/0003-one-online-value.md.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from features.table import Column

_NUMPY = {"int64": "<i8", "float64": "<f8", "bool": "?"}
_ABSENT = {"int64": 0, "float64": np.nan, "bool": False}
_TAG = np.dtype("S16")  # 64 bits in hex


@dataclass(frozen=True)
class Layout:
    """Which features an online row holds, in which order, as what: (name, dtype) of each.

    Every row begins with the tag of its layout, so that no row is ever read as one of another layout.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, features: Sequence[Column]) -> "Layout":
        """Return the layout of declared features. Raises ValueError for one that has no fixed width."""
        for column in features:
            if column.dtype not in _NUMPY:
                raise ValueError(
                    f"an online feature is one of {list(_NUMPY)}, but {column.name} is {column.dtype}"
                )
        return cls(tuple((column.name, column.dtype) for column in features))

    @classmethod
    def from_json(cls, text: bytes) -> "Layout":
        """Return the layout that `to_json` told."""
        return cls(tuple((name, dtype) for name, dtype in json.loads(text)))

    def to_json(self) -> bytes:
        """Return the fields as JSON."""
        return json.dumps(self.fields).encode()

    @cached_property
    def tag(self) -> str:
        """A hash of the fields: equal layouts, and in practice no others, have equal tags."""
        return hashlib.blake2b(self.to_json(), digest_size=_TAG.itemsize // 2).hexdigest()

    @cached_property
    def row(self) -> np.dtype[np.void]:
        """The bytes of one row, little-endian and unpadded; window_end in microseconds since 1970."""
        features = [(name, _NUMPY[dtype]) for name, dtype in self.fields]
        return np.dtype([("layout", _TAG), ("window_end", "<i8"), ("features", features)])

    def pack(self, rows: pd.DataFrame) -> list[bytes]:
        """Return the online form of each row. rows: device_id, window_end (aware) and the features.

        Raises ValueError naming device and feature where a whole number or truth value is empty.
        """
        packed = np.empty(len(rows), dtype=self.row)
        packed["layout"] = self.tag.encode()
        packed["window_end"] = rows["window_end"].astype("datetime64[us, UTC]").astype("int64")
        for name, dtype in self.fields:
            if dtype != "float64" and (empty := rows[name].isna()).any():
                device = rows["device_id"][empty].iloc[0]
                fact = f"the newest row of device {device!r} has none"
                raise ValueError(f"windows.{name} must not be empty, but {fact}; build the features again")
            packed["features"][name] = rows[name]
        content, size = packed.tobytes(), self.row.itemsize
        return [content[start : start + size] for start in range(0, len(content), size)]


def unpack(
    rows: Sequence[bytes], features: Sequence[Column], layout_of: Callable[[str], Layout]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return window_end, datetime64[us] (n,), and the asked features, a frame (n, f), of online rows.

    rows: b"" where there is none; in any layouts. layout_of: returns the layout with a tag.
    A feature keeps its dtype, but int64 is Int64 and bool is boolean if a row is absent: NaT, NaN, <NA>.
    Raises ValueError when a layout lacks a feature, or has it as another dtype.
    """
    there = np.array([len(row) > 0 for row in rows], dtype=bool)
    names: dict[str, list[str]] = {}
    for column in features:
        names.setdefault(column.dtype, []).append(column.name)
    blocks = {
        dtype: np.full((len(rows), len(group)), _ABSENT[dtype], dtype=_NUMPY[dtype])
        for dtype, group in names.items()
    }
    ends = np.full(len(rows), np.datetime64("NaT", "us"))
    tags = np.frombuffer(b"".join(row[: _TAG.itemsize] for row in rows), dtype=_TAG)
    for tag in np.unique(tags):
        layout = layout_of(tag.decode())
        _check_has(layout, features)
        places = np.flatnonzero(there)[tags == tag]
        packed = np.frombuffer(b"".join(rows[place] for place in places), dtype=layout.row)
        ends[places] = packed["window_end"].astype("datetime64[us]")
        values = packed["features"]
        for dtype, group in names.items():
            for place, name in enumerate(group):
                blocks[dtype][places, place] = values[name]
    frames = [_block(block, dtype, ~there) for dtype, block in blocks.items()]
    return ends, _side_by_side(frames, [name for group in names.values() for name in group], features)


def _side_by_side(
    frames: Sequence[pd.DataFrame], names: Sequence[str], features: Sequence[Column]
) -> pd.DataFrame:
    """Return one frame of the columns with these names, in the order of the features.

    By place: to make a frame by columns, or to pick columns by name, costs more than to look a device up.
    """
    places = {name: place for place, name in enumerate(names)}
    asked = [column.name for column in features]
    whole = pd.concat(frames, axis=1, ignore_index=True)
    return whole.take([places[name] for name in asked], axis=1).set_axis(asked, axis=1)


def _check_has(layout: Layout, features: Sequence[Column]) -> None:
    held = set(layout.fields)
    lacking = [f"{one.name} ({one.dtype})" for one in features if (one.name, one.dtype) not in held]
    if lacking:
        fact = f"those of another version of the program have no {lacking}"
        raise ValueError(
            f"online rows must hold every feature asked for, but {fact}; build the features again"
        )


def _block(values: np.ndarray, dtype: str, absent: np.ndarray) -> pd.DataFrame:
    if dtype == "float64" or not absent.any():
        return pd.DataFrame(values)
    nullable: Any = (
        pd.arrays.IntegerArray if dtype == "int64" else pd.arrays.BooleanArray
    )  # Any: no common base
    columns = {place: nullable(column.copy(), absent.copy()) for place, column in enumerate(values.T)}
    return pd.DataFrame(columns, index=range(len(values)))
