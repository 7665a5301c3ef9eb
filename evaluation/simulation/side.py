"""What every kind of device does beside its work: clock readings and file downloads."""

from collections.abc import Iterator

from evaluation.simulation.dialling import connection, datagrams, resolve, secured
from evaluation.simulation.fleet import DAY_S, Device, Server, server_address
from evaluation.simulation.wire.names import HTTP_PORT, HTTPS_PORT, NTP_PORT, get_page, read_clock
from evaluation.simulation.wire.tap import Packet

_NTP_SHARE = 0.5  # of devices that are no NB-IoT modules, which take the time from the network; judgement
_CLOCK = "0.pool.time.example"


def clock(device: Device, *, days: int, epoch_s: float) -> Iterator[list[Packet]]:
    """Yield a clock reading a day or so, where the device is of the kind that does it."""
    line = device.line(2)
    rng, tap = line.link.rng, line.tap
    if device.radio.rate_bit_s < 100_000 or rng.random() > _NTP_SHARE:
        return
    tap.now = max(float(rng.random()) * DAY_S, device.beat.joins_s or 0.0)
    while tap.now < days * DAY_S:
        address = server_address(device.site, "ntp", number=int(rng.integers(4)))
        server = Server(address, NTP_PORT, _CLOCK)
        resolve(device, line, server=server)
        read_clock(line, datagrams(device, line, server=server), epoch_s=epoch_s)
        yield tap.take()
        tap.now += DAY_S * float(rng.uniform(0.9, 1.1))


def downloads(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield the files a type fetches now and then: A-GNSS, firmware."""
    line, rule = device.line(3), device.profile.download
    rng, tap = line.link.rng, line.tap
    if rule is None:
        return
    tap.now = (device.beat.joins_s or 0.0) + float(rng.exponential(DAY_S / rule.per_day))
    while tap.now < days * DAY_S:
        name = f"files.{device.site.name}.platform.example"
        address = server_address(device.site, "files", number=int(rng.integers(3)))
        server = Server(address, HTTPS_PORT if rule.secure else HTTP_PORT, name)
        resolve(device, line, server=server)
        tcp = connection(device, line, server=server)
        stream = secured(device, tcp, name=name) if rule.secure else tcp
        stream.open()
        get_page(stream, name, path=f"/fw/{int(rng.integers(100))}.bin", size=int(rng.integers(*rule.bytes)))
        stream.close(up=True)
        yield tap.take()
        tap.now += float(rng.exponential(DAY_S / rule.per_day))
