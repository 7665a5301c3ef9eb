"""A lake of a few smoke sensors and a bike on two cells, counted in a window or two, for the scores of services."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fastapi.testclient import TestClient

from features import counters, indicator_windows, membership
from features.sketch import bins

FIRST, SECOND = "2026-03-02T06:00:00Z", "2026-03-02T06:15:00Z"
MEMBERS = """device_id,service,cell,tac,mme,platform_node,app,fleet,city,province,valid_from,valid_to
sensor-1,smoke_sensor,c1,t1,m1,n1,fire,sd1,beijing,bj,2026-03-01T00:00:00Z,
sensor-2,smoke_sensor,c1,t1,m1,n1,fire,sd1,beijing,bj,2026-03-01T00:00:00Z,
sensor-3,smoke_sensor,c2,t2,,,,,,,2026-03-01T00:00:00Z,
bike-1,bike_sharing,c1,t1,m1,n1,rides,bl1,beijing,bj,2026-03-01T00:00:00Z,
tracker-3,smoke_sensor,c1,t1,m1,n1,fire,sd1,beijing,bj,2026-03-01T00:00:00Z,2026-03-02T00:00:00Z
"""
Place = tuple[str, str]
RATIOS: dict[Place, dict[str, tuple[float, float]]] = {
    ("cell", "c1"): {
        "rrc_setup_succ/rrc_setup_att": (960, 1000),
        "sr_succ/sr_att": (985, 1000),
        "tau_succ/tau_att": (990, 1000),
        "attach_succ/attach_att": (98, 100),
        "coap_retx/coap_con": (9, 100),
        "npusch_repetitions/npusch_tb": (3000, 1000),
    },
    ("device", "sensor-1"): {
        "hb_recv/hb_expected": (19, 20),
        "online_s/activated_s": (880, 900),
        "ntf_ok/ntf_expected": (39, 40),
    },
    ("platform_node", "n1"): {
        "push_ok/push_all": (996, 1000),
        "probe_ok/probe_all": (900, 900),
        "upd_ok/upd_req": (495, 500),
        "reg_ok/reg_req": (99, 100),
    },
}
SAMPLES: dict[Place, dict[str, float]] = {
    ("cell", "c1"): {"rrc_setup_ms": 2400.0, "rtt_access_ms": 5200.0, "nrsrp_dbm": -109.0},
    ("platform_node", "n1"): {"rule_ms": 90.0, "push_ms": 400.0},
}


def lake(
    workspace: Path, *, start: str = FIRST, changed: Mapping[str, tuple[float, float]] | None = None
) -> Path:
    """Count a window into a workspace and build its indicators. changed: counters of cell c1 in the place of these."""
    workspace.mkdir(parents=True, exist_ok=True)
    (workspace / "members.csv").write_text(MEMBERS)
    membership.load([str(workspace / "members.csv")], workspace)
    of_cell = RATIOS["cell", "c1"] | dict(changed or {})
    rows = [
        _row(place, counter, start) | {"numerator": pair[0], "denominator": pair[1]}
        for place, ratios in (RATIOS | {("cell", "c1"): of_cell}).items()
        for counter, pair in ratios.items()
    ]
    rows += [
        _row(place, sample, start) | {"numerator": 100, "bin": int(bins(np.array([value]))[0])}
        for place, samples in SAMPLES.items()
        for sample, value in samples.items()
    ]
    file = workspace / f"counters-{start[11:16].replace(':', '')}.csv"
    pd.DataFrame(rows).astype({"bin": "Int64"}).to_csv(file, index=False)
    done = counters.ingest([str(file)], workspace)
    assert not done.failures and "0 quarantined" in done.text(), done.text()
    indicator_windows.build(workspace)
    return workspace


def _row(place: Place, counter: str, start: str) -> dict[str, object]:
    scope, scope_id = place
    return {
        "scope": scope,
        "scope_id": scope_id,
        "window_start": start,
        "window_s": 900,
        "counter": counter,
        "bin": None,
        "numerator": None,
        "denominator": None,
        "element": "enb-1",
        "vendor": "northlight",
        "received": "2026-03-02T07:00:00Z",
    }


def score(client: TestClient, **question: Any) -> Any:
    answer = client.post("/score", json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()
