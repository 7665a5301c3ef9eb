"""The questions about scores that OpenAPI and docs/rest.md show. A test asks every question and checks each answer."""

from typing import Any

_DEEP_INDOOR: dict[str, Any] = {  # few of its alarms arrive at once: the radio repeats, the platform is well
    "notify_success_rate": {"value": 97.5, "samples": 40},
    "rach_success_rate_ce2": 71,
    "rrc_setup_success_rate": {"value": 96.5, "samples": 200},
    "service_request_success_rate": 98.6,
    "app_push_success_rate": 99.7,
    "nrsrp_median": -116,
    "ul_interference_level": -119,
    "platform_access_availability": 99.99,
    "coap_retransmission_rate": 14,
    "rrc_setup_delay_p95": 4200,
    "access_side_rtt_p95": 9800,
    "ul_repetition_mean": 18,
    "nas_data_delay_p95": 310,
    "rule_engine_delay_p95": 90,
    "app_push_delay_p95": 220,
    "nprach_load_ratio": 12,
    "heartbeat_arrival_ratio": {"value": 96.0, "samples": 25},
    "device_online_ratio": 96.0,
    "lwm2m_update_success_rate": 98.9,
    "attach_success_rate": None,
    "tau_success_rate": 98.2,
}
_SLOW_UNLOCK: dict[str, Any] = {
    "command_delivery_success_rate": {"value": 91.0, "samples": 60},
    "paging_success_rate": 84,
    "rrc_setup_success_rate": 99.1,
    "nrsrp_median": -97,
    "downlink_unreachable_ratio": 11,
    "device_online_ratio": 96.5,
    "service_request_success_rate": 99.1,
    "nsinr_median": 8,
    "mqtt_connect_success_rate": 99.5,
    "npdsch_utilisation": 61,
    "command_delivery_delay_p95": 7.2,
    "rrc_setup_delay_p95": 1100,
    "access_side_rtt_p95": 2500,
    "nas_data_delay_p95": 140,
    "rule_engine_delay_p95": 85,
    "server_side_rtt_p95": 38,
    "nprach_load_ratio": 22,
    "notify_success_rate": 99.2,
    "app_push_success_rate": 99.6,
    "ul_interference_level": -124,
    "rrc_drop_rate": 0.7,
    "mqtt_abnormal_disconnect_rate": 1.8,
    "tau_success_rate": 99.2,
}
_STALLING: dict[str, Any] = {
    "vid_dl_throughput": 1.9,
    "vid_cdn_ttfb": 80,
    "vid_rtt_client": 95,
    "vid_dns_delay": 38,
    "vid_rtt_server": 19,
    "vid_cdn_hit_ratio": 96,
    "vid_sinr": 2,
    "vid_tcp_setup_success": 99.2,
    "vid_prb_utilisation": 88,
    "vid_rsrp": -106,
    "vid_retx_client": 3.1,
    "vid_loss_server": 0.1,
    "vid_cdn_load": 47,
    "vid_bitrate_mean": 1.4,
    "vid_switch_rate": 3.2,
}
_SENSOR: dict[str, Any] = {"service": "smoke_sensor", "indicators": _DEEP_INDOOR}
_VIDEO: dict[str, Any] = {"service": "video", "indicators": _STALLING}
QUESTIONS: dict[str, Any] = {
    "device": {
        "summary": "A device by name, from the indicators of the workspace",
        "value": {"device_id": "sensor-017"},
    },
    "smoke_sensor": {"summary": "A smoke sensor, values inline", "value": _SENSOR},
    "bike": {
        "summary": "A shared bike, values inline; the service by the label of its identification",
        "value": {"label": "bike_lock", "indicators": _SLOW_UNLOCK},
    },
    "video": {"summary": "A video session, values inline", "value": _VIDEO},
}
BATCH_QUESTIONS: dict[str, Any] = {
    "devices": {
        "summary": "Many devices by name",
        "value": {"device_ids": ["sensor-017", "sensor-999"]},
    },
    "rows": {
        "summary": "Rows by name and inline; one that is wrong does not fail the others",
        "value": {
            "rows": [
                {"device_id": "sensor-017"},
                _VIDEO,
                {"service": "video", "indicators": {"vid_rsrp": -104, "vid_sinnr": 6}},
            ]
        },
    },
}
_STALLED: dict[str, Any] = {
    "service": "video",
    "scope": "inline",
    "device_id": None,
    "window_end": None,
    "status": "scored",
    "score": 44.62,
    "low": 44.62,
    "high": 46.57,
    "estimate": 45.45,
    "coverage": 0.982,
    "worst_kqi": "vd_stalling_ratio",
    "worst_step": "vd_play/1 segment loop",
    "worst_indicator": "vid_dl_throughput",
    "warning": None,
}
SCORE: dict[str, Any] = {  # one of each list; the answer has all
    **_STALLED,
    "service_by": "question",
    "kqis": [
        {
            "kqi": "vd_stalling_ratio",
            "name": "Stalling ratio",
            "score": 40.09,
            "coverage": 0.96,
            "weight": 0.45,
            "target": 1.6,
            "unit": "%",
            "lost": 28.23,
        }
    ],
    "processes": [
        {
            "process": "vd_play",
            "name": "Continuous play",
            "score": 38.3,
            "coverage": 0.75,
            "steps": [{"step": "vd_play/1 segment loop", "score": 38.3, "coverage": 0.75, "lost": 36.9}],
        }
    ],
    "lost": {"total": 55.38, "by_unknown": 1.88},
    "indicators": [
        {
            "indicator": "vid_dl_throughput",
            "value": 1.9,
            "unit": "Mbit/s",
            "utility": 21.67,
            "scope": None,
            "scope_id": None,
            "samples": None,
            "window_end": None,
            "age_s": None,
            "lost": 19.62,
            "note": None,
        }
    ],
    "unused": [],
    "simulated": False,
}
SCORES: dict[str, Any] = {
    "answers": [
        _STALLED
        | {
            "kqis": {
                "vd_initial_buffering_delay": 59.56,
                "vd_stalling_ratio": 40.09,
                "vd_quality_stability": 34.25,
            }
        },
        {
            "row": 1,
            "device_id": "sensor-999",
            "status": "refused",
            "problem": {
                "type": "urn:iotlens:problem:nothing-known",
                "title": "Nothing is known of the device",
                "status": 404,
                "detail": "neither MEMBERSHIP nor the indicators know 'sensor-999' at 2026-03-02T12:00:00Z",
            },
        },
    ],
    "scored": 1,
    "insufficient": 0,
    "refused": 1,
    "simulated": False,
}
MARK_QUESTIONS: dict[str, Any] = {
    "devices": {"summary": "The marks of devices by name", "value": {"device_ids": ["sensor-017", "bike-3"]}},
}
