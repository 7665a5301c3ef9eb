"""FLOWS: one row per bidirectional flow, seen from the device; and the readers that fill it."""

from features.table import Column

FIRST_PACKETS = 32  # default N of the first-packet lists; nfstream allows up to 255
NDPI_CONFIDENCE = (0, 8)  # nDPI 4.x ndpi_confidence_t: 0 unknown .. 6 DPI, higher by later additions

_SIDES = (("up", "from the device"), ("down", "to the device"))
_FLAGS = ("syn", "cwr", "ece", "urg", "ack", "psh", "rst", "fin")


def _one_way(side: str, way: str) -> tuple[Column, ...]:
    ps = f"IP packet size {way}; empty without a packet"
    piat = f"gap between packets {way}; empty below two packets"
    return (
        Column(f"{side}_packets", "int64", "1", f"packets {way} (IPFIX packetDeltaCount)", low=0),
        Column(f"{side}_bytes", "int64", "byte", f"IP-layer bytes {way} (IPFIX octetDeltaCount)", low=0),
        *(
            Column(f"{side}_{stat}_ps", "float64", "byte", f"{stat} {ps}", low=0, empty=True, given_by="pcap")
            for stat in ("min", "mean", "stddev", "max")
        ),
        *(
            Column(f"{side}_{stat}_piat_ms", "float64", "ms", f"{stat} {piat}", low=0, empty=True, given_by="pcap")
            for stat in ("min", "mean", "stddev", "max")
        ),
        *(
            Column(f"{side}_{flag}_packets", "int64", "1", f"TCP packets {way} with {flag.upper()} set", low=0)
            for flag in _FLAGS
        ),
    )


FLOWS: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device the flow is seen from, as the device map names it"),
    Column("source", "string", "-", "content id of the capture: first 16 hex digits of its SHA-256"),
    Column("start", "timestamp", "UTC", "first packet (IPFIX flowStartMicroseconds; nfstream resolves 1 ms)"),
    Column("end", "timestamp", "UTC", "last packet (IPFIX flowEndMicroseconds; nfstream resolves 1 ms)"),
    Column("initiated_by_device", "bool", "-", "the first packet went up (IPFIX biflowDirection)"),
    Column("protocol", "int64", "1", "L4 protocol number (IPFIX protocolIdentifier)", low=0, high=255),
    Column("ip_version", "int64", "1", "4 or 6 (IPFIX ipVersion)", low=4, high=6),
    Column("device_port", "int64", "1", "transport port on the device; 0 where the protocol has none", low=0, high=65535),
    Column("peer_port", "int64", "1", "transport port on the other end; 0 where the protocol has none", low=0, high=65535),
    Column("device_ip", "string", "-", "address of the device; never a feature", empty=True),
    Column("peer_ip", "string", "-", "address of the other end; counted, never itself a feature"),
    Column("vlan_id", "int64", "1", "IEEE 802.1Q VLAN; 0 for none (IPFIX vlanId)", low=0, high=4095),
    *(column for side, way in _SIDES for column in _one_way(side, way)),
    Column("first_ps", "int32[]", "byte", "IP sizes of the first N packets: positive up, negative down", empty=True, given_by="pcap"),
    Column("first_piat_ms", "int64[]", "ms", "gap before each of the first N packets; 0 for the first", low=0, empty=True, given_by="pcap"),
    Column("application", "string", "-", "nDPI application, Master.Sub", empty=True, given_by="pcap"),
    Column("application_category", "string", "-", "nDPI category", empty=True, given_by="pcap"),
    Column("application_confidence", "int64", "1", "nDPI ndpi_confidence_t; 0 unknown, 6 deep inspection", low=0, high=16),
)
