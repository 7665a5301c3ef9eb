"""A table keeps the promises of its columns, or the error says which one it broke, and where."""

import numpy as np
import pandas as pd
import pytest

from features.table import Column, arrow_schema, check_table, empty_table

METERS = (
    Column("device_id", "string", "-"),
    Column("up_bytes", "int64", "byte", low=0),
    Column("loss_ratio", "float64", "1", low=0.0, high=1.0, empty=True),
    Column("seen", "timestamp", "UTC"),
    Column("sizes", "int32[]", "byte", low=-1500, high=1500, empty=True),
)


def meters(**changes: object) -> pd.DataFrame:
    columns: dict[str, object] = {
        "sizes": [[60, -52], None],
        "seen": ["2026-03-02T00:00:00Z", "2026-03-02T00:00:01Z"],
        "loss_ratio": [0.5, None],
        "up_bytes": [60, 0],
        "device_id": ["m1", "m2"],
    }
    return pd.DataFrame(columns | changes)


def test_columns_come_back_in_the_order_and_types_of_the_contract() -> None:
    table = check_table(meters(), METERS, table="meters")
    assert list(table.columns) == [column.name for column in METERS]
    assert table["up_bytes"].dtype == "int64"
    assert str(table["seen"].dtype) == "datetime64[us, UTC]"
    assert np.isnan(table["loss_ratio"][1])


def test_the_callers_frame_is_not_changed() -> None:
    frame = meters()
    before = frame.copy(deep=True)
    check_table(frame, METERS, table="meters")
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"up_bytes": [1, -1]}, r"meters.up_bytes must be in \[0, inf\], but row 1 has -1"),
        ({"up_bytes": [1.0, None]}, "meters.up_bytes must not be empty, but row 1 is"),
        ({"up_bytes": [1.0, 1.5]}, "meters.up_bytes must be whole, but row 1 has 1.5"),
        ({"up_bytes": ["1", "many"]}, "meters.up_bytes must be int64, however: .*many"),
        ({"loss_ratio": [float("inf"), 0.0]}, r"meters.loss_ratio must be in \[0, 1\], but row 0 has inf"),
        ({"sizes": [[60], [40, 9000]]}, r"meters.sizes must be in \[-1500, 1500\], but row 1 has 9000"),
        (
            {"seen": ["2026-03-02", "yesterday-ish"]},
            "meters.seen must be timestamp, however: .*yesterday-ish",
        ),
        ({"colour": ["red", "red"]}, r"lacks \[\] and adds \['colour'\]"),
    ],
)
def test_a_broken_promise_is_named_with_its_column_and_row(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check_table(meters(**changes), METERS, table="meters")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match=r"lacks \['up_bytes'\]"):
        check_table(meters().drop(columns="up_bytes"), METERS, table="meters")


def test_an_empty_table_keeps_the_contract_and_its_arrow_schema() -> None:
    table = check_table(empty_table(METERS), METERS, table="meters")
    assert table.empty
    assert arrow_schema(METERS).field("loss_ratio").nullable
    assert not arrow_schema(METERS).field("up_bytes").nullable
