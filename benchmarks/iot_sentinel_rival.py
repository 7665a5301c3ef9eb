"""The named rival on the IoT Sentinel captures: a random forest on 124 packet features of each capture.

What an able engineer would write in an afternoon with dpkt and scikit-learn, no more: sizes, directions, gaps, ports
and protocols of the frames that the device sent or received, 500 trees, defaults otherwise. It reads frames, so it sees
ARP, EAPOL and LLC, which no flow record holds. `--out` keeps its features for the report of a run, which fits the same
forest on that run's own splits. What it prints itself is of other folds and other draws of the
trees: a point or two apart.

    python benchmarks/iot_sentinel_rival.py --data DATA/iot_sentinel --out rival.parquet
"""

import argparse
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dpkt
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

TREES = 500
SIZE_EDGES = np.array([64, 80, 100, 128, 160, 200, 256, 384, 512, 768, 1024, 1400])  # byte, on the wire
FIRST = 30  # signed sizes of the first frames
KINDS = ("arp", "eapol", "llc", "ipv6", "icmp", "icmp6", "igmp", "tcp", "udp")
PORTS = (53, 67, 80, 123, 443, 1900, 5353)
FLAGS = {"syn": dpkt.tcp.TH_SYN, "fin": dpkt.tcp.TH_FIN, "rst": dpkt.tcp.TH_RST, "psh": dpkt.tcp.TH_PUSH}


@dataclass(frozen=True)
class Frame:
    """One Ethernet frame of the device. seconds: capture time; port: the lower one of the two, -1 without one."""

    seconds: float
    size: int
    up: bool
    kind: str
    peer: bytes
    device_port: int
    peer_port: int
    flags: int

    @property
    def port(self) -> int:
        """The well-known side of the conversation."""
        return min(self.device_port, self.peer_port)


def frames(path: Path, mac: str) -> Iterator[Frame]:
    """Yield the frames of one capture that the device with this MAC sent or received."""
    device = bytes.fromhex(mac.replace(":", ""))
    with path.open("rb") as stream:
        for seconds, data in dpkt.pcap.Reader(stream):
            if device in (data[6:12], data[0:6]):
                yield _frame(seconds, data, up=data[6:12] == device)


def _frame(seconds: float, data: bytes, *, up: bool) -> Frame:
    ethernet = dpkt.ethernet.Ethernet(data)
    inner = ethernet.data
    peer, kind, ports, flags = (data[0:6] if up else data[6:12]), _link_kind(ethernet), (-1, -1), 0
    if isinstance(inner, dpkt.ip.IP | dpkt.ip6.IP6):
        peer, kind = (inner.dst if up else inner.src), _ip_kind(inner)
        if isinstance(inner.data, dpkt.tcp.TCP | dpkt.udp.UDP):
            ports = (inner.data.sport, inner.data.dport) if up else (inner.data.dport, inner.data.sport)
        if isinstance(inner.data, dpkt.tcp.TCP):
            flags = inner.data.flags
    return Frame(seconds, len(data), up, kind, peer, *ports, flags)


def _link_kind(ethernet: dpkt.ethernet.Ethernet) -> str:
    if ethernet.type < 0x0600:  # IEEE 802.3 length, not an EtherType
        return "llc"
    return {0x0806: "arp", 0x888E: "eapol"}.get(ethernet.type, "other")


def _ip_kind(packet: dpkt.ip.IP | dpkt.ip6.IP6) -> str:
    names = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 58: "icmp6"}
    return names.get(packet.p, "ipv6" if isinstance(packet, dpkt.ip6.IP6) else "other")


def _moments(prefix: str, values: np.ndarray) -> dict[str, float]:
    some = values if len(values) else np.zeros(1)
    low, quarter, median, three, high = np.quantile(some, (0.0, 0.25, 0.5, 0.75, 1.0))
    names = ("min", "q25", "median", "q75", "max", "mean", "std")
    return {
        f"{prefix}_{name}": float(value)
        for name, value in zip(
            names, (low, quarter, median, three, high, some.mean(), some.std()), strict=True
        )
    }


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if len(mask) else 0.0


