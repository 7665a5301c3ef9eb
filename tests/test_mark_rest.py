"""The marks of devices over REST: as `iotlens mark` left them, at the moment that is asked about."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from test_identify import problem, started

from features import device_marks

NOON = pd.Timestamp("2026-03-02T12:00:00Z")


def marked(workspace: Path, at: pd.Timestamp, *rows: tuple[str, str, float, float | None]) -> None:
    """Write the marks of a moment: device, mark, probability, hours until it expires."""
    told = [
        {
            "device_id": device,
            "mark": mark,
            "probability": probability,
            "since": NOON - timedelta(days=2),
            "evidence": "cells = 1 (usual 1 to 9)",
            "expires": pd.NaT if hours is None else at + timedelta(hours=hours),
            "source": "rule",
            "version": "marks-1",
            "window_end": at,
        }
        for device, mark, probability, hours in rows
    ]
    frame = pd.DataFrame(told)
    frame["expires"] = pd.to_datetime(frame["expires"], utc=True)
    every = pd.DataFrame({"device_id": sorted(set(frame["device_id"])), "mark_static": 0.5})
    assert device_marks.write(workspace, frame, every, at=at)


def test_devices_are_told_their_marks_the_most_probable_first(tmp_path: Path) -> None:
    marked(
        tmp_path,
        NOON,
        ("sensor-1", "sleepy", 0.7, None),
        ("sensor-1", "static", 0.9, 24),
        ("bike-1", "mobile", 0.8, 24),
    )
    with started(tmp_path, None) as client:
        told = client.post("/mark", json={"device_ids": ["nobody", "sensor-1"]}).json()
        assert [one["device_id"] for one in told["answers"]] == ["nobody", "sensor-1"]
        assert told["answers"][0]["marks"] == []
        assert [one["mark"] for one in told["answers"][1]["marks"]] == ["static", "sleepy"]
        assert told["answers"][1]["marks"][0] == {
            "mark": "static",
            "probability": 0.9,
            "since": "2026-02-28T12:00:00Z",
            "evidence": "cells = 1 (usual 1 to 9)",
            "expires": "2026-03-03T12:00:00Z",
            "source": "rule",
            "version": "marks-1",
        }
        assert (told["window_end"], told["simulated"]) == ("2026-03-02T12:00:00Z", False)


def test_marks_are_those_of_the_moment_asked_about_without_the_expired(tmp_path: Path) -> None:
    marked(tmp_path, NOON, ("sensor-1", "static", 0.9, 2))
    marked(tmp_path, NOON + timedelta(hours=6), ("sensor-1", "silent", 0.8, None))

    with started(tmp_path, None) as client:

        def told(**at: str) -> list[Any]:
            (answer,) = client.post("/mark", json={"device_ids": ["sensor-1"], **at}).json()["answers"]
            return [one["mark"] for one in answer["marks"]]

        assert told() == ["silent"]
        assert told(at="2026-03-02T13:00:00Z") == ["static"]
        assert told(at="2026-03-02T15:00:00Z") == []
        early = client.post("/mark", json={"device_ids": ["sensor-1"], "at": "2026-03-01T00:00:00Z"})
        assert problem(early) == "nothing-known"
        for body in ({"device_ids": []}, {"device_ids": [1]}, {}):
            assert problem(client.post("/mark", json=body)) == "invalid"
        assert problem(client.post("/mark", json={"device_ids": ["x"] * 10_001})) == "too-large"
