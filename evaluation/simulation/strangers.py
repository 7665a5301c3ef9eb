"""What strangers do to every device alike: port scans and pings."""

from collections.abc import Iterator, Sequence

import numpy as np

from evaluation.simulation.fleet import DAY_S, Device, server_address
from evaluation.simulation.profiles import Site
from evaluation.simulation.wire.coap import Lwm2mSession
from evaluation.simulation.wire.conversation import Line, TcpConversation, UdpConversation
from evaluation.simulation.wire.frames import Ends, IcmpFrames
from evaluation.simulation.wire.tap import Packet

_PING, _COAP = 0, 5683
_PORTS = (_PING, 22, 23, 80, 443, 1883, 2323, _COAP, 8080)
_REACHED = 0.12  # share of a site's devices that one scan touches; judgement
_ANSWERS = 0.5  # share of touches that are answered: a sleeping device does not; judgement
_PACE_S = 0.3  # between two devices of one scan


def scans(site: Site, devices: Sequence[Device], *, seed: int, days: int) -> Iterator[list[Packet]]:
    """Yield the touches of all scans of a site in time order."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, *site.name.encode()]))
    lines = [device.line(4) for device in devices]
    touches = []
    for _ in range(rng.poisson(site.scans_per_day * days)):
        start, port, stranger = rng.uniform(0, days * DAY_S), int(rng.choice(_PORTS)), int(rng.integers(50))
        reached = rng.choice(len(devices), round(len(devices) * _REACHED), replace=False)
        touches += [(start + _PACE_S * order, int(who), port, stranger) for order, who in enumerate(reached)]
    for moment, who, port, stranger in sorted(touches):
        line, address = lines[who], server_address(site, "stranger", number=stranger)
        line.tap.now = moment
        _touch(line, Ends(devices[who].source(version=4), address, port, 40_000 + stranger))
        yield line.tap.take()


def _touch(line: Line, ends: Ends) -> None:
    answers = line.link.rng.random() < _ANSWERS
    if ends.device_port == _PING:
        _ping(line, ends, answers=answers)
    elif ends.device_port == _COAP:
        Lwm2mSession(UdpConversation(line, ends), "", style="post", lifetime_s=0).probe()
    else:
        _knock(line, ends, answers=answers)


def _ping(line: Line, ends: Ends, *, answers: bool) -> None:
    payload = bytes(range(48))
    line.tap.record(line.tap.now, IcmpFrames(ends, line.stack, up=False).frame(1, payload))
    if answers:
        back = line.tap.now + line.link.turnaround(up=False)
        line.tap.record(back, IcmpFrames(ends, line.stack, up=True).frame(1, payload))


def _knock(line: Line, ends: Ends, *, answers: bool) -> None:
    tcp = TcpConversation(line, ends)
    tcp.knock(up=False)
    if answers:
        line.tap.now += line.link.turnaround(up=False)
        tcp.refuse(up=True)
