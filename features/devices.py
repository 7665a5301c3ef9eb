"""Whose a flow is: from raw flows and a device map to FLOWS, seen from the device, and DEVICES."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from features.conversations import initiated_by_src, with_settled_applications
from features.device_map import DeviceMap
from features.flows import FLAGS, FLOWS, STATISTICS
from features.map_row import ATTRIBUTES, MapRow
from features.owners import SIDES, local_owners, mapped_owners
from features.table import Column, check_table, empty_table

DEVICES: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device, as the device map names it"),
    Column("source", "string", "-", "content id of the capture or table that it was seen in"),
    Column("label", "string", "-", "its type or application (leaf), by the map", empty=True),
    Column("family", "string", "-", "the group of near-identical ones it belongs to, by the map", empty=True),
    Column("site", "string", "-", "where it stands, by the map", empty=True),
    Column("valid_from", "timestamp", "UTC", "first moment that this holds; empty without", empty=True),
    Column(
        "valid_to", "timestamp", "UTC", "first moment that it does not any more; empty without", empty=True
    ),
)

_WAYS = {"src": ("src2dst", "dst2src"), "dst": ("dst2src", "src2dst")}  # side of the device: up, down
_ORDER = [
    *("start", "end", "device_id", "protocol", "peer_ip"),
    *("device_port", "peer_port", "vlan_id", "initiated_by_device"),
]


def orient(raw: pa.Table, devices: DeviceMap, source: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return FLOWS (sorted by start), DEVICES, and how many raw flows are of no device.

    raw: flows of `flows.raw_schema`. devices: narrowed by `for_capture`. source: content id of the capture.
    A flow with a device at each end gives two rows, each seen from its own device; one with the same device at
    both ends gives one row, seen from the initiator.
    """
    if not raw.num_rows:
        return empty_table(FLOWS), empty_table(DEVICES), 0
    raw, from_src = with_settled_applications(raw), initiated_by_src(raw)
    owners = local_owners(raw, from_src) if devices.rows is None else mapped_owners(raw, devices)
    of_side = {side: owners[owners["side"] == side].set_index("flow")["device_id"] for side in SIDES}
    both = pd.concat(of_side, axis=1).reindex(np.arange(raw.num_rows))
    same = (both["src"] == both["dst"]).to_numpy(dtype=bool, na_value=False)
    views = []
    for side, initiates in (("src", from_src), ("dst", ~from_src)):
        seen = both[side].notna().to_numpy() & (~same | initiates)
        view = _seen_from(raw.filter(pa.array(seen)), side, both[side][seen].to_numpy(), source)
        views.append(view.assign(initiated_by_device=initiates[seen]))
    flows = pd.concat(views, ignore_index=True).sort_values(_ORDER, kind="stable")
    unmapped = int(both.isna().all(axis=1).sum())
    return check_table(flows, FLOWS, table="flows"), _devices(owners, devices, source), unmapped


def _seen_from(raw: pa.Table, side: str, device_ids: np.ndarray, source: str) -> pd.DataFrame:
    """Return FLOWS, unsorted, of raw flows whose device is at `side`; all but who began the conversation."""
    peer = "dst" if side == "src" else "src"
    plain = {
        "protocol": "protocol",
        "ip_version": "ip_version",
        "device_port": f"{side}_port",
        "peer_port": f"{peer}_port",
        "device_ip": f"{side}_ip",
        "peer_ip": f"{peer}_ip",
        "vlan_id": "vlan_id",
        "application": "application_name",
        "application_category": "application_category_name",
        "application_confidence": "application_confidence",
    }
    return pd.DataFrame(
        {
            "device_id": device_ids,
            "source": source,
            "start": _moments(raw, "bidirectional_first_seen_ms"),
            "end": _moments(raw, "bidirectional_last_seen_ms"),
            **{name: raw[raw_name].to_pandas() for name, raw_name in plain.items()},
            **_one_way(raw, "up", _WAYS[side][0]),
            **_one_way(raw, "down", _WAYS[side][1]),
            **_first_packets(raw, sign=1 if side == "src" else -1),
        }
    )


