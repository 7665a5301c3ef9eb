"""MAP.csv says which MAC or address is which device; what it cannot mean is named by file, row, column and rule."""

from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from features.device_map import DeviceMap
from features.map_row import MapRow


@pytest.fixture
def mapped(tmp_path: Path) -> "Mapped":
    return Mapped(tmp_path / "MAP.csv")


class Mapped:
    """A MAP.csv made of lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, *lines: str) -> DeviceMap:
        self.path.write_text("\n".join(lines) + "\n")
        return DeviceMap.read(self.path)


def rows(devices: DeviceMap) -> tuple[MapRow, ...]:
    assert devices.rows is not None
    return devices.rows


def test_a_row_says_all_that_its_cells_say(mapped: Mapped) -> None:
    (row,) = rows(
        mapped(
            "device_id,mac,ip,capture,label,family,site,valid_from,valid_to",
            "m1,20:F8:5E:CA:91:52,10.2.0.0/16,lab/a.pcap,meter,utility,Lyon,2026-03-01,2026-04-01T02:00:00+02:00",
        )
    )
    assert row == MapRow(
        line=2,
        device_id="m1",
        mac="20:f8:5e:ca:91:52",
        network=ip_network("10.2.0.0/16"),
        capture=("lab", "a.pcap"),
        label="meter",
        family="utility",
        site="Lyon",
        valid_from=datetime(2026, 3, 1, tzinfo=UTC),
        valid_to=datetime(2026, 4, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize("mac", ["20:f8:5e:ca:91:52", "20-F8-5E-CA-91-52", "20f8.5eca.9152", "20F85ECA9152"])
def test_a_mac_may_be_written_in_any_usual_way(mapped: Mapped, mac: str) -> None:
    assert rows(mapped("device_id,mac", f"m1,{mac}"))[0].mac == "20:f8:5e:ca:91:52"


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("10.2.3.4", "10.2.3.4/32"),
        ("10.2.0.0/16", "10.2.0.0/16"),
        ("FD00:0:0::5", "fd00::5/128"),
        ("::ffff:10.2.3.4", "10.2.3.4/32"),
        ("::ffff:10.2.0.0/112", "10.2.0.0/16"),
    ],
)
def test_an_address_is_a_network_of_one_and_a_mapped_ipv4_address_is_ipv4(
    mapped: Mapped, ip: str, network: str
) -> None:
    assert rows(mapped("device_id,ip", f"m1,{ip}"))[0].network == ip_network(network)


def test_spreadsheets_may_add_a_mark_spaces_and_empty_lines(mapped: Mapped) -> None:
    mapped.path.write_bytes(b"\xef\xbb\xbfdevice_id, ip ,site\r\n m1 , 10.0.0.1 ,\r\n,,\r\n")
    (row,) = rows(DeviceMap.read(mapped.path))
    assert (row.device_id, row.network, row.site) == ("m1", ip_network("10.0.0.1"), None)


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["device_id,mac"], "must name at least one device, but holds no row"),
        (["device_id,label", "m1,meter"], "row 1 must name the column device_id, and mac or ip or both"),
        (
            ["device_id,ip,lable", "m1,10.0.0.1,x"],
            "row 1: unknown column 'lable'; the nearest known one is 'label'",
        ),
        (["device_id,ip,ip", "m1,10.0.0.1,"], "row 1: column 'ip' must stand once"),
        (["device_id,ip", "m1,10.0.0.1,x"], "row 2 has 3 cells, where the header has 2"),
        (["device_id,ip", ",10.0.0.1"], "row 2, column device_id: must not be empty"),
        (["device_id,mac,ip", "m1,,"], "row 2: must give a mac or an ip"),
        (
            ["device_id,mac", "m1,20:f8:5e:ca:91"],
            "row 2, column mac: must be a MAC such as 20:f8:5e:ca:91:52, however",
        ),
        (["device_id,mac", "m1,20:f8-5e:ca:91:52"], "row 2, column mac: must be a MAC such as"),
        (["device_id,mac", "m1,01:00:5e:00:00:fb"], "'01:00:5e:00:00:fb' is a group address or none at all"),
        (["device_id,mac", "m1,00:00:00:00:00:00"], "'00:00:00:00:00:00' is a group address or none at all"),
        (["device_id,ip", "m1,10.0.0.300"], "row 2, column ip: must be an IP address, or a network such as"),
        (["device_id,ip", "m1,10.0.0.5/24"], "10.0.0.5/24 has host bits set"),
        (["device_id,ip", "m1,224.0.0.251"], "'224.0.0.251' is a group address or none at all"),
        (["device_id,ip", "m1,0.0.0.0"], "'0.0.0.0' is a group address or none at all"),
        (
            ["device_id,ip,capture", "m1,10.0.0.1,../a.pcap"],
            "row 2, column capture: must be the trailing part of a path",
        ),
        (
            ["device_id,ip,valid_from", "m1,10.0.0.1,yesterday"],
            "row 2, column valid_from: must be a time such as",
        ),
        (
            ["device_id,ip,valid_to", "m1,10.0.0.1,9999-12-31"],
            "must lie between 1970 and 2106, however: '9999-12-31'",
        ),
        (
            ["device_id,ip,valid_from,valid_to", "m1,10.0.0.1,2026-03-02,2026-03-02"],
            "row 2, column valid_to: must lie after valid_from",
        ),
        (
            ["device_id,ip", "m1,10.0.0.1", "m2,10.0.0.1/32"],
            "rows 2 and 3: 10.0.0.1/32 must be one device at a time, but is 'm1' and 'm2'",
        ),
        (
            ["device_id,ip,valid_to,valid_from", "m1,10.0.0.1,2026-03-02,", "m2,10.0.0.1,,2026-03-01"],
            "rows 2 and 3: 10.0.0.1/32 must be one device at a time",
        ),
        (
            ["device_id,mac,ip,label", "m1,20f85eca9152,,meter", "m1,,10.0.0.1,lamp"],
            "rows 2 and 3, column label: device 'm1' must have one at a time, but has 'meter' and 'lamp'",
        ),
        (
            [
                "device_id,ip,label,valid_from,valid_to",
                "m1,10.0.0.1,meter,2025-01-01,2026-01-01",
                "m1,10.0.0.1,lamp,2026-01-01,",
                "m1,10.0.0.2,,,",
            ],
            r"row 4, column label: must tell one of \['lamp', 'meter'\], valid in its time",
        ),
    ],
)
def test_what_a_map_cannot_mean_is_named(mapped: Mapped, lines: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=f"MAP.csv: .*{told}"):
        mapped(*lines)


def test_all_faults_are_told_at_once(mapped: Mapped) -> None:
    with pytest.raises(ValueError, match="row 2, column mac") as raised:
        mapped("device_id,mac,ip", "m1,nonsense,", "m2,,10.0.0.x", *(f"m{i},," for i in range(30)))
    lines = str(raised.value).splitlines()
    assert len(lines) == 21
    assert lines[-1].endswith("MAP.csv: and 12 more faults")


def test_a_file_that_is_not_text_is_named(mapped: Mapped) -> None:
    mapped.path.write_bytes(b"device_id,mac\nm1,\xff\xfe\n")
    with pytest.raises(ValueError, match=r"MAP\.csv: row .* is no UTF-8 CSV"):
        DeviceMap.read(mapped.path)


def test_an_identifier_may_go_from_one_device_to_the_next(mapped: Mapped) -> None:
    until, since = "m1,10.0.0.1,,2026-03-01", "m2,10.0.0.1,2026-03-01,"
    assert len(rows(mapped("device_id,ip,valid_from,valid_to", until, since))) == 2


def test_the_rows_of_a_device_share_what_they_tell_at_one_time(mapped: Mapped) -> None:
    devices = mapped(
        "device_id,mac,ip,label,site,valid_to",
        "m1,20f85eca9152,,meter,,",
        "m1,,10.0.0.1,,Lyon,2026-01-01",
    )
    assert [(row.label, row.site) for row in rows(devices)] == [("meter", "Lyon"), ("meter", "Lyon")]


def test_a_row_for_a_capture_counts_where_whole_parts_of_the_path_match_from_the_end(mapped: Mapped) -> None:
    devices = mapped("device_id,ip,capture", "m1,10.0.0.1,Aria/Setup-A-1-STA.pcap", "m2,10.0.0.2,")

    def ids(path: str) -> list[str]:
        return [row.device_id for row in rows(devices.for_capture(Path(path)))]

    assert ids("/data/captures/Aria/Setup-A-1-STA.pcap") == ["m1", "m2"]
    assert ids("Aria/Setup-A-1-STA.pcap") == ["m1", "m2"]
    assert ids("/data/NotAria/Setup-A-1-STA.pcap") == ["m2"]
    assert ids("/data/Aria/NotSetup-A-1-STA.pcap") == ["m2"]
    assert ids("Setup-A-1-STA.pcap") == ["m2"]


def test_the_fingerprint_knows_what_matters_to_a_capture_and_nothing_else(mapped: Mapped) -> None:
    header, row, general = "device_id,ip,capture,label", "m1,10.0.0.1,a.pcap,meter", "m2,10.0.0.2,,lamp"
    path = Path("/data/a.pcap")
    before = mapped(header, row, general).for_capture(path).fingerprint
    assert mapped(header, general, "m3,10.0.0.3,b.pcap,plug", row).for_capture(path).fingerprint == before
    assert mapped(header, row.replace("meter", "lamp"), general).for_capture(path).fingerprint != before
    assert mapped(header, row).for_capture(path).fingerprint != before
    assert DeviceMap.auto().for_capture(path).fingerprint not in {before, DeviceMap(()).fingerprint}
    assert (
        DeviceMap.read(mapped.path, each_address=True).fingerprint != DeviceMap.read(mapped.path).fingerprint
    )
