"""What each kind of feature says, on flows small enough to see or against numpy."""

from datetime import UTC, datetime

import numpy as np
import numpy.testing as npt
import pandas as pd
import pytest
from tiny_fleet import tiny_flows

from features.flows import FLOWS
from features.packet_features import SIZE_BINS
from features.service_features import KINDS
from features.windows import FEATURES, SESSION, device_windows

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PCAP_ONLY = [column.name for column in FLOWS if column.given_by == "pcap"]
PACKET_FEATURES = ("packet_1_ps", "ps_entropy", "keepalive_period", "up_ps_q50", "syn_up_ps", "up_max_ps")


def flows(count: int) -> pd.DataFrame:
    """Flows of a meter: UDP to port 5683 of 192.0.2.10, an answer each, about 900 s apart."""
    return tiny_flows("smart_meter-1", end=NOON, count=count)


def timed(starts_s: list[float], *, lasting_s: float = 1.0) -> pd.DataFrame:
    """Flows that start so many seconds after noon."""
    made = flows(len(starts_s))
    made["start"] = [NOON + pd.Timedelta(seconds=start) for start in starts_s]
    made["end"] = made["start"] + pd.Timedelta(seconds=lasting_s)
    return made


def row(given: pd.DataFrame) -> pd.Series:
    told = device_windows(given, SESSION)
    assert len(told) == 1
    return told.iloc[0]


@pytest.mark.parametrize(
    "kind, address",
    [
        ("broadcast", "255.255.255.255"),
        ("broadcast", "192.168.1.255"),
        ("multicast", "239.255.255.250"),
        ("multicast", "ff02::fb"),
        ("private", "10.1.2.3"),
        ("private", "172.31.0.1"),
        ("private", "100.127.0.9"),
        ("private", "fe80::1"),
        ("private", "fd12:3456::1"),
        ("private", "FEBF::1"),
        ("public", "fe8::1"),
        ("public", "fd::1"),
        ("public", "fec0::1"),
        ("public", "100.128.0.1"),
        ("public", "172.32.0.1"),
        ("public", "198.51.100.255"),
        ("public", "2001:db8::ff"),
    ],
)
def test_the_sort_of_a_peer_is_known_by_its_address(kind: str, address: str) -> None:
    told = row(flows(2).assign(peer_ip=[address, "192.0.2.10"]))
    expected = 1.0 if kind == "public" else 0.5
    assert told[f"{kind}_flow_share"] == expected
    shares = [told[f"{sort}_flow_share"] for sort in ("broadcast", "multicast", "private", "public")]
    assert sum(shares) == 1.0


def test_a_service_is_known_by_its_port_on_either_side() -> None:
    given = flows(4).assign(
        protocol=[17, 17, 6, 1], device_port=[50000, 5353, 443, 0], peer_port=[53, 60000, 51000, 0]
    )
    told = row(given)
    assert [told[f"{kind}_flows"] for kind in ("dns", "mdns", "https", "icmp", "coap")] == [1, 1, 1, 1, 0]
    for share in ("flow", "packet", "byte"):
        assert sum(told[f"{kind}_{share}_share"] for kind in KINDS) == pytest.approx(1.0)


def test_peers_that_share_alike_have_the_entropy_of_their_number() -> None:
    told = row(flows(8).assign(peer_ip=[f"192.0.2.{i % 4}" for i in range(8)]))
    assert (told["peers"], told["peer_flow_entropy"]) == (4, 2.0)
    assert told["top_peer_packet_share"] == 0.25


def test_the_histogram_is_that_of_numpy() -> None:
    rng = np.random.default_rng(3)
    sizes = [rng.integers(40, 1500, 9) * rng.choice([-1, 1], 9) for _ in range(6)]
    told = row(flows(6).assign(first_ps=sizes, first_piat_ms=[np.arange(9)] * 6))
    every = np.concatenate(sizes)
    for way, mine in (("up", every[every > 0]), ("down", -every[every < 0])):
        counts, _ = np.histogram(mine, [*SIZE_BINS, np.inf])
        npt.assert_allclose(
            [told[f"{way}_ps_from_{low}"] for low in SIZE_BINS], counts / len(mine), rtol=1e-12
        )
        assert told[f"{way}_distinct_ps"] == len(np.unique(mine))
        assert told[f"{way}_ps_q50"] == np.median(mine)
    _, seen = np.unique(every, return_counts=True)
    weight = seen / seen.sum()
    assert told["ps_entropy"] == pytest.approx(-(weight * np.log2(weight)).sum(), abs=1e-10)


def test_common_sizes_go_by_frequency_and_large_ones_by_size() -> None:
    told = row(flows(1).assign(first_ps=[[100, 100, 90, -60, 90, 100, 1400]], first_piat_ms=[[0] * 7]))
    assert [told[f"up_common_{place}_ps"] for place in (1, 2, 3)] == [100, 90, 1400]
    assert [told[f"up_large_{place}_ps"] for place in (1, 2, 3)] == [1400, 100, 90]
    assert (told["down_common_1_ps"], np.isnan(told["down_common_2_ps"])) == (60, True)


