"""Which faults of devices were told, and why another device was: worked by hand."""

from datetime import UTC, datetime, timedelta

import pandas as pd

from evaluation.abnormal_judgement import Province, Told, judge
from features.membership import PLACES

DAY = timedelta(days=1)
START = datetime(2026, 3, 9, tzinfo=UTC)
MOMENTS = [START + n * DAY for n in range(1, 8)]
SCOPES = {"c": "cell", "d": "device"}
WAITS = {("silent", "smoke_sensor"): 3 * DAY, ("misplaced", "smoke_sensor"): DAY}


def province(*faults: tuple[str, str, float, float], misused: str = "") -> Province:
    """Return two sensors of cell c1. faults: cause, device or cell, days from the start to onset and end."""
    truth = pd.DataFrame(
        [
            (f"F-{n}", cause, SCOPES[place[0]], place, 0.8, START + onset * DAY, START + end * DAY)
            for n, (cause, place, onset, end) in enumerate(faults)
        ],
        columns=["fault_id", "cause", "location_scope", "location_id", "severity", "onset", "end"],
    ).astype({"onset": "datetime64[us, UTC]", "end": "datetime64[us, UTC]"})  # fmt: skip
    devices = pd.DataFrame({"device_id": ["d0", "d1"], "service": "smoke_sensor"})
    devices["misuse"] = devices["device_id"] == misused
    members = devices[["device_id", "service"]].assign(**dict.fromkeys(PLACES))
    members["cell"], members["valid_from"] = "c1", pd.Timestamp(START - 10 * DAY)
    members["valid_to"] = pd.Series([pd.NaT] * 2, dtype="datetime64[us, UTC]")
    return Province(truth, devices, members)


def told(*rows: tuple[str, str, int]) -> pd.DataFrame:
    """Return ABNORMAL_DEVICES. rows: kind, device, at which moment."""
    frame = pd.DataFrame(
        [(kind, device, "smoke_sensor", MOMENTS[at]) for kind, device, at in rows],
        columns=["kind", "device_id", "service", "at"],
    )
    return frame.astype({"at": "datetime64[us, UTC]"})


def judged(true: Province, *rows: tuple[str, str, int]) -> Told:
    return judge(told(*rows), true, moments=MOMENTS, waits=WAITS)


def reasons(found: Told) -> list[tuple[str, str]]:
    return list(found.tellings[["reason", "cause"]].itertuples(index=False, name=None))


def test_a_silent_device_is_found_where_its_fault_is_of_the_kind() -> None:
    found = judged(province(("f_wrong_apn", "d0", 1.0, 6.0)), ("silent", "d0", 4), ("silent", "d0", 5))
    (fault,) = found.faults.to_dict("records")
    assert (fault["kind"], fault["due"], fault["found"]) == ("silent", True, True)
    assert fault["hours"] == 4 * 24
    assert reasons(found) == [("own", "f_wrong_apn")]


def test_a_fault_that_ends_before_its_rule_can_tell_is_asked_for_and_not_due() -> None:
    (fault,) = judged(province(("f_wrong_apn", "d0", 1.5, 3.5))).faults.to_dict("records")
    assert (fault["due"], fault["found"]) == (False, False)


def test_a_fault_between_two_looks_is_not_asked_for() -> None:
    assert judged(province(("f_wrong_apn", "d0", 1.2, 1.8))).faults.empty


def test_being_told_under_another_kind_finds_nothing() -> None:
    found = judged(province(("f_tamper", "d0", 0.0, 7.0)), ("silent", "d0", 4))
    assert found.faults["found"].tolist() == [False]
    assert reasons(found) == [("other", "f_tamper")]


def test_a_fault_of_its_cell_may_be_why_a_device_is_told() -> None:
    found = judged(province(("f_cell_outage", "c1", 0.0, 3.0)), ("silent", "d0", 4))
    assert reasons(found) == [("place", "f_cell_outage")]


def test_a_device_without_any_fault_is_told_falsely() -> None:
    elsewhere = province(("f_cell_outage", "c2", 0.0, 3.0), ("f_wrong_apn", "d1", 0.0, 7.0))
    assert reasons(judged(elsewhere, ("silent", "d0", 4))) == [("none", "")]


def test_a_fault_long_over_excuses_nothing() -> None:
    assert reasons(judged(province(("f_wrong_apn", "d0", 0.0, 1.0)), ("silent", "d0", 6))) == [("none", "")]


def test_a_misused_sim_is_silent_all_the_time() -> None:
    found = judged(province(misused="d1"), ("silent", "d1", 2))
    (fault,) = found.faults.to_dict("records")
    assert (fault["cause"], fault["due"], fault["found"]) == ("misuse", True, True)
    assert reasons(found) == [("own", "misuse")]
