"""The life of a camera: kept registered, and a clip near the MTU whenever something moves."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from evaluation.simulation.dialling import datagrams, dial, resolve_platform
from evaluation.simulation.fleet import DAY_S, Device
from evaluation.simulation.timeline import power_cuts, spells
from evaluation.simulation.wire.conversation import Line
from evaluation.simulation.wire.media import RtpSource, RtspRecording, SipCamera
from evaluation.simulation.wire.session import thought
from evaluation.simulation.wire.tap import Packet, noise

Film = Callable[[float], None]  # sends a clip of that many seconds; of 0 seconds, a sign of life

_RTP_PORTS = (15060, 15060, 20000, 30000)  # media ports that GB/T 28181 servers offer; judgement
_PLATFORM = "34020000002000000001"  # GB/T 28181 identity of a SIP server
_GAP_S = (0.015, 0.03)  # between packets of a clip: the slow end of the profile, so that a clip is small
_LARGE = 0.85  # share of packets as large as the camera makes them; the rest ends frames or is sound
_RECEIVER_REPORT_S = 1.0
_SIGNS = 5  # a sign of life every so many keep-alive intervals; diluted as the clips are


def live(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield signs of life and clips in time order."""
    line = device.line(0)
    film = _film(device, line)
    for at, seconds in _moments(device, line, days=days):
        line.tap.wait_until(at)
        film(seconds)
        yield line.tap.take()


def _moments(device: Device, line: Line, *, days: int) -> list[tuple[float, float]]:
    """Return (start, seconds) of signs of life and clips, without those before service and in power cuts."""
    rng, period = line.link.rng, _SIGNS * device.beat.keepalive_s
    phase = float(rng.random())
    signs = [((number + phase) * period, 0.0) for number in range(int(days * DAY_S / period))]
    clips = [(start, end - start) for start, end in spells(device, rng, days=days)]
    off = [(0.0, device.beat.joins_s or 0.0), *power_cuts(rng, days=days)]
    return sorted(
        (at, seconds) for at, seconds in signs + clips if not any(start <= at < end for start, end in off)
    )


def _film(device: Device, line: Line) -> Film:
    stack = device.service.kind.stack
    if stack == "rtsp":
        return lambda seconds: _record(device, line, seconds=seconds)
    if stack == "web":
        return lambda seconds: _upload(device, line, seconds=seconds)
    if stack == "sip":
        return _invited(device, line)
    raise ValueError(
        f"{device.profile.id}.server_ports must be of stack rtsp, web or sip, but one is {stack}"
    )


def _packets(device: Device, line: Line, *, seconds: float) -> Iterator[tuple[int, float]]:
    """Yield (bytes, seconds to the next) of the packets of a clip."""
    rng, gone = line.link.rng, 0.0
    while gone < seconds:
        size = device.up.draw(rng) if rng.random() < _LARGE else int(rng.integers(60, 900))
        gap = float(rng.uniform(*_GAP_S))
        yield min(size, device.profile.payload_up_bytes[1]), gap
        gone += gap


def _record(device: Device, line: Line, *, seconds: float) -> None:
    """RTSP: a connection per contact, the RTP of a clip interleaved in it."""
    resolve_platform(device, line)
    recording, source = RtspRecording(dial(device, line), device.service.server.name), RtpSource(line)
    recording.start()
    for size, gap in _packets(device, line, seconds=seconds):
        recording.media(source.packet(size, line.tap.now))
        line.tap.now += gap
    recording.stop()


def _upload(device: Device, line: Line, *, seconds: float) -> None:
    """HTTPS: a connection per contact, a clip as one long request."""
    resolve_platform(device, line)
    rng, stream = line.link.rng, dial(device, line)
    stream.open()
    answer = noise(rng, int(rng.integers(150, 400)))
    size = int(rng.integers(200, 400)) + sum(size for size, _ in _packets(device, line, seconds=seconds))
    stream.exchange(True, noise(rng, size), answer=answer, after=thought(line))
    stream.close(up=True)


def _invited(device: Device, line: Line) -> Film:
    """GB/T 28181: registered over UDP; a clip is invited by the server and sent as RTP to a port of its own."""
    registered = False
    udp = datagrams(device, line, server=device.service.server)
    camera = SipCamera(udp, camera=f"34020000001320{int(device.address) % 1_000_000:06d}", server=_PLATFORM)

    def film(seconds: float) -> None:
        nonlocal registered
        if not registered:
            resolve_platform(device, line)
            camera.start()
            registered = True
        if seconds:
            port = int(line.link.rng.choice(_RTP_PORTS))
            camera.invite(port)
            _stream(device, line, seconds=seconds, port=port)
            camera.stop()
        else:
            camera.keep_alive()

    return film


def _stream(device: Device, line: Line, *, seconds: float, port: int) -> None:
    media = datagrams(device, line, server=replace(device.service.server, port=port))
    source = RtpSource(line)
    tap, told = line.tap, line.tap.now
    for size, gap in _packets(device, line, seconds=seconds):
        media.send(True, source.packet(size, tap.now), at=tap.now)
        tap.now += gap
        if tap.now - told > _RECEIVER_REPORT_S:
            media.send(False, noise(line.link.rng, 32), at=tap.now)
            told = tap.now
