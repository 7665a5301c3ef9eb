"""Who stands at which end of a flow: by the rows of a device map, or by the address alone."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from features.device_map import Address, DeviceMap, MapRow, Network, plain_network

SIDES = ("src", "dst")  # nfstream's names of the two ends: src sent the first packet of the flow
# Addresses that stand for one subscriber or appliance, not for a service on the internet.
_LOCAL = tuple(
    map(
        ipaddress.ip_network,
        (
            *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
            "100.64.0.0/10",  # RFC 6598: where an operator's subscribers are
            *("169.254.0.0/16", "fe80::/10"),  # link-local
            "fc00::/7",  # RFC 4193 unique local
        ),
    )
)
_BROADCAST = ipaddress.ip_address("255.255.255.255")
_BY_MAC, _BY_NETWORK = (
    0,
    1,
)  # a MAC is the unit's own, an address is lent to it: of two devices the MAC's is right


def text(raw: pa.Table, name: str) -> np.ndarray:
    return raw[name].cast(pa.string()).to_numpy(zero_copy_only=False)


def _ends(raw: pa.Table) -> pd.DataFrame:
    """Return the ends of the flows that can be a device: flow, side, mac, ip, start (us since 1970)."""
    ends = pd.concat(
        pd.DataFrame(
            {
                "flow": np.arange(raw.num_rows),
                "side": side,
                "mac": text(raw, f"{side}_mac"),
                "ip": text(raw, f"{side}_ip"),
                "start": raw["bidirectional_first_seen_ms"].to_numpy() * 1000,
            }
        )
        for side in SIDES
    )
    group_macs = [mac for mac in ends["mac"].unique() if int(mac[:2], 16) & 1]
    group_ips = [ip for ip in ends["ip"].unique() if _is_group(_address(ip))]
    return ends[~ends["mac"].isin(group_macs) & ~ends["ip"].isin(group_ips)]


def _address(text: str) -> Address:
    return plain_network(ipaddress.ip_network(text)).network_address


def _is_group(address: Address) -> bool:
    return address.is_multicast or address.is_unspecified or address == _BROADCAST


def local_owners(raw: pa.Table, from_src: np.ndarray) -> pd.DataFrame:
    """Return the ends that are a device where no map says so: flow, side, device_id, row (-1)."""
    ends = _ends(raw)
    addresses = {ip: _address(ip) for ip in ends["ip"].unique()}
    local = {ip for ip, address in addresses.items() if any(address in network for network in _LOCAL)}
    is_local = ends["ip"].isin(local)
    has_local = ends["flow"].isin(ends["flow"][is_local])
    initiates = np.where(ends["side"] == "src", from_src[ends["flow"]], ~from_src[ends["flow"]])
    owners = ends[is_local | (~has_local & initiates)]
    ids = owners["ip"].map({ip: str(address) for ip, address in addresses.items()})
    return pd.DataFrame({"flow": owners["flow"], "side": owners["side"], "device_id": ids, "row": -1})


def mapped_owners(raw: pa.Table, devices: DeviceMap) -> pd.DataFrame:
    """Return the ends that are a device of the map: flow, side, device_id, row (position in `devices.rows`).

    Of several rows for one end that for the most specific capture counts, then a MAC before a network, then the
    longest prefix.
    """
    ends, rows = _ends(raw), devices.rows or ()
    claims = _claims(
        [
            *_claimed_by_mac(rows, set(ends["mac"])),
            *_claimed_by_network(rows, set(ends["ip"]), each_address=devices.each_address),
        ],
        rows,
    )
    claimed = pd.concat(ends.merge(claims, left_on=key, right_on="end") for key in ("mac", "ip"))
    valid = claimed[(claimed["valid_from"] <= claimed["start"]) & (claimed["start"] < claimed["valid_to"])]
    ranked = valid.sort_values(["rank", "device_id"], kind="stable").drop_duplicates(["flow", "side"])
    return ranked[["flow", "side", "device_id", "row"]]


@dataclass(frozen=True)
class _Claim:
    """A row of the map says: this end is mine. rank: lower goes first."""

    end: str
    device_id: str
    row: int
    rank: tuple[int, ...]


def _claimed_by_mac(rows: Sequence[MapRow], macs: set[str]) -> Iterator[_Claim]:
    for position, row in enumerate(rows):
        if row.mac in macs:
            yield _Claim(str(row.mac), row.device_id, position, (-len(row.capture), _BY_MAC))


def _claimed_by_network(rows: Sequence[MapRow], ips: set[str], *, each_address: bool) -> Iterator[_Claim]:
    positions: dict[Network, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        if row.network:
            positions[row.network].append(position)
    lengths = {(network.version, network.prefixlen) for network in positions}
    for ip in ips:
        address = _address(ip)
        for version, length in lengths:
            network = (
                ipaddress.ip_network((address, length), strict=False) if version == address.version else None
            )
            for position in positions.get(network, ()) if network else ():
                row, own = rows[position], each_address and network.num_addresses > 1
                device_id = f"{row.device_id}/{address}" if own else row.device_id
                yield _Claim(ip, device_id, position, (-len(row.capture), _BY_NETWORK, -length))


def _claims(claims: Iterable[_Claim], rows: Sequence[MapRow]) -> pd.DataFrame:
    """Return the claims as a frame: end, device_id, row, rank (a number), valid_from, valid_to (us since 1970)."""
    claims = list(claims)
    ranks = {rank: place for place, rank in enumerate(sorted({claim.rank for claim in claims}))}
    return pd.DataFrame(
        {
            "end": pd.Series([claim.end for claim in claims], dtype=object),
            "device_id": pd.Series([claim.device_id for claim in claims], dtype=object),
            "row": pd.Series([claim.row for claim in claims], dtype="int64"),
            "rank": pd.Series([ranks[claim.rank] for claim in claims], dtype="int64"),
            "valid_from": pd.Series([_us(rows[claim.row].valid_from) for claim in claims], dtype="int64"),
            "valid_to": pd.Series([_us(rows[claim.row].valid_to) for claim in claims], dtype="int64"),
        }
    )


def _us(moment: datetime) -> int:
    return int(pd.Timestamp(moment).as_unit("us").value)
