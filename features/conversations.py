"""Conversations: the flows of one 5-tuple, which timeouts cut apart, and what the parts know of each other."""

import numpy as np
import pandas as pd
import pyarrow as pa

from features.owners import SIDES, strings

_DEEP_INSPECTION, _FROM_MEMORY = 6, 5  # nDPI's NDPI_CONFIDENCE_DPI and NDPI_CONFIDENCE_DPI_CACHE


def initiated_by_src(raw: pa.Table) -> np.ndarray:
    """Tell for each raw flow whether its src is who began the conversation, (n,) bool.

    The src of a part after a cut is just who spoke first then.
    """
    parts = _in_order(raw)
    first = parts.groupby("conversation", sort=False)["src"].transform("first")
    return (first == parts["src"]).sort_index().to_numpy()


def with_settled_applications(raw: pa.Table) -> pa.Table:
    """Return raw flows whose application_ columns also know what earlier parts of their conversation showed.

    A protocol shows itself in the first packets, which a later part is without: the answer of the first part that
    deep inspection settled holds for all parts after it. No part learns from a later one.
    """
    parts = _in_order(raw)
    settled = parts["application_confidence"] == _DEEP_INSPECTION
    first = parts.index.to_series().where(settled).groupby(parts["conversation"]).transform("first")
    after_it = settled.astype("int64").groupby(parts["conversation"]).cumsum() - settled > 0
    teacher = first.where(after_it, parts.index.to_series()).sort_index().to_numpy(dtype="int64")
    for name in ("application_name", "application_category_name"):
        raw = raw.set_column(raw.schema.get_field_index(name), name, raw[name].take(pa.array(teacher)))
    own = raw["application_confidence"].to_numpy()
    confidence = np.where(teacher == np.arange(raw.num_rows), own, _FROM_MEMORY)
    at = raw.schema.get_field_index("application_confidence")
    return raw.set_column(at, "application_confidence", pa.array(confidence))


def _in_order(raw: pa.Table) -> pd.DataFrame:
    """Return the flows by their start (index: position in `raw`): conversation (a number), src, confidence."""
    src, dst = (strings(raw, f"{side}_ip") + " " + strings(raw, f"{side}_port") for side in SIDES)
    alike = ["protocol", "vlan_id", "tunnel_id"]
    parts = raw.select([*alike, "bidirectional_first_seen_ms", "application_confidence"]).to_pandas()
    parts["src"], parts["low"], parts["high"] = src, np.minimum(src, dst), np.maximum(src, dst)
    parts["conversation"] = parts.groupby([*alike, "low", "high"], sort=False).ngroup()
    ordered: pd.DataFrame = parts.sort_values("bidirectional_first_seen_ms", kind="stable")
    return ordered
