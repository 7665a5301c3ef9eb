"""How one window row lies online: the tag of its layout, its window_end, then every feature, as one string of bytes.

One value per row because an online store is paid per value: docs/decisions/0003-one-online-value-per-device.md.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from features.table import Column

_NUMPY = {"int64": "<i8", "float64": "<f8", "bool": "?"}
_EMPTY = {"int64": 0, "float64": np.nan, "bool": False}
_TAG = np.dtype("<u8")


@dataclass(frozen=True)
class Layout:
    """Which features an online row holds, in which order, as what.

    fields: (name, dtype) of each feature. Every row begins with the tag of its layout, a hash of these fields, so that
    no vector is ever read as another one.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, features: Sequence[Column]) -> "Layout":
        """Return the layout of declared features. Raises ValueError for one that is not a number or a truth value."""
        for column in features:
            if column.dtype not in _NUMPY:
                raise ValueError(f"an online feature must be one of {list(_NUMPY)}, but {column.name} is {column.dtype}")
        return cls(tuple((column.name, column.dtype) for column in features))

    @classmethod
    def from_json(cls, text: bytes) -> "Layout":
        """Return the layout that `to_json` described."""
        return cls(tuple((name, dtype) for name, dtype in json.loads(text)))

    def to_json(self) -> bytes:
        """Return the fields as JSON, for a reader that does not have this layout yet."""
        return json.dumps(self.fields).encode()

    @cached_property
    def tag(self) -> int:
        """A 64-bit hash of the fields."""
        return int.from_bytes(hashlib.blake2b(self.to_json(), digest_size=_TAG.itemsize).digest(), "little")

    @cached_property
    def row(self) -> np.dtype:
        """The bytes of one row, little-endian and unpadded: tag, window_end (us since 1970), features."""
        features = np.dtype([(name, _NUMPY[dtype]) for name, dtype in self.fields])
        return np.dtype([("layout", _TAG), ("window_end", "<i8"), ("features", features)])

    def pack(self, rows: pd.DataFrame) -> list[bytes]:
        """Return the online row of each row: window_end (aware) and the features.

        Raises ValueError naming device, column and rule where a whole number or truth value is empty.
        """
        packed = np.empty(len(rows), dtype=self.row)
        packed["layout"] = self.tag
        packed["window_end"] = rows["window_end"].astype("datetime64[us, UTC]").astype("int64")
        for name, dtype in self.fields:
            if dtype != "float64" and rows[name].isna().any():
                device = rows.loc[rows[name].isna(), "device_id"].iloc[0]
                rule = f"windows.{name} must not be empty, but the newest row of device {device!r} has none"
                raise ValueError(f"{rule}; an older version built it, so build the windows again")
            packed["features"][name] = rows[name]
        content, size = packed.tobytes(), self.row.itemsize
        return [content[start : start + size] for start in range(0, len(content), size)]


def unpack(rows: Sequence[bytes], features: Sequence[Column], layout_of: Callable[[int], Layout]) -> pd.DataFrame:
    """Return window_end and the asked features of online rows, in order, on a RangeIndex.

    rows: b"" where there is none; any mixture of layouts. layout_of: the layout with a tag.
    int64 comes as Int64 and bool as boolean, <NA> where there is no row; float64 and window_end as NaN and NaT.
    Raises ValueError when a layout lacks a feature or has it as another dtype.
    """
    there = np.array([bool(row) for row in rows], dtype=bool)
    ends = np.full(len(rows), np.datetime64("NaT", "us"))
    values = {c.name: np.full(len(rows), _EMPTY[c.dtype], dtype=_NUMPY[c.dtype]) for c in features}
    tags = np.frombuffer(b"".join(row[: _TAG.itemsize] for row in rows), dtype=_TAG)
    for tag in np.unique(tags):
        layout = layout_of(int(tag))
        _check_has(layout, features)
        places = np.flatnonzero(there)[tags == tag]
        block = np.frombuffer(b"".join(rows[place] for place in places), dtype=layout.row)
        ends[places] = block["window_end"].astype("datetime64[us]")
        for name, column in values.items():
            column[places] = block["features"][name]
    columns = {c.name: _nullable(values[c.name], ~there, c.dtype) for c in features}
    return pd.DataFrame({"window_end": pd.Series(ends).dt.tz_localize("UTC"), **columns})


def _check_has(layout: Layout, features: Sequence[Column]) -> None:
    lacking = [f"{c.name} ({c.dtype})" for c in features if (c.name, c.dtype) not in layout.fields]
    if lacking:
        raise ValueError(f"online rows must hold every asked feature, but another version wrote them without {lacking}")


def _nullable(values: np.ndarray, absent: np.ndarray, dtype: str) -> "np.ndarray | pd.api.extensions.ExtensionArray":
    if dtype == "int64":
        return pd.arrays.IntegerArray(values, absent.copy())
    if dtype == "bool":
        return pd.arrays.BooleanArray(values, absent.copy())
    return values
