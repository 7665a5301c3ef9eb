"""One tiny fleet for the tests of every door: flows in a lake, windows online, two sealed runs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

NOW = datetime.now(UTC).replace(microsecond=0)
TYPES = {  # bytes of a message up, bytes of its answer, seconds between messages, port, protocol
    "smart_meter": (130, 36, 900, 5683, 17),
    "street_light": (80, 90, 300, 1883, 6),
    "tracker": (420, 52, 60, 8883, 6),
}


@dataclass(frozen=True)
class Fleet:
    """A workspace. session_run, hour_run: run directories of models of the two windows.

    old: a device last heard of 400 days ago, beyond every time to live.
    """

    workspace: Path
    session_run: Path
    hour_run: Path
    flows: pd.DataFrame
    labels: dict[str, str]
    old: str = "smart_meter-old"


def tiny_flows(device_id: str, kind: str, *, source: str, end: datetime, count: int = 12) -> pd.DataFrame:
    """`count` request-answer flows of one device, the last ending at `end`; its name seeds them."""
    up, down, period_s, port, protocol = TYPES[kind]
    seed = np.frombuffer(f"{device_id}/{source}".encode(), dtype=np.uint8)
    random = np.random.default_rng(seed)
    ends = [end - timedelta(seconds=period_s * i + float(random.uniform(0, 3))) for i in range(count)][::-1]
    sizes = random.integers(up - 5, up + 6, size=count)
    rows = {
        "device_id": device_id,
        "source": source,
        "start": [moment - timedelta(seconds=1) for moment in ends],
        "end": ends,
        "initiated_by_device": True,
        "protocol": protocol,
        "ip_version": 4,
        "device_port": random.integers(49152, 65535, size=count),
        "peer_port": port,
        "device_ip": None,
        "peer_ip": "192.0.2.10",
        "vlan_id": 0,
        "up_packets": 2,
        "up_bytes": 2 * sizes,
        "down_packets": 2,
        "down_bytes": 2 * down,
        "first_ps": [[int(size), -down, int(size), -down] for size in sizes],
        "first_piat_ms": [[0, 40, 900, 40]] * count,
        "application": None,
        "application_category": None,
        "application_confidence": 0,
    }
    for side, size in (("up", sizes), ("down", down)):
        rows |= {f"{side}_{stat}_ps": size * 1.0 for stat in ("min", "mean", "max")} | {
            f"{side}_stddev_ps": 0.0
        }
        rows |= {f"{side}_{stat}_piat_ms": 940.0 for stat in ("min", "mean", "max")} | {
            f"{side}_stddev_piat_ms": None
        }
        rows |= dict.fromkeys(
            (f"{side}_{flag}_packets" for flag in ("syn", "cwr", "ece", "urg", "rst", "fin")), 0
        )
        rows |= {f"{side}_ack_packets": 2 if protocol == 6 else 0, f"{side}_psh_packets": 0}
    return pd.DataFrame(rows)


def _commit(workspace: Path, flows: pd.DataFrame, *, kind: str) -> None:
    """Bring the flows of one device and capture into the lake, as an ingest would."""
    from features import lake
    from features.devices import DEVICES
    from features.flows import FLOWS
    from features.table import check_table

    device_id, source = flows["device_id"].iloc[0], flows["source"].iloc[0]
    devices = pd.DataFrame(
        {"device_id": [device_id], "source": source, "label": kind, "family": kind.split("_")[-1]}
    )
    devices = devices.reindex(columns=[column.name for column in DEVICES])
    record = lake.Source(source, f"{device_id}.pcap", 0, "0" * 64, len(flows), 0, 0, (), ())
    with lake.writing(workspace):
        lake.commit(
            workspace,
            record,
            check_table(flows, FLOWS, table="flows"),
            check_table(devices, DEVICES, table="devices"),
        )


def _run(workspace: Path, window: str) -> Path:
    from training import run
    from training.experiment import Experiment, TreeSettings

    trees = TreeSettings(rounds=15, min_data_in_leaf=2)
    return run.seal(run.fit(Experiment(name="tiny", window=window, trees=trees), workspace).directory)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Three types of eight devices, last heard of a minute ago, and one of long ago; all online."""
    from features import store, windows

    workspace = tmp_path_factory.mktemp("fleet")
    labels = {f"{kind}-{i}": kind for kind in TYPES for i in range(8)}
    ends = dict.fromkeys(labels, NOW - timedelta(minutes=1)) | {Fleet.old: NOW - timedelta(days=400)}
    parts = []
    for i, (device_id, end) in enumerate(ends.items()):
        kind = device_id.rpartition("-")[0]
        parts.append(tiny_flows(device_id, kind, source=f"{i:016x}", end=end))
        _commit(workspace, parts[-1], kind=kind)
    windows.build(workspace)
    store.open(workspace).publish()
    return Fleet(workspace, _run(workspace, "session"), _run(workspace, "1h"), pd.concat(parts), labels)
