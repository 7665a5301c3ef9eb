"""The life of a camera: kept registered, and a clip near the MTU whenever something moves."""

from collections.abc import Callable, Iterator

from evaluation.simulation.dialling import dial, resolve
from evaluation.simulation.fleet import DAY_S, Device
from evaluation.simulation.timeline import power_cuts, spells
from evaluation.simulation.wire.conversation import Line, UdpConversation
from evaluation.simulation.wire.media import RtpSource, RtspRecording, SipCamera
from evaluation.simulation.wire.session import thought
from evaluation.simulation.wire.tap import Packet

_RTP_PORTS = (15060, 15060, 20000, 30000)  # media ports that GB/T 28181 servers offer; judgement
_GAP_S = (
    0.015,
    0.03,
)  # between packets of a clip: the slow end of the profile's range, so that a clip is small
_RECEIVER_REPORT_S = 1.0
_SIGNS = 5  # a sign of life every so many keep-alive intervals; diluted as the clips are


def live(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield keep-alives and clips in time order."""
    line = device.line(0)
    rng = line.link.rng
    clips = spells(device, rng, days=days)
    cuts = list(power_cuts(rng, days=days))
    beats = _beats(device, float(rng.random()), days=days)
    film = {"rtsp": _rtsp, "sip": _sip, "web": _upload}[device.service.kind.stack](device, line)
    moments = sorted([(at, 0.0) for at in beats] + [(start, end - start) for start, end in clips])
    for at, length in moments:
        if any(start < at < end for start, end in cuts) or at < (device.beat.joins_s or 0.0):
            continue
        line.tap.wait_until(at)
        film(length)
        yield line.tap.take()


Film = Callable[[float], None]  # a clip of that many seconds; 0 for a sign of life


def _beats(device: Device, phase: float, *, days: int) -> Iterator[float]:
    period = _SIGNS * device.beat.keepalive_s
    return ((number + phase) * period for number in range(int(days * DAY_S / period)))


def _look_up(device: Device, line: Line) -> None:
    if device.service.asks_dns:
        resolve(device, line, device.service.name, device.service.address)


def _packets(line: Line, device: Device, seconds: float) -> Iterator[tuple[int, float]]:
    """Yield (bytes, gap to the next) of the packets of a clip: the device's size, with small ones between."""
    rng, gone = line.link.rng, 0.0
    while gone < seconds:
        gap = float(rng.uniform(*_GAP_S))
        yield (min(device.up.draw(rng), 1400) if rng.random() < 0.85 else int(rng.integers(60, 900))), gap
        gone += gap


def _rtsp(device: Device, line: Line) -> Film:
    """A connection per clip, RTP interleaved in it."""

    def film(seconds: float) -> None:
        _look_up(device, line)
        recording, source = RtspRecording(dial(device, line), device.service.name), RtpSource(line)
        recording.start()
        for size, gap in _packets(line, device, seconds):
            recording.media(source.packet(size, line.tap.now))
            line.tap.now += gap
        recording.stop()

    return film


def _upload(device: Device, line: Line) -> Film:
    """HTTPS: a session per contact, a clip as one long request."""

    def film(seconds: float) -> None:
        _look_up(device, line)
        stream = dial(device, line)
        stream.open()
        rng = line.link.rng
        size = sum(size for size, _ in _packets(line, device, seconds)) + int(rng.integers(200, 400))
        stream.exchange(True, rng.bytes(size), rng.bytes(int(rng.integers(150, 400))), after=thought(line))
        stream.close(up=True)

    return film


def _sip(device: Device, line: Line) -> Film:
    """Registered over UDP; a clip is invited by the server and sent as RTP to a port of its own."""
    service = device.service
    signalling = UdpConversation(line, device.ends(line, service.address, service.port))
    camera = SipCamera(
        signalling, f"34020000001320{int(device.address) % 1_000_000:06d}", "34020000002000000001"
    )
    registered: list[bool] = []

    def film(seconds: float) -> None:
        if not registered:
            _look_up(device, line)
            camera.start()
            registered.append(True)
        if not seconds:
            camera.keep_alive()
            return
        rng = line.link.rng
        port = int(rng.choice(_RTP_PORTS))
        camera.invite(port)
        media, source = UdpConversation(line, device.ends(line, service.address, port)), RtpSource(line)
        told = line.tap.now
        for size, gap in _packets(line, device, seconds):
            media.send(True, source.packet(size, line.tap.now), at=line.tap.now)
            line.tap.now += gap
            if line.tap.now - told > _RECEIVER_REPORT_S:
                media.send(False, rng.bytes(32), at=line.tap.now)
                told = line.tap.now
        camera.stop()

    return film
