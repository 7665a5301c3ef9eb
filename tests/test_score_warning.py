"""A question that names another service than MEMBERSHIP does: the device is scored as asked, and told so."""

from pathlib import Path

import pytest
from test_identify import started
from tiny_lake import lake, score

from serving import score_views


def test_a_device_asked_as_another_service_than_membership_says_is_scored_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = (
        "MEMBERSHIP says that 'sensor-1' runs smoke_sensor at 2026-03-02T06:15:00Z, but it was scored as"
        " bike_sharing, as asked"
    )
    question = {"service": "bike_sharing", "device_ids": ["bike-1", "sensor-1"]}
    rows = [{"device_id": "sensor-1", "service": "bike_sharing"}, {"device_id": "sensor-1"}]
    workspace = lake(tmp_path)
    for held in (score_views.MAX_HELD, 0):  # in memory; 0: read from the lake when asked
        monkeypatch.setattr(score_views, "MAX_HELD", held)
        with started(workspace, None) as one:
            told = score(one, device_id="sensor-1", service="bike_sharing")
            assert (told["warning"], told["service"], told["service_by"]) == (
                warning,
                "bike_sharing",
                "question",
            )
            for path in ("/score_batch", "/explain"):
                answers = one.post(path, json=question).json()["answers"]
                assert [row["warning"] for row in answers] == [None, warning]
            answers = one.post("/score_batch", json={"rows": rows}).json()["answers"]
            assert [row["warning"] for row in answers] == [warning, None]
            assert score(one, device_id="sensor-1")["warning"] is None
