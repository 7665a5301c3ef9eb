"""What many tests share: one tiny fleet (flows in a lake, windows online, two sealed runs), and small captures."""

import json
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import dpkt
import pandas as pd
import pytest
from tiny_fleet import LAST_HOUR, TYPES, commit, tiny_flows

WINDOWS = (
    "windows: [{name: session}, {name: 1h, length_s: 3600}]\n"  # two of the four: half the time to build
)


@dataclass(frozen=True)
class Fleet:
    """A workspace. session_run, hour_run: run directories of models of the two windows.

    old: a device last heard of 400 days ago, beyond every time to live. sentence: of the session run's report.
    """

    workspace: Path
    session_run: Path
    hour_run: Path
    flows: pd.DataFrame
    old: str = "smart_meter-old"
    sentence: str = "It tells three types apart."


def _run(workspace: Path, window: str) -> Path:
    from training import run
    from training.experiment import Experiment, TreeSettings

    trees = TreeSettings(rounds=10, learning_rate=0.3, min_data_in_leaf=2)
    return run.seal(run.fit(Experiment(name="tiny", window=window, trees=trees), workspace).directory)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """Three types of eight devices, heard of until the last full hour, and one of long ago; all online."""
    from features import store, windows

    workspace = tmp_path_factory.mktemp("fleet")
    ids = [f"{kind}-{i}" for kind in TYPES for i in range(8)]
    ends = dict.fromkeys(ids, LAST_HOUR - timedelta(minutes=1)) | {Fleet.old: LAST_HOUR - timedelta(days=400)}
    flows = pd.concat(tiny_flows(device_id, end=end) for device_id, end in ends.items())
    (workspace / "configs").mkdir()
    (workspace / "configs" / "windows.yaml").write_text(WINDOWS, encoding="utf-8")
    commit(workspace, flows)
    windows.build(workspace)
    store.open(workspace).publish()
    fleet = Fleet(workspace, _run(workspace, "session"), _run(workspace, "1h"), flows)
    told = {"headline": {"sentence": fleet.sentence}, "simulated": False}  # what serving reads of a report
    (fleet.session_run / "report.json").write_text(json.dumps(told), encoding="utf-8")
    return fleet


@dataclass(frozen=True)
class Packets:
    """Frames of small conversations, and captures of them. A frame's ends are (address, port)."""

    device_mac: str = "02:00:00:00:00:01"
    peer_mac: str = "02:00:00:00:00:02"

    def udp(self, source: tuple[str, int], target: tuple[str, int], payload: bytes = b"x") -> bytes:
        """Return the IP packet of a datagram."""
        datagram = dpkt.udp.UDP(sport=source[1], dport=target[1], ulen=8 + len(payload), data=payload)
        return self._ip(source[0], target[0], dpkt.ip.IP_PROTO_UDP, datagram)

    def tcp(
        self, source: tuple[str, int], target: tuple[str, int], payload: bytes = b"", *, flags: int = 0x10
    ) -> bytes:
        """Return the IP packet of a segment; flags: an ACK unless told."""
        segment = dpkt.tcp.TCP(sport=source[1], dport=target[1], flags=flags, data=payload)
        return self._ip(source[0], target[0], dpkt.ip.IP_PROTO_TCP, segment)

    def _ip(self, source: str, target: str, protocol: int, data: dpkt.Packet) -> bytes:
        ends = {"src": ip_address(source).packed, "dst": ip_address(target).packed, "data": data}
        if ip_address(source).version == 6:
            return bytes(dpkt.ip6.IP6(nxt=protocol, plen=len(data), **ends))
        return bytes(dpkt.ip.IP(p=protocol, len=20 + len(data), **ends))

    def frame(self, packet: bytes, *, macs: tuple[str, str] | None = None, vlan: int | None = None) -> bytes:
        """Return the Ethernet frame of an IP packet; macs: (source, target)."""
        source, target = macs or (self.device_mac, self.peer_mac)
        kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
        return bytes.fromhex((target + source).replace(":", "")) + tag + kind + packet

    def write(self, path: Path, packets: list[tuple[float, bytes]], *, link_type: int = 1) -> Path:
        """Write a pcap of (s since 1970, frame) and return its path, whose folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            writer = dpkt.pcap.Writer(file, snaplen=65_535, linktype=link_type)
            for at, frame in packets:
                writer.writepkt(frame, ts=at)
        return path


@pytest.fixture(scope="session")
def packets() -> Packets:
    """What writes the captures of a test."""
    return Packets()
