"""The flow that REST takes is the flow of the lake: one declaration, and nothing slips between the two."""

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from features.flows import FLOWS
from features.table import Column, check_table
from serving import examples
from serving.schema import LARGEST, Answers, BatchAnswers, BatchQuestion, Flow, Question

COAP: dict[str, Any] = examples.QUESTIONS["flows"]["value"]["flows"][0]
SHORTEST = {
    "device_id": "meter-017",
    "start": "2025-03-01T08:00:00Z",
    "end": "2025-03-01T08:00:01Z",
    "initiated_by_device": True,
    "protocol": 17,
    "ip_version": 4,
    "device_port": 49152,
    "peer_port": 5683,
    "peer_ip": "192.0.2.10",
    "up_packets": 1,
    "up_bytes": 132,
    "down_packets": 0,
    "down_bytes": 0,
}


def broken(**changed: object) -> list[tuple[str, str]]:
    """The (place, rule in words) of what a flow with these changes breaks."""
    with pytest.raises(ValidationError) as refused:
        Flow.model_validate(SHORTEST | changed)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in refused.value.errors()]


def values(column: Column) -> st.SearchStrategy[Any]:
    low = int(-(2**31) if column.low is None else column.low)
    high = int(2**31 - 1 if column.high is None else column.high)
    pairs = {
        "string": st.text(st.characters(codec="utf-8"), min_size=0 if column.empty else 1, max_size=5),
        "bool": st.booleans(),
        "int64": st.integers(low, high),
        "float64": st.floats(low, high),
        "timestamp": st.sampled_from(["2025-03-01T08:00:00Z", "2025-03-01T09:00:00.5+01:00"]),
        "int32[]": st.lists(st.integers(low, high), min_size=3, max_size=3),
        "int64[]": st.lists(st.integers(low, 2**48), min_size=3, max_size=3),
    }
    if column.name.endswith("_ip"):
        pairs["string"] = st.ip_addresses().map(str)
    return st.none() | pairs[column.dtype] if column.empty else pairs[column.dtype]


@settings(max_examples=50, deadline=None)
@given(st.fixed_dictionaries({column.name: values(column) for column in FLOWS}))
def test_every_flow_that_is_accepted_keeps_the_contract_of_the_lake(row: dict[str, Any]) -> None:
    row["end"] = row["start"]
    if row["first_ps"] is None or row["first_piat_ms"] is None:
        row |= {"first_ps": None, "first_piat_ms": None}
    flow = Flow.model_validate(row)
    checked = check_table(pd.DataFrame([flow.model_dump()]), FLOWS, table="flows")
    assert len(checked) == 1


def test_what_was_not_measured_may_be_left_out() -> None:
    flow = Flow.model_validate(SHORTEST)
    checked = check_table(pd.DataFrame([flow.model_dump()]), FLOWS, table="flows")
    left_out = set(checked.columns) - set(SHORTEST)
    zero = {"vlan_id", "application_confidence", *(name for name in left_out if name.endswith("_packets"))}
    assert checked.loc[0, sorted(zero)].eq(0).all()
    assert checked.loc[0, sorted(left_out - zero - {"source"})].isna().all()


@pytest.mark.parametrize("column", [c for c in FLOWS if c.name in SHORTEST], ids=lambda c: c.name)
def test_each_of_the_others_is_needed(column: Column) -> None:
    rest = {name: value for name, value in SHORTEST.items() if name != column.name}
    with pytest.raises(ValidationError, match=f"{column.name}\n  Field required"):
        Flow.model_validate(rest)


def test_a_tcp_flow_gives_its_flags_since_zero_would_be_a_claim() -> None:
    assert broken(protocol=6) == [("", "Value error, a TCP flow must give all its counts of TCP flags")]


@pytest.mark.parametrize(
    "instant",
    [1740816000, "1740816000", "2025-03-01T08:00:00", "2025-03-01", "soon", None, "0001-01-01T00:00:00Z"],
)
def test_an_instant_is_an_iso_text_with_its_offset(instant: object) -> None:
    assert [place for place, _ in broken(start=instant)] == ["start"]


def test_an_instant_of_another_offset_is_the_same_instant() -> None:
    flow: Any = Flow.model_validate(SHORTEST | {"start": "2025-03-01T09:00:00+01:00"})
    same: Any = Flow.model_validate(SHORTEST)
    assert flow.start == same.start
    assert flow.start.utcoffset().total_seconds() == 0


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"up_bytes": -1}, "up_bytes"),
        ({"up_bytes": True}, "up_bytes"),
        ({"up_bytes": "132"}, "up_bytes"),
        ({"up_bytes": 1.5}, "up_bytes"),
        ({"up_bytes": LARGEST + 1}, "up_bytes"),
        ({"up_mean_ps": float("nan")}, "up_mean_ps"),
        ({"up_mean_ps": 1e300}, "up_mean_ps"),
        ({"peer_port": 65536}, "peer_port"),
        ({"initiated_by_device": 1}, "initiated_by_device"),
        ({"device_id": ""}, "device_id"),
        ({"device_id": 17}, "device_id"),
        ({"first_ps": [70_000], "first_piat_ms": [0]}, "first_ps.0"),
        ({"peer_ip": "not an address"}, "peer_ip"),
        ({"first_piat_ms": [-1]}, "first_piat_ms.0"),
        ({"first_ps": [60] * 256}, "first_ps"),
        ({"first_ps": [60], "first_piat_ms": []}, ""),
        ({"end": "2025-03-01T07:59:59Z"}, ""),
        ({"up_byte": 1}, "up_byte"),
    ],
)
def test_a_value_outside_its_range_or_type_is_refused(changed: dict[str, object], place: str) -> None:
    assert [where for where, _ in broken(**changed)] == [place]


def test_a_question_is_by_name_or_by_flows() -> None:
    for body in ({}, {"device_ids": ["a"], "flows": [COAP]}):
        with pytest.raises(ValidationError, match="must have device_ids or flows, and not both"):
            Question.model_validate(body)
    for body in (
        {"device_ids": []},
        {"flows": []},
        {"device_ids": ["a"] * 101},
        {"device_ids": "a"},
        {"device_id": "a"},
    ):
        with pytest.raises(ValidationError):
            Question.model_validate(body)


def test_the_flows_of_a_session_lie_within_a_month() -> None:
    later = SHORTEST | {"end": "2025-04-15T00:00:00Z", "start": "2025-04-15T00:00:00Z"}
    Question.model_validate({"flows": [later, SHORTEST | {"source": "another"}]})
    with pytest.raises(ValidationError, match="must lie within 30 days"):
        Question.model_validate({"flows": [later, SHORTEST]})


def test_inline_flows_are_of_a_hundred_sessions_at_most() -> None:
    flows = [SHORTEST | {"source": str(i)} for i in range(101)]
    Question.model_validate({"flows": flows[:100]})
    with pytest.raises(ValidationError, match="must be of at most 100 devices and sources, but are of 101"):
        Question.model_validate({"flows": flows})


def test_the_examples_keep_the_schema() -> None:
    for question in examples.QUESTIONS.values():
        Question.model_validate(question["value"])
    for question in examples.BATCH_QUESTIONS.values():
        BatchQuestion.model_validate(question["value"])
    Answers.model_validate(examples.ANSWERS)
    BatchAnswers.model_validate(examples.BATCH_ANSWERS)
