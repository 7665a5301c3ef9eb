"""Real captures of 300 protocols: one call takes them all, names what it cannot read, and agrees with nDPI's labels."""

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import lake
from features.flows import FlowSettings
from features.ingest import IngestSummary, ingest

DATA = (
    Path(os.environ.get("IOTLENS_DATA", Path(__file__).resolve().parents[2] / "shared/data")) / "ndpi_pcaps"
)
PROTOCOLS = {
    "TCP": 6,
    "UDP": 17,
    "ICMP": 1,
    "ICMPV6": 58,
    "IGMP": 2,
    "PIM": 103,
    "VRRP": 112,
    "SCTP": 132,
    "OSPF": 89,
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the nDPI captures at {DATA}; set IOTLENS_DATA"),
]


@pytest.fixture(scope="module")
def brought_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, IngestSummary]:
    workspace = tmp_path_factory.mktemp("ndpi")
    return workspace, ingest([str(DATA / "pcap")], workspace, devices="auto", settings=FlowSettings())


def keys(table: pd.DataFrame, columns: Iterable[str]) -> list[tuple[object, ...]]:
    """(pcap, protocol, lower end, higher end) of rows with (pcap, protocol, ip, port, ip, port)."""

    def end(ip: str, port: object) -> tuple[str, int]:
        return ip.replace(":0:", "::"), int(str(port))  # nDPI's way to write a lone zero

    rows = table[list(columns)].itertuples(index=False)
    return [(pcap, int(l4), *sorted([end(a, ap), end(b, bp)])) for pcap, l4, a, ap, b, bp in rows]


@pytest.fixture(scope="module")
def expected() -> pd.Series:
    """nDPI's own label of each 5-tuple of each capture."""
    labels = pd.read_csv(DATA / "flows.csv", dtype=str).fillna({"port_a": "0", "port_b": "0"})
    labels["protocol"] = labels["l4"].replace(PROTOCOLS)
    index = keys(labels, ["pcap", "protocol", "ip_a", "port_a", "ip_b", "port_b"])
    return (
        pd.Series(labels["ndpi_label"].to_numpy(), index=pd.Index(index, tupleize_cols=False))
        .groupby(level=0)
        .first()
    )


@pytest.fixture(scope="module")
def flows(brought_in: tuple[Path, IngestSummary]) -> pd.DataFrame:
    """Each flow once, though one between two devices has two rows: key, start, application."""
    workspace, _ = brought_in
    table = pa.concat_tables(
        pq.read_table(file, partitioning=None) for file in lake.flows(workspace)
    ).to_pandas()
    names = {source: Path(record.path).name for source, record in lake.records(workspace).items()}
    table["pcap"] = table["source"].map(names)
    table["key"] = keys(table, ["pcap", "protocol", "device_ip", "device_port", "peer_ip", "peer_port"])
    return table.drop_duplicates(["key", "start", "vlan_id"]).sort_values("start", kind="stable")


def test_every_capture_is_taken_or_named(brought_in: tuple[Path, IngestSummary]) -> None:
    _, summary = brought_in
    captures = [path for path in (DATA / "pcap").iterdir() if path.suffix in {".pcap", ".pcapng", ".cap"}]
    assert summary.files == len(captures) == summary.new + summary.unchanged + summary.failed
    named = {Path(path).name: reason for path, reason in summary.failures}
    assert named == {
        "fuzz-2021-06-07-c6c72a0a56.pcap": (
            "holds no whole packet: corrupt: the header of packet 1 is out of range"
        )
    }
    assert summary.flows > 8000


def test_flows_bear_the_label_that_ndpi_gives_them(flows: pd.DataFrame, expected: pd.Series) -> None:
    matched = flows[flows["key"].isin(expected.index)]
    agrees = matched["application"].to_numpy() == expected.loc[matched["key"]].to_numpy()
    assert len(matched) > 7000
    assert agrees.mean() >= 0.93


def test_nearly_every_conversation_that_ndpi_saw_is_a_flow_of_ours(
    flows: pd.DataFrame, expected: pd.Series
) -> None:
    found = expected.index.isin(set(flows["key"]))
    assert found.mean() >= 0.99


def test_a_conversation_bears_ndpis_label_from_its_first_flow_on(
    flows: pd.DataFrame, expected: pd.Series
) -> None:
    """nDPI 5 recognises 303 UDP flows of gnutella.pcap that the reference of 2024 calls Unknown; they are no fault."""
    first = flows.drop_duplicates("key")
    matched = first[first["key"].isin(expected.index) & (first["pcap"] != "gnutella.pcap")]
    agrees = matched["application"].to_numpy() == expected.loc[matched["key"]].to_numpy()
    assert agrees.mean() >= 0.96