def test_first_packets_come_in_the_order_of_their_time_across_flows() -> None:
    given = timed([0.0, 0.5])
    given["first_ps"] = [[100, -200, 101], [300, -400]]
    given["first_piat_ms"] = [[0, 700, 10], [0, 100]]
    told = row(given)
    assert [told[f"packet_{place}_ps"] for place in range(1, 6)] == [100, 300, -400, -200, 101]
    assert np.isnan(told["packet_6_ps"])
    assert (told["gap_max"], told["gap_below_1s_share"]) == (500.0, 1.0)


def test_a_keep_alive_inside_one_long_flow_has_a_period() -> None:
    given = flows(1)
    given["first_ps"] = [[52, -52, 54, -52, 54, -52, 54]]
    given["first_piat_ms"] = [[0, 40, 60_000, 35, 60_100, 41, 59_900]]
    told = row(given)
    assert (told["keepalives"], told["keepalive_period"], told["keepalive_regularity"]) == (3, 60.0, 1.0)


def test_a_heartbeat_is_told_from_the_flows_of_one_wake_up() -> None:
    beats = [600.0 * i for i in range(5)]
    given = timed(sorted([*beats, *(beat + 0.2 for beat in beats)]))
    given["peer_port"] = [53, 1883] * 5
    told = row(given)
    assert told["heartbeats"] == 4
    assert told["heartbeat_period"] == pytest.approx(599.8)
    assert told["heartbeat_regularity"] == 1.0
    assert told["repeat_period"] == pytest.approx(600.0)
    assert told["flow_gap_below_1s_share"] == pytest.approx(5 / 9)


def test_burstiness_is_that_of_goh_and_barabasi() -> None:
    starts = np.cumsum([0.0, 0.5, 100.25, 3.0, 0.125, 7200.0, 0.25, 61.5])
    gaps = np.diff(starts)
    told = row(timed(list(starts)))
    expected = (gaps.std() - gaps.mean()) / (gaps.std() + gaps.mean())
    assert told["burstiness"] == pytest.approx(expected, abs=1e-9)


def test_flows_at_the_same_time_are_active_time_once() -> None:
    told = row(timed([0.0, 2.0, 4.0, 20.0], lasting_s=5.0))
    assert told["active_share"] == pytest.approx((9 + 5) / 25)
    assert (told["quiet_spells"], told["quiet_max"], told["span"]) == (1, 11.0, 25.0)


def test_own_ports_are_those_of_flows_that_the_device_began() -> None:
    given = flows(3).assign(device_port=[50001, 50007, 9], initiated_by_device=[True, True, False])
    told = row(given)
    ports = [told[f"udp_own_port_{which}"] for which in ("min", "median", "max")]
    assert ports == [50001, 50004, 50007]
    assert np.isnan(told["tcp_own_port_min"])
    assert told["initiated_share"] == pytest.approx(2 / 3)


def test_a_syn_shows_its_options_by_its_size() -> None:
    given = flows(2).assign(protocol=6, first_ps=[[60, -52, 40], [-48, 44, -40]])
    given["first_piat_ms"] = [[0, 1, 1]] * 2
    for way in ("up", "down"):
        given[f"{way}_syn_packets"] = 1
    told = row(given)
    assert (told["syn_up_ps"], told["syn_down_ps"]) == (60, 48)
    assert told["tcp_flow_packet_2_ps"] == pytest.approx((-52 + 44) / 2)


def test_flows_without_packets_say_what_flows_can_say() -> None:
    given = flows(3)
    for name in PCAP_ONLY:
        given[name] = None
    told = row(given)
    assert (told["flows"], told["coap_flow_share"], told["keepalives"]) == (3, 1.0, 0)
    assert told[list(PACKET_FEATURES)].isna().all()
    whole = [one.column.name for one in FEATURES if not one.column.empty]
    assert told[whole].notna().all()


def test_what_fills_a_list_of_first_packets_up_is_no_packet() -> None:
    given = flows(3).assign(protocol=6, first_ps=[[60, -52, 40]] * 3, first_piat_ms=[[0, 7, 2_000]] * 3)
    filled = given.assign(
        first_ps=[sizes + [0] * 29 for sizes in given["first_ps"]],
        first_piat_ms=[gaps + [0] * 29 for gaps in given["first_piat_ms"]],
    )
    pd.testing.assert_series_equal(row(filled), row(given))


def test_a_capture_may_last_for_years() -> None:
    year_s = 365 * 86_400.0
    told = row(timed([0.0, year_s, 3 * year_s]))
    assert told["flow_gap_max"] == pytest.approx(2 * year_s)
    assert told["burstiness"] == -1.0  # both gaps count as 30 days
