"""What is built equals a slow, obviously right account in plain pandas, on counters that hypothesis made up.

The oracle walks row by row, keeps each sample, and asks numpy for quantiles.
"""

import math
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_counters import GOOD
from test_indicator_windows import deliver, members

from features import counter_tables, indicator_tables, indicator_windows, sketch
from features.indicators import Mean, Quantile, Ratio, all_indicators, read_indicators

DAY = pd.Timestamp("2026-03-01T00:00:00Z")
PATHS = {  # what a device hangs on, before noon and after: cell, tac, mme, city and province; the rest stays
    "b1": (("c1", "t1", "m1", "x", "p"), ("c2", "t1", "m1", "x", "p")),
    "b2": (("c2", "t1", "m1", "x", "p"), ("c3", "t2", "m1", "y", "p")),
}
CELLS = {"c1": ("t1", "m1", "x", "p"), "c2": ("t1", "m1", "x", "p"), "c3": ("t2", "m1", "y", "p")}
COUNTERS = {
    "device": ("rrc_setup_succ/rrc_setup_att", "rrc_setup_ms", "attach_succ/attach_att"),
    "cell": ("rrc_setup_succ/rrc_setup_att", "rrc_setup_ms", "ul_in_dbm_15k"),
    "tac": ("attach_succ/attach_att",),
}
IDS = {"device": ("b1", "b2"), "cell": ("c1", "c2", "c3"), "tac": ("t1",)}

delay = st.floats(min_value=0.5, max_value=20_000)
quarter = st.integers(min_value=0, max_value=11).map(
    lambda n: DAY + pd.Timedelta(hours=11) + n * pd.Timedelta("15min")
)


@st.composite
def told(draw: st.DrawFn) -> dict[str, object]:
    """One element's word on one counter of one scope in one window: its samples, or a numerator and a denominator."""
    scope = draw(st.sampled_from(sorted(COUNTERS)))
    counter = draw(st.sampled_from(COUNTERS[scope]))
    one: dict[str, object] = {
        "scope": scope,
        "scope_id": draw(st.sampled_from(IDS[scope])),
        "counter": counter,
    }
    one["start"], one["element"] = draw(quarter), draw(st.sampled_from(["e1", "e2"]))
    if counter == "rrc_setup_ms":
        one["samples"] = draw(st.lists(delay, min_size=1, max_size=40))
    elif counter == "ul_in_dbm_15k":
        one["samples"] = draw(st.lists(st.floats(min_value=-130, max_value=-80), min_size=1, max_size=5))
    else:
        one["n"] = draw(st.integers(0, 60))
        one["d"] = one["n"] + draw(st.integers(0, 30))
    return one