def _moments(raw: pa.Table, name: str) -> pd.Series:
    return pd.Series(raw[name].to_numpy().astype("datetime64[ms]")).dt.tz_localize("UTC").dt.as_unit("us")


def _one_way(raw: pa.Table, side: str, way: str) -> dict[str, np.ndarray]:
    """Return counts and statistics of one direction; of too few packets a statistic is empty, not nfstream's 0."""
    packets = raw[f"{way}_packets"].to_numpy()
    columns = {f"{side}_packets": packets, f"{side}_bytes": raw[f"{way}_bytes"].to_numpy()}
    for what, least_packets in (("ps", 1), ("piat_ms", 2)):
        for stat in STATISTICS:
            enough = packets >= least_packets + (stat == "stddev")
            given = raw[f"{way}_{stat}_{what}"].to_numpy()
            columns[f"{side}_{stat}_{what}"] = np.where(enough, given, np.nan)
    return columns | {f"{side}_{flag}_packets": raw[f"{way}_{flag}_packets"].to_numpy() for flag in FLAGS}


def _first_packets(raw: pa.Table, *, sign: int) -> dict[str, pd.Series]:
    """Return first_ps and first_piat_ms, of one length. sign: 1 where the src is the device, -1 where the dst is."""
    direction, ps, piat_ms = (_rectangle(raw, name) for name in ("splt_direction", "splt_ps", "splt_piat_ms"))
    passed = direction >= 0  # nfstream pads with -1
    lists = {
        "first_ps": np.where(passed, np.where(direction == 0, ps, -ps) * sign, 0),
        "first_piat_ms": np.where(passed, piat_ms, 0),
    }
    return {name: pd.Series(list(values), dtype=object) for name, values in lists.items()}


def _rectangle(raw: pa.Table, name: str) -> np.ndarray:
    """Return a column of fixed-size lists as (flows, list size)."""
    lists = raw[name].combine_chunks()
    return np.asarray(lists.flatten()).reshape(len(lists), lists.type.list_size)


def _devices(owners: pd.DataFrame, devices: DeviceMap, source: str) -> pd.DataFrame:
    """Return DEVICES: what the map row that found a device tells of it; of several the most specific one."""
    found: dict[str, list[MapRow]] = {device_id: [] for device_id in sorted(owners["device_id"].unique())}
    if devices.rows is not None:
        for device_id, row in owners[["device_id", "row"]].drop_duplicates().itertuples(index=False):
            found[device_id].append(devices.rows[row])
    rows = [(device_id, source, *told) for device_id, found_by in found.items() for told in _told(found_by)]
    names = [column.name for column in DEVICES]
    return check_table(pd.DataFrame(rows, columns=names), DEVICES, table="devices")


def _told(found_by: Sequence[MapRow]) -> list[tuple[object, ...]]:
    """Return label, family, site, valid_from, valid_to; one tuple for each time at which they differ."""
    if not found_by:
        return [(None,) * 5]
    most_specific = max(len(row.capture) for row in found_by)
    counting = [row for row in found_by if len(row.capture) == most_specific]
    spans: list[MapRow] = []
    for row in sorted(counting, key=lambda row: (row.valid_from, row.valid_to)):
        last = spans[-1] if spans else None
        if last and _attributes(last) == _attributes(row) and row.valid_from <= last.valid_to:
            spans[-1] = replace(last, valid_to=max(last.valid_to, row.valid_to))
        else:
            spans.append(row)
    return [(*_attributes(row), *row.validity) for row in spans]


def _attributes(row: MapRow) -> tuple[str | None, ...]:
    return tuple(getattr(row, name) for name in ATTRIBUTES)
