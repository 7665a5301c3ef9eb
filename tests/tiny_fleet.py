"""Flows of a tiny fleet, written by hand, and the way into a lake: what the tests of many doors share."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from features.flows import FlowSettings

SOURCE = "0123456789abcdef"
LAST_HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
TYPES = {  # bytes of a message up, bytes of its answer, seconds between messages, port, protocol
    "smart_meter": (130, 36, 900, 5683, 17),
    "street_light": (80, 90, 300, 1883, 6),
    "tracker": (420, 52, 60, 8883, 6),
}


def tiny_flows(device_id: str, *, end: datetime, count: int = 12, source: str = SOURCE) -> pd.DataFrame:
    """`count` request-answer flows of one device, the last ending at `end`; its name seeds them."""
    up, down, period_s, port, protocol = TYPES[device_id.rpartition("-")[0]]
    random = np.random.default_rng(list(device_id.encode()))
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


def commit(
    workspace: Path,
    flows: pd.DataFrame,
    *,
    source: str | None = None,
    fingerprint: str = "0" * 64,
    settings: "FlowSettings | None" = None,
) -> None:
    """Bring the flows of a capture into the lake, as an ingest would; a device's name tells its label."""
    from features import lake
    from features.devices import DEVICES
    from features.flows import FLOWS, FlowSettings
    from features.table import check_table

    devices = (
        flows[["device_id", "source"]].drop_duplicates().reindex(columns=[column.name for column in DEVICES])
    )
    labels = devices["device_id"].str.replace("-.*", "", regex=True)
    devices = devices.assign(label=labels, family=labels.str.replace(".*_", "", regex=True))
    record = lake.Source(
        source=source or str(flows["source"].iloc[0]),
        path="fleet.pcap",
        bytes=0,
        fingerprint=fingerprint,
        flows=len(flows),
        packets=0,
        unmapped_flows=0,
        warnings=(),
        files=(),
        flow_settings=settings or FlowSettings(),
    )
    with lake.writing(workspace):
        lake.commit(
            workspace,
            record,
            check_table(flows, FLOWS, table="flows"),
            check_table(devices, DEVICES, table="devices"),
        )


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
