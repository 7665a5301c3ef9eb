"""The questions and answers that OpenAPI and docs/rest.md show. A test asks every question."""

from typing import Any

_ANSWER: dict[str, Any] = {
    "device_id": "meter-017",
    "status": "known",
    "label": "smart_meter",
    "family": "metering",
    "level": "leaf",
    "unknown": False,
    "probability": 0.962,
    "family_probability": 0.971,
    "top": [
        {"label": "smart_meter", "probability": 0.962},
        {"label": "gas_meter", "probability": 0.009},
        {"label": "street_light", "probability": 0.006},
    ],
    "how": "model",
    "model_version": "app_identification-3f0c5a9d1b27",
    "simulated": False,
    "feature_service": "app_identification_1h_v1",
    "source": None,
    "window_end": "2025-03-01T09:00:00Z",
}
_MISSING: dict[str, Any] = {
    "device_id": "meter-999",
    "status": "missing",
    "problem": {
        "type": "urn:iotlens:problem:unknown-device",
        "title": "No window of the device is online",
        "status": 404,
        "detail": "app_identification_1h_v1 has no window of 'meter-999' online;"
        " ingest its flows and run `iotlens features build`",
    },
}
_COAP_REPORT: dict[str, Any] = {
    "device_id": "meter-017",
    "start": "2025-03-01T08:00:00.120000Z",
    "end": "2025-03-01T08:00:00.410000Z",
    "initiated_by_device": True,
    "protocol": 17,
    "ip_version": 4,
    "device_port": 49152,
    "peer_port": 5683,
    "peer_ip": "192.0.2.10",
    "up_packets": 2,
    "up_bytes": 264,
    "up_min_ps": 132.0,
    "up_mean_ps": 132.0,
    "up_stddev_ps": 0.0,
    "up_max_ps": 132.0,
    "up_min_piat_ms": 250.0,
    "up_mean_piat_ms": 250.0,
    "up_stddev_piat_ms": 0.0,
    "up_max_piat_ms": 250.0,
    "down_packets": 2,
    "down_bytes": 72,
    "down_min_ps": 36.0,
    "down_mean_ps": 36.0,
    "down_stddev_ps": 0.0,
    "down_max_ps": 36.0,
    "down_min_piat_ms": 250.0,
    "down_mean_piat_ms": 250.0,
    "down_stddev_piat_ms": 0.0,
    "down_max_piat_ms": 250.0,
    "first_ps": [132, -36, 132, -36],
    "first_piat_ms": [0, 40, 210, 40],
}

PROBLEM_DETAILS: dict[str, str] = {
    "malformed": "not JSON at character 17: Expecting ',' delimiter",
    "no-key": "send `Authorization: Bearer KEY` or `X-API-Key: KEY`; `iotlens keys add` makes one",
    "scope": "/metrics needs scope 'metrics', but key 'dashboard' has ['identify']",
    "unknown-device": _MISSING["problem"]["detail"],
    "nothing-known": "neither MEMBERSHIP nor the indicators know 'sensor-999' at 2026-03-02T12:00:00Z",
    "no-service": "neither MEMBERSHIP nor identification says what the device is then; name the service in the"
    " question, or ask of another moment",
    "unknown-service": "no service 'smoke'; there are bike_sharing, smoke_sensor, video",
    "unknown-report": "no report 'run.tiny.1'; `iotlens report` and GET /reports list those there are",
    "too-slow": "a body must arrive within 30 s",
    "too-large": "a body may have 16777216 bytes, but this one has at least 20000000",
    "not-json": "Content-Type must be application/json, however: text/plain",
    "wrong-host": "a service without keys goes by localhost and loopback addresses, not by 'example.org'",
    "invalid": "#/flows/0/up_bytes: Input should be greater than or equal to 0",
    "no-inline-flows": "app_identification-3f0c5a9d1b27 looks at windows of 1h; ask by device_ids",
    "internal": "the log of the service says more, under the instance",
    "not-ready": "the model is not loaded; the log of the service says why",
    "overloaded": "256 requests wait already",
}
PROBLEM_MEMBERS: dict[str, dict[str, Any]] = {
    "unknown-device": {"missing": ["meter-999"]},
    "nothing-known": {"missing": ["sensor-999"]},
    "invalid": {
        "errors": [
            {
                "pointer": "#/flows/0/up_bytes",
                "rule": "greater_than_equal",
                "detail": "Input should be greater than or equal to 0",
            }
        ]
    },
}
INSTANCE = "urn:uuid:6b0f4f0e-6f2e-4d0c-9f43-0f1f6a0c4d52"
QUESTIONS: dict[str, Any] = {
    "devices": {
        "summary": "Devices by name, from the online store",
        "value": {"device_ids": ["meter-017"]},
    },
    "flows": {
        "summary": "The flows of a session, inline (session models)",
        "value": {"flows": [_COAP_REPORT]},
    },
}
BATCH_QUESTIONS: dict[str, Any] = {
    "devices": {
        "summary": "Many devices; one without a window does not fail the others",
        "value": {"device_ids": ["meter-017", "meter-999"]},
    },
}
ANSWERS: dict[str, Any] = {"answers": [_ANSWER]}
BATCH_ANSWERS: dict[str, Any] = {"answers": [_ANSWER, _MISSING], "known": 1, "stale": 0, "missing": 1}
WHY_QUESTIONS: dict[str, Any] = {
    "scores": {
        "summary": "Which steps cost the score of a service its points",
        "value": {"service": "smoke_sensor", "device_ids": ["sensor-017"], "top": 3},
    },
    "devices": {
        "summary": "Devices by name, and the two strongest reasons",
        "value": {"device_ids": ["meter-017", "meter-999"], "top": 2},
    },
    "flows": {
        "summary": "The flows of a session, inline (session models)",
        "value": {"flows": [_COAP_REPORT]},
    },
}
_EXPLANATION: dict[str, Any] = {
    "unit": "log odds",
    "method": "tree paths",
    "base": -1.25,
    "groups": [
        {
            "group": "up_bytes_per_flow",
            "contribution": 2.5,
            "features": [
                {
                    "feature": "up_bytes_per_flow",
                    "value": 132.0,
                    "unit": "byte",
                    "usual_low": 61.0,
                    "usual_high": 2210.5,
                    "contribution": 1.75,
                },
                {
                    "feature": "up_bytes",
                    "value": 528,
                    "unit": "byte",
                    "usual_low": 180.0,
                    "usual_high": 40320.0,
                    "contribution": 0.75,
                },
            ],
        },
        {
            "group": "night_share",
            "contribution": -0.5,
            "features": [
                {
                    "feature": "night_share",
                    "value": None,
                    "unit": "1",
                    "usual_low": 0.0,
                    "usual_high": 0.5,
                    "contribution": -0.5,
                }
            ],
        },
    ],
    "rest": 0.25,
    "score": 1.0,
}
EXPLANATIONS: dict[str, Any] = {
    "answers": [{**_ANSWER, "explanation": _EXPLANATION, "problem": None}, _MISSING]
}
REPORTS: dict[str, Any] = {
    "reports": [
        {
            "id": "selection.2026-03-01-unlock_delay_s",
            "kind": "selection",
            "headline": "6 of 55 indicators explain unlock_delay_s; 4 of them are the radio network's",
            "made": "2026-03-01T09:00:00Z",
            "markdown": True,
        }
    ]
}
