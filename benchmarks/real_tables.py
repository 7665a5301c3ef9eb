"""Real tables, each cut into rows to select on and rows that judge: later ones, or those of another vendor."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.nbiot import read_logs
from evaluation.selection.study import Roles

DATA = Path(os.environ.get("IOTLENS_DATA", "../shared/data"))
SENTINEL = Path(os.environ.get("IOTLENS_SENTINEL", "SENTINEL"))
LATER = 0.3  # share of the rows that judges


@dataclass(frozen=True)
class Table:
    """frame: indicators and roles. judged: (n,) bool, the rows that judge; name says which."""

    name: str
    frame: pd.DataFrame
    roles: Roles
    judged: np.ndarray


def youtube() -> Iterator[Table]:
    """Stalling of a session from what the network side knows; no column of the player."""
    frame = pd.read_csv(DATA / "youtube_qoe_tum2015" / "ifip_networking.dev.csv.gz")
    target = "pl_buffering_boolean"
    frame = frame[[name for name in frame if name == target or not name.startswith("pl_")]]
    order = frame["run_start"].rank(method="first").to_numpy()
    roles = Roles(target, time="run_start", ignored=("run_date", "yt_id", "run_id", "vid_category"))
    yield Table("youtube, later sessions", frame, roles, order > (1 - LATER) * len(frame))


def itu() -> Iterator[Table]:
    """Six states of a 5G core from 33 unnamed numbers; ten minutes of rows hang together."""
    parts, judged = [], []
    for name in ("01_a_test", "01_c_test", "02_b_train"):
        folder = DATA / "itu_5gc_faults"
        values = pd.read_csv(folder / f"{name}_data.txt.gz", sep=r"\s+", header=None)
        labels = pd.to_numeric(
            pd.read_csv(folder / f"{name}_label.txt.gz", sep=r"\s+", header=None)[0], errors="coerce"
        ).dropna()
        rows = min(len(values), len(labels))
        part = values.iloc[:rows].set_axis([f"x{number}" for number in range(values.shape[1])], axis=1)
        part = part.assign(
            state=labels.to_numpy()[:rows].astype(int), stretch=[f"{name}-{row // 60}" for row in range(rows)]
        )
        parts.append(part)
        judged.append(np.arange(rows) >= (1 - LATER) * rows)
    frame = pd.concat(parts, ignore_index=True)
    yield Table("itu, later rows", frame, Roles("state", group="stretch"), np.concatenate(judged))


def nbiot() -> Iterator[Table]:
    """Coverage level of a modem's row from every number of its log but identities, each vendor judged by the others."""
    frame = read_logs(DATA / "nbiot_robinson").table
    frame = frame[frame["ecl"].notna()].reset_index(drop=True)
    identities = {"row", "cell_id", "earfcn", "pci"}
    numbers = [name for name in frame.select_dtypes("number") if name not in identities]
    roles = Roles("ecl", group="file", kind="classes")
    for vendor in sorted(frame["vendor"].unique()):
        judged = (frame["vendor"] == vendor).to_numpy()
        yield Table(f"nbiot, {vendor} by the others", frame[[*numbers, "file"]], roles, judged)


def sentinel() -> Iterator[Table]:
    """Which of 27 types a device is from the flow features of a session; of each device the later ones judge.

    Reads the windows of the workspace SENTINEL, which the README's commands make.
    """
    from features import lake, windows
    from training.dataset import truth

    rows = windows.rows(SENTINEL, "session")
    said = truth(rows, lake.devices(SENTINEL), target="label", window="session")
    keys = ["device_id", "source", "window_start", "window_end", "created"]
    frame = rows.drop(columns=keys).assign(label=said["y"].to_numpy(), device_id=rows["device_id"])
    place = rows.groupby("device_id")["window_start"].rank(pct=True, method="first").to_numpy()
    first = (rows["device_id"] != "EdnetCam2").to_numpy()  # a second unit of a type: never to be learnt from
    roles = Roles("label", ignored=("device_id",))
    yield Table(
        "iot_sentinel, later sessions", frame[first].reset_index(drop=True), roles, (place > 1 - LATER)[first]
    )


TABLES: dict[str, Callable[[], Iterator[Table]]] = {
    "youtube": youtube,
    "itu": itu,
    "nbiot": nbiot,
    "sentinel": sentinel,
}
