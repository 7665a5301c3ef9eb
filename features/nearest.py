"""Each indicator of a device: its own value, else that of the nearest place that it hangs on and that can tell it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from features import snapshot
from features.indicators import Indicator
from features.membership import PLACES
from features.snapshot import Known


class Told(NamedTuple):
    """An indicator of some devices, (n,) each; NaN is unknown. scope: its place in SCOPES, -1 where unknown."""

    value: np.ndarray
    samples: np.ndarray
    scope: np.ndarray


SCOPES = ("device", *PLACES)


def read_places(
    workspace: Path, indicators: Sequence[Indicator], *, at: datetime, oldest: Mapping[str, timedelta]
) -> dict[str, Known]:
    """Return what is known at a moment of every place that tells one of the indicators, by scope.

    oldest: by scope, how old a value may be.
    """
    asked = {scope: [one for one in indicators if scope in one.granularity] for scope in PLACES}
    return {
        scope: snapshot.places(workspace, scope, some, at=at, oldest=oldest[scope])
        for scope, some in asked.items()
        if some
    }


def evidence(devices: Known, places: Mapping[str, Known], indicators: Sequence[Indicator]) -> list[Told]:
    """Return each indicator of devices: scopes are asked in the order of its granularity until one knows it."""
    rows = {scope: _rows(devices.places[scope], place.ids) for scope, place in places.items()}
    return [_nearest(one, devices, places, rows) for one in indicators]


def _nearest(
    one: Indicator, devices: Known, places: Mapping[str, Known], rows: Mapping[str, np.ndarray]
) -> Told:
    count = len(devices.ids)
    told = Told(np.full(count, np.nan), np.full(count, np.nan), np.full(count, -1, dtype="int8"))
    for scope in one.granularity:
        if scope == "device":
            known, lines = devices, np.arange(count)
        elif scope in rows:
            known, lines = places[scope], rows[scope]
        else:
            continue
        if one.id in known.values:
            lacking = np.flatnonzero((told.scope < 0) & (lines >= 0))
            found = known.values[one.id][lines[lacking]]
            some = ~np.isnan(found)
            told.value[lacking[some]] = found[some]
            told.samples[lacking[some]] = known.samples[one.id][lines[lacking[some]]]
            told.scope[lacking[some]] = SCOPES.index(scope)
    return told


def _rows(hung: pa.Array, ids: pa.Array) -> np.ndarray:
    """Return the row of each place in `ids`; -1 where there is none."""
    coded = hung.dictionary_encode()
    rows = pd.Index(ids.to_pandas()).get_indexer(pd.Index(coded.dictionary.to_pandas()))
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    placed: np.ndarray = np.append(rows, -1)[codes]  # code -1 takes the last
    return placed