def features(capture: list[Frame]) -> dict[str, float]:
    """Return the 124 numbers of one capture, in a fixed order. capture: frames in time order, at least one."""
    size = np.array([frame.size for frame in capture])
    up = np.array([frame.up for frame in capture])
    seconds = np.array([frame.seconds for frame in capture])
    port = np.array([frame.port for frame in capture])
    flags = np.array([frame.flags for frame in capture])
    signed = np.where(up, size, -size)
    row = {"frames": len(size), "bytes": size.sum(), "duration_s": np.ptp(seconds), "up_share": up.mean()}
    row |= {
        "up_bytes_share": size[up].sum() / size.sum(),
        "direction_changes": np.mean(up[1:] != up[:-1]) if len(up) > 1 else 0.0,
    }
    for side, mask in (("up", up), ("down", ~up)):
        bins = np.bincount(
            np.searchsorted(SIZE_EDGES, size[mask], side="right"), minlength=len(SIZE_EDGES) + 1
        )
        row |= _moments(f"{side}_size", size[mask]) | _moments(f"{side}_gap_s", np.diff(seconds[mask]))
        row |= {f"{side}_size_bin_{i}": count / max(mask.sum(), 1) for i, count in enumerate(bins)}
        row |= {f"{side}_sizes": len(np.unique(size[mask]))}
        row |= {f"{side}_port_{p}": _share(port[mask] == p) for p in PORTS}
    row |= {f"kind_{kind}": np.mean([frame.kind == kind for frame in capture]) for kind in KINDS}
    row |= {f"flag_{name}": np.mean(flags & bit != 0) for name, bit in FLAGS.items()}
    row |= {f"first_{i}": signed[i] if i < len(signed) else 0 for i in range(FIRST)}
    row |= _counts(capture)
    return {name: float(value) for name, value in row.items()}


def _counts(capture: list[Frame]) -> dict[str, float]:
    peer_ports = {frame.peer_port for frame in capture if frame.peer_port >= 0}
    return {
        "peers": len({frame.peer for frame in capture}),
        "peer_ports": len(peer_ports),
        "device_ports": len({frame.device_port for frame in capture if frame.device_port >= 0}),
        "low_peer_port": min(peer_ports, default=-1),
        "high_port_share": np.mean([frame.port >= 1024 for frame in capture]),
    }


def table(data: Path) -> pd.DataFrame:
    """Return one row per capture: the index's columns, `source`, and the 124 features, oldest capture first."""
    index = pd.read_csv(data / "index.csv").sort_values("first_packet_epoch", ignore_index=True)
    sources = [hashlib.sha256((data / path).read_bytes()).hexdigest()[:16] for path in index["path"]]
    rows = [
        features(list(frames(data / path, mac)))
        for path, mac in zip(index["path"], index["device_mac"], strict=True)
    ]
    return pd.concat([index.assign(source=sources), pd.DataFrame(rows)], axis=1)


def scores(rows: pd.DataFrame, names: list[str]) -> Iterator[str]:
    """Yield the forest's scores on the first units, in the two ways that the README's table has."""
    first = rows[rows["part"] == "dev"].reset_index(drop=True)
    X, y = first[names].to_numpy(), first["device_type"].to_numpy()
    forest = RandomForestClassifier(TREES, random_state=0, n_jobs=2)
    told = cross_val_predict(forest, X, y, cv=StratifiedKFold(5, shuffle=True, random_state=0))
    yield f"5-fold cross-validation, {len(y)} captures: {_score(y, told)}"
    unit = first.groupby("device")
    late = (unit.cumcount() >= (0.75 * unit["device"].transform("size")).round()).to_numpy()
    told = forest.fit(X[~late], y[~late]).predict(X[late])
    yield f"by time, earliest 75 % of each unit to learn, {late.sum()} later captures: {_score(y[late], told)}"


def _score(y: np.ndarray, told: np.ndarray) -> str:
    return f"accuracy {accuracy_score(y, told):.3f}, macro F1 {f1_score(y, told, average='macro'):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("IOTLENS_DATA", str(Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=Path(data) / "iot_sentinel")
    parser.add_argument("--out", type=Path, help="Parquet to write: device_id, source and the features")
    asked = parser.parse_args()
    rows = table(asked.data)
    known = {"path", "device", "device_type", "device_mac", "first_packet_epoch", "part", "source"}
    names = [name for name in rows.columns if name not in known]
    print(f"random forest, {TREES} trees, {len(names)} features of {len(rows)} captures")
    for line in scores(rows, names):
        print(line)
    if asked.out:
        rows.rename(columns={"device": "device_id"})[["device_id", "source", *names]].to_parquet(asked.out)


if __name__ == "__main__":
    main()
