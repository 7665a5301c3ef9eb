"""Whether two workspaces hold the same: every table that a cycle writes, row by row and value for value."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from features import store
from features.duck import connect, listed
from serving import cycle_report
from training import artifact, run

LAKE = ("windows", "indicators", "marks", "device_marks")  # rows of all versions, without when they were made
TABLES = ("identified", "scored", "scores", "abnormal", "alarms")  # file by file, as a whole


def differences(one: Path, other: Path) -> Iterator[tuple[str, int, int]]:
    """Yield what is compared, how many rows one workspace holds of it, and in how many the two differ."""
    for kind in LAKE:
        for folder in _folders(one / "lake" / kind, other / "lake" / kind):
            yield _rows(f"lake/{kind}/{folder}", one, other)
    for kind in TABLES:
        for folder in _folders(one / kind, other / kind):
            yield _files(f"{kind}/{folder}", one, other)
    yield _remembered(one, other)
    yield _online(one, other)
    ends = [
        {path.relative_to(ws) for path in (ws / cycle_report.FOLDER).glob("date=*/*.json")}
        for ws in (one, other)
    ]
    yield "cycles (which windows)", len(ends[0]), len(ends[0] ^ ends[1])


def _folders(*places: Path) -> list[str]:
    """Return the folders of tables below some places but those of dates, each once."""
    tables = [table.relative_to(place) for place in places for table in place.rglob("*.parquet")]
    return sorted({table.as_posix().split("date=")[0].removesuffix(table.name) for table in tables})


def _rows(folder: str, one: Path, other: Path) -> tuple[str, int, int]:
    """Compare all rows below a folder, whatever files they lie in, without `created`."""
    files = [sorted((ws / folder).rglob("*.parquet")) for ws in (one, other)]
    if not all(files):
        return folder, *_of_one(files)
    with connect(threads=1) as connection:
        for name, some in zip(("mine", "theirs"), files, strict=True):
            plain = "COLUMNS(c -> c <> 'created')"
            connection.execute(
                f"CREATE VIEW {name} AS SELECT {plain} FROM"
                f" read_parquet([{listed(some)}], union_by_name = true, hive_partitioning = false)"
            )
        ((count,),) = connection.execute("SELECT count(*) FROM mine").fetchall()
        ((lost,),) = connection.execute(
            "SELECT count(*) FROM ((SELECT * FROM mine EXCEPT ALL SELECT * FROM theirs)"
            " UNION ALL (SELECT * FROM theirs EXCEPT ALL SELECT * FROM mine))"
        ).fetchall()
    return folder, count, lost


def _of_one(files: list[list[Path]]) -> tuple[int, int]:
    rows = [sum(pq.read_metadata(file).num_rows for file in some) for some in files]
    return rows[0], sum(rows)


def _files(folder: str, one: Path, other: Path) -> tuple[str, int, int]:
    """Compare tables with the same place: a file that one workspace lacks differs in all its rows."""
    count = lost = 0
    names = {
        path.relative_to(ws / folder) for ws in (one, other) for path in (ws / folder).rglob("*.parquet")
    }
    for name in sorted(names):
        tables = [
            pq.read_table(ws / folder / name, partitioning=None) if (ws / folder / name).is_file() else None
            for ws in (one, other)
        ]
        mine, theirs = tables
        count += len(mine) if mine is not None else 0
        if mine is None or theirs is None or not mine.equals(theirs):
            # NaN is unequal to itself: pandas, slower, says whether that is all
            same = mine is not None and theirs is not None and mine.to_pandas().equals(theirs.to_pandas())
            lost += 0 if same else max(len(table) for table in tables if table is not None)
    return folder, count, lost


def _remembered(one: Path, other: Path) -> tuple[str, int, int]:
    """Compare what the monitor remembers."""
    files = [np.load(ws / "alarms" / "state.npz", allow_pickle=False) for ws in (one, other)]
    names = sorted({*files[0].files, *files[1].files})
    lost = sum(
        not np.array_equal(files[0][name], files[1][name], equal_nan=_numbers(files[0][name]))
        for name in names
    )
    return "alarms/state.npz (arrays)", len(names), lost


def _numbers(array: np.ndarray) -> bool:
    return array.dtype.kind == "f"


def _online(one: Path, other: Path) -> tuple[str, int, int]:
    """Compare what is online of every device: its newest window as the model of devices reads it, and its marks."""
    told = []
    for ws in (one, other):
        files = sorted((ws / "lake" / "device_marks").rglob("*.parquet"))
        ids = sorted(
            pq.read_table(files[-1], columns=["device_id"], partitioning=None)["device_id"].to_pylist()
        )
        kept = run.find(ws, "latest", suits=lambda manifest: manifest.feature_service is not None)
        service = artifact.load(kept).manifest.feature_service
        opened = store.open(ws)
        told.append((opened.latest(ids, str(service), at="2030-01-01T00:00:00Z"), opened.latest_marks(ids)))
    lost = sum(
        int((~((mine == theirs) | (mine.isna() & theirs.isna())).fillna(False).all(axis=1)).sum())
        for mine, theirs in zip(*told, strict=True)
    )
    return "online (newest window, marks; devices)", len(told[0][0]), lost