def unique(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Keep the first word of an element on a counter in a window: the rules of deliveries have tests of their own."""
    kept: dict[tuple[object, ...], dict[str, object]] = {}
    for row in rows:
        kept.setdefault(
            tuple(row[name] for name in ("scope", "scope_id", "counter", "start", "element")), row
        )
    return [row for row in kept.values() if row.get("d") != 0]


def as_rows(one: dict[str, object]) -> list[dict[str, object]]:
    """Return what an element would deliver."""
    keys = {name: one[name] for name in ("scope", "scope_id", "counter", "element")}
    base = {
        **GOOD,
        **keys,
        "window_start": f"{one['start']:%Y-%m-%dT%H:%M:%SZ}",
        "received": "2026-03-09T00:00:00Z",
    }
    if one["counter"] == "rrc_setup_ms":
        found, counts = np.unique(sketch.bins(np.array(one["samples"])), return_counts=True)
        return [
            {**base, "bin": int(b), "numerator": int(n), "denominator": ""}
            for b, n in zip(found, counts, strict=True)
        ]
    if one["counter"] == "ul_in_dbm_15k":
        power = sum(10 ** (dbm / 10) for dbm in np.array(one["samples"]))
        return [{**base, "numerator": repr(float(power)), "denominator": len(np.array(one["samples"]))}]
    return [{**base, "numerator": one["n"], "denominator": one["d"]}]


def places(one: dict[str, object]) -> dict[str, str]:
    """Return where a row counts: its own scope, and all above it."""
    scope, scope_id, start = str(one["scope"]), str(one["scope_id"]), pd.Timestamp(str(one["start"]))
    names = ("cell", "tac", "mme", "city", "province")
    if scope == "device":
        before, after = PATHS[scope_id]
        path = before if start < DAY + pd.Timedelta(hours=12) else after
        held = dict(zip(names, path, strict=True))
        return held | {"platform_node": "n1", "app": "a1", "fleet": "f1"}
    if scope == "cell":
        return dict(zip(names, (scope_id, *CELLS[scope_id]), strict=True))
    return {"tac": scope_id, "mme": "m1"}


LEVELS = {  # for each scope, what feeds it, nearest first
    "cell": ("cell", "device"),
    "tac": ("tac", "cell", "device"),
    "mme": ("mme", "tac", "cell", "device"),
    "city": ("city", "cell", "device"),
    "province": ("province", "city", "cell", "device"),
    "platform_node": ("platform_node", "device"),
    "app": ("app", "device"),
    "fleet": ("fleet", "device"),
}


def window_end(start: pd.Timestamp, length_s: int) -> pd.Timestamp:
    end = start.timestamp() + 900
    return pd.Timestamp(math.ceil(end / length_s) * length_s, unit="s", tz="UTC")


def account(
    rows: list[dict[str, object]],
) -> dict[tuple[str, str, pd.Timestamp, str], list[dict[str, object]]]:
    """Return the rows that count in each scope, id, window and counter."""
    lengths = {scope: window.length_s for scope, window in read_indicators().windows.items()}

    def key(row: dict[str, object], scope: str) -> tuple[str, str, pd.Timestamp, str]:
        end = window_end(pd.Timestamp(str(row["start"])), lengths[scope])  # type: ignore[index]
        return scope, places(row)[scope], end, str(row["counter"])

    own = {key(row, str(row["scope"])) for row in rows if row["scope"] != "device"}
    found = defaultdict(list)
    for row in rows:
        for scope, chain in LEVELS.items():
            if scope not in places(row):
                continue
            nearer = chain[: chain.index(str(row["scope"]))]
            if any(key(row, above) in own for above in nearer if above in places(row)):
                continue
            found[key(row, scope)].append(row)
    return found


def expected(rows: list[dict[str, object]], aggregate: Ratio | Quantile | Mean) -> tuple[float, float]:
    """Return the value of an indicator over the rows that count, and its samples."""
    if isinstance(aggregate, Ratio):
        n, d = sum(float(str(row["n"])) for row in rows), sum(float(str(row["d"])) for row in rows)
        return aggregate.scale * n / d, d
    samples = np.concatenate([np.array(row["samples"], dtype="float64") for row in rows])
    if isinstance(aggregate, Quantile):
        return float(np.quantile(samples, aggregate.q, method="lower")), len(samples)
    return float(10 * np.log10(np.mean(10 ** (samples / 10)))), len(samples)


def compare(workspace: Path, rows: list[dict[str, object]]) -> None:
    found = account(rows)
    for scope in LEVELS:
        long = indicator_tables.long(workspace, scope)
        answers = {(i, e, k): (v, s) for _, i, e, k, v, s in long.itertuples(index=False)}
        seen = {key for key, (_, s) in answers.items() if s > 0}
        due = set()
        for one in all_indicators():
            if scope not in one.granularity and scope not in ("city", "province"):
                continue
            for (at, scope_id, end, counter), part in found.items():
                if (at, counter) != (scope, one.counter):
                    continue
                due.add((scope_id, end, one.id))
                value, samples = expected(part, one.aggregate)
                answer, n = answers[scope_id, end, one.id]
                assert n == samples
                if samples < one.min_samples:
                    assert math.isnan(answer)
                else:
                    accuracy = 0.0101 if isinstance(one.aggregate, Quantile) else 1e-9
                    assert math.isclose(answer, value, rel_tol=accuracy, abs_tol=1e-9), (
                        scope_id,
                        end,
                        one.id,
                    )
        assert seen == due


def build_and_compare(rows: list[dict[str, object]], split: int) -> None:
    """Deliver the rows in two parts, the first of them late, and compare all scopes with the account."""
    noon = "2026-03-01T12:00:00Z"
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "ws"
        lines = []
        for device, (before, after) in PATHS.items():
            for path, since in ((before, "2026-03-01T00:00:00Z"), (after, noon)):
                cell, tac, mme, city, province = path
                lines.append(f"{device},bike_sharing,{cell},{tac},{mme},n1,a1,f1,{city},{province},{since},")
        members(workspace, *lines)
        late, early = rows[:split], rows[split:]
        for part, name in ((early, "a.csv"), (late, "b.csv")):
            if part:
                done = deliver(workspace, [line for row in part for line in as_rows(row)], name)
                assert done.quarantined == {}
                indicator_windows.build(workspace)
        compare(workspace, rows)


TABLES = st.lists(told(), min_size=1, max_size=40).map(unique).filter(bool)
PATIENT = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=3, deadline=None, suppress_health_check=PATIENT, derandomize=True)
@given(TABLES, st.integers(0, 40))
def test_what_is_built_equals_the_account_also_when_a_part_comes_late(
    rows: list[dict[str, object]], split: int
) -> None:
    build_and_compare(rows, split)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=PATIENT)
@given(TABLES, st.integers(0, 40))
def test_what_is_built_equals_the_account_of_many_tables(rows: list[dict[str, object]], split: int) -> None:
    build_and_compare(rows, split)


ANY = {
    "scope": st.sampled_from(["cell", "device", "galaxy", ""]),
    "scope_id": st.sampled_from(["c1", "c2", "", " c"]),
    "window_start": st.sampled_from(
        ["2026-03-01T08:00:00Z", "2026-03-01T08:15:00Z", "soon", "", "2026-03-01T08:00:00"]
    ),
    "window_s": st.sampled_from(["900", "300", "7", "", "x"]),
    "counter": st.sampled_from(["rrc_setup_succ/rrc_setup_att", "rrc_setup_ms", "nothing", ""]),
    "bin": st.sampled_from(["", "100300", "1.5", "x"]),
    "numerator": st.sampled_from(["1", "2", "-1", "nan", "x", ""]),
    "denominator": st.sampled_from(["", "2", "0", "inf"]),
    "received": st.sampled_from(["2026-03-01T09:00:00Z", "2026-03-01T10:00:00Z", "2026-01-01T00:00:00Z"]),
}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(st.fixed_dictionaries(ANY), min_size=1, max_size=12), min_size=1, max_size=3))
def test_every_row_is_used_or_quarantined(files: list[list[dict[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "ws"
        delivered = set()
        for number, rows in enumerate(files):
            deliver(workspace, [{**GOOD, **row} for row in rows], f"{number}.csv")
            delivered.add(tuple(tuple(sorted(row.items())) for row in rows))
        told = counter_tables.tally(workspace)
        assert told.rows == sum(map(len, delivered))
        assert told.rows == told.used + told.quarantined
        assert len(counter_tables.quarantined(workspace)) == told.quarantined
        from test_counters import visible

        assert (len(visible(workspace)) if counter_tables.files(workspace) else 0) == told.used
