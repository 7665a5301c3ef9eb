"""Who stands at which end of a flow: by the rows of a device map, or by the address alone."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from features.days import us_of
from features.device_map import DeviceMap
from features.map_row import Address, MapRow, Network, plain_network

SIDES = ("src", "dst")  # nfstream's names of the two ends: src sent the first packet of the flow
PRIVATE = (  # addresses of subscribers and appliances, not of services on the internet
    *map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),  # RFC 1918
    ipaddress.ip_network("100.64.0.0/10"),  # RFC 6598: where an operator's subscribers are
    *map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10")),  # link-local
    ipaddress.ip_network("fc00::/7"),  # RFC 4193 unique local
)
_BROADCAST = ipaddress.ip_address("255.255.255.255")
_BY_MAC, _BY_NETWORK = 0, 1  # a MAC is the unit's own, an address is lent to it: the MAC is asked first


def mapped_owners(raw: pa.Table, devices: DeviceMap) -> pd.DataFrame:
    """Return the ends that are a device of the map: flow, side, device_id, row (position in `devices.rows`).

    Of several rows for one end the one for the most specific capture counts, then a MAC before a network, then
    the longest prefix.
    """
    ends, rows = _ends(raw), devices.rows or ()
    by_mac = _claimed_by_mac(rows, set(ends["mac"]))
    by_network = _claimed_by_network(rows, set(ends["ip"]), each_address=devices.each_address)
    claims = _claims([*by_mac, *by_network], rows)
    claimed = pd.concat(ends.merge(claims, left_on=key, right_on="end") for key in ("mac", "ip"))
    valid = claimed[(claimed["valid_from"] <= claimed["start"]) & (claimed["start"] < claimed["valid_to"])]
    ranked = valid.sort_values(["rank", "device_id"], kind="stable").drop_duplicates(["flow", "side"])
    return ranked[["flow", "side", "device_id", "row"]]


def local_owners(raw: pa.Table, from_src: np.ndarray) -> pd.DataFrame:
    """Return the ends that are a device where no map says so: flow, side, device_id (the address), row (-1).

    from_src: (flows,) bool, whether the src began the conversation; it counts where neither end is local.
    """
    ends = _ends(raw)
    addresses = {ip: address for ip in ends["ip"].unique() if not (address := _address(ip)).is_unspecified}
    ends = ends[ends["ip"].isin(list(addresses))]
    is_local = ends["ip"].isin([ip for ip, address in addresses.items() if _is_local(address)])
    has_local = ends["flow"].isin(ends["flow"][is_local])
    initiates = from_src[ends["flow"]] == (ends["side"] == "src")
    owners = ends[is_local | (~has_local & initiates)]
    ids = owners["ip"].map({ip: str(address) for ip, address in addresses.items()})
    return pd.DataFrame({"flow": owners["flow"], "side": owners["side"], "device_id": ids, "row": -1})


def strings(raw: pa.Table, name: str) -> np.ndarray:
    """Return a column of raw flows as text, (flows,) of str."""
    return np.asarray(raw[name].cast(pa.string()).to_numpy(zero_copy_only=False))


def _ends(raw: pa.Table) -> pd.DataFrame:
    """Return the ends of the flows that are one machine, not a group: flow, side, mac, ip, start (us)."""
    ends = pd.concat(
        pd.DataFrame(
            {
                "flow": np.arange(raw.num_rows),
                "side": side,
                "mac": strings(raw, f"{side}_mac"),
                "ip": strings(raw, f"{side}_ip"),
                "start": raw["bidirectional_first_seen_ms"].to_numpy() * 1000,
            }
        )
        for side in SIDES
    )
    group_macs = [mac for mac in ends["mac"].unique() if int(mac[:2], 16) & 1]
    group_ips = [ip for ip in ends["ip"].unique() if _is_group(_address(ip))]
    return ends[~ends["mac"].isin(group_macs) & ~ends["ip"].isin(group_ips)]


def _address(ip: str) -> Address:
    return plain_network(ipaddress.ip_network(ip)).network_address


def _is_group(address: Address) -> bool:
    return address.is_multicast or address == _BROADCAST


def _is_local(address: Address) -> bool:
    return any(address in network for network in PRIVATE)


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
        if address.is_unspecified:  # who asks for an address by DHCP has none yet; its MAC tells
            continue
        for length in (length for version, length in lengths if version == address.version):
            network = ipaddress.ip_network((address, length), strict=False)
            for position in positions.get(network, ()):
                row, own = rows[position], each_address and network.num_addresses > 1
                device_id = f"{row.device_id}/{address}" if own else row.device_id
                yield _Claim(ip, device_id, position, (-len(row.capture), _BY_NETWORK, -length))


def _claims(claims: Sequence[_Claim], rows: Sequence[MapRow]) -> pd.DataFrame:
    """Return a frame: end, device_id, row, rank (a number now), valid_from, valid_to (us since 1970)."""
    ranks = {rank: place for place, rank in enumerate(sorted({claim.rank for claim in claims}))}
    return pd.DataFrame(
        {
            "end": pd.Series([claim.end for claim in claims], dtype=object),
            "device_id": pd.Series([claim.device_id for claim in claims], dtype=object),
            "row": pd.Series([claim.row for claim in claims], dtype="int64"),
            "rank": pd.Series([ranks[claim.rank] for claim in claims], dtype="int64"),
            "valid_from": pd.Series([us_of(rows[claim.row].valid_from) for claim in claims], dtype="int64"),
            "valid_to": pd.Series([us_of(rows[claim.row].valid_to) for claim in claims], dtype="int64"),
        }
    )
