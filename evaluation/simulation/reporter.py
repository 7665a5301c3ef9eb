"""The life of a device that reports: events played over a session that it keeps, loses and opens again."""

from collections.abc import Iterator
from itertools import zip_longest

from evaluation.simulation.dialling import open_session, resolve_platform
from evaluation.simulation.fleet import DAY_S, Device
from evaluation.simulation.timeline import Event, timeline
from evaluation.simulation.wire.tap import Packet

_KNOWN_BEFORE = 0.6  # share of lasting sessions that were open before the first capture; judgement
_LOSSES = {"tcp": 1.0, "udp": 0.2}  # factor on reconnects: a registration outlives a mapping; judgement
_LINGERS_S = 75.0  # a session is left after an event when nothing follows within; judgement


def live(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield what the tap sees of a device: chunks of packets, each in time order, starting in time order."""
    life = _Life(device)
    rng = life.line.link.rng
    events = timeline(device, rng, days=days)
    for event, following in zip_longest(events, events[1:]):
        yield from life.keep_until(event.at)
        yield life.play(event, alone=following is None or following.at - event.at > _LINGERS_S)
    yield from life.keep_until(days * DAY_S)


class _Life:
    """A device's session over the days."""

    def __init__(self, device: Device) -> None:
        self.device, self.line = device, device.line(0)
        self.session = open_session(device, self.line)
        self.sleepy = "sleepy" in device.profile.typical_marks
        known = self.sleepy or self.line.link.rng.random() < _KNOWN_BEFORE
        self.connected = known and device.beat.lasting and device.beat.joins_s is None

    def keep_until(self, moment: float) -> Iterator[list[Packet]]:
        """Yield the keep-alives until `moment`; now and then the session is lost and opened again."""
        tap, beat, transport = self.line.tap, self.device.beat, self.device.service.kind.transport
        if self.sleepy or not (self.connected and beat.lasting):
            return
        risk = self.device.site.reconnects_per_day * _LOSSES[transport] * beat.keepalive_s / DAY_S
        while tap.now + beat.keepalive_s < moment:
            tap.now += beat.keepalive_s
            if self.line.link.rng.random() < risk:
                self.session.lose()
                self.connected = False
            self._connect()
            self.session.keep_alive()
            yield tap.take()

    def play(self, event: Event, *, alone: bool) -> list[Packet]:
        """Return the packets of one event; connect before it, and leave after it where no session is kept.

        alone: no other event follows soon.
        """
        self.line.tap.wait_until(event.at)
        if event.act == "off":
            self.connected = False
            return []
        self._connect()
        if event.act == "report":
            self.session.report(event.up, event.down)
        elif event.act == "command":
            self.session.command(event.down, event.up)
        else:
            self.session.keep_alive()
        if alone and not self.device.beat.lasting:
            self.session.stop()
            self.connected = False
        return self.line.tap.take()

    def _connect(self) -> None:
        if self.connected:
            return
        self.session = open_session(self.device, self.line)
        resolve_platform(self.device, self.line)
        self.session.start()
        self.connected = True
