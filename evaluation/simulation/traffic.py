"""A seeded fleet of the ten device types writes captures: real protocol bytes, virtual days, two sites."""

import datetime as dt
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from evaluation.simulation import camera, phone, reporter, side, strangers
from evaluation.simulation.capture import in_order, merged, write_days
from evaluation.simulation.fleet import Device, population, write_map
from evaluation.simulation.profiles import FlowProfiles, Site, read_profiles
from evaluation.simulation.whole import check_counts, check_free, made_whole
from evaluation.simulation.wire.tap import Packet
from features.lake import SIMULATED


@dataclass(frozen=True)
class Simulated:
    """What was written. devices: the device map; device_count and packets: how many."""

    captures: tuple[Path, ...]
    devices: Path
    device_count: int
    packets: int


@dataclass(frozen=True)
class _Plan:
    """All that decides the bytes."""

    profiles: FlowProfiles
    seed: int
    devices_per_type: int
    days: int

    def fleet(self, site: Site) -> list[Device]:
        """Return the devices of a site, the same in every process."""
        return population(
            self.profiles, site, seed=self.seed, devices_per_type=self.devices_per_type, days=self.days
        )

    @property
    def start(self) -> dt.datetime:
        """Midnight of the first day, UTC."""
        return dt.datetime.combine(self.profiles.simulation.start, dt.time(), dt.UTC)


def simulate(out: Path, *, profiles: Path, seed: int, devices_per_type: int, days: int) -> Simulated:
    """Write `out/<site>/<date>.pcap` for every site and day, and `out/devices.csv`, the device map.

    The same arguments give the same bytes, on any number of cores. `out` appears whole or not at all: work
    goes on in a hidden folder beside it. Raises FileExistsError when `out` holds something, ValueError on a bad
    argument or profile.
    """
    check_counts(devices_per_type=devices_per_type, days=days)
    check_free(out)
    plan = _Plan(read_profiles(profiles), seed, devices_per_type, days)
    with made_whole(out) as folder:
        captures, packets, count = _write(plan, folder)
    return Simulated(tuple(out / name for name in captures), out / "devices.csv", count, packets)


def _write(plan: _Plan, folder: Path) -> tuple[list[Path], int, int]:
    sites = plan.profiles.simulation.sites
    devices = [device for site in sites for device in plan.fleet(site)]
    write_map(folder / "devices.csv", devices)
    (folder / SIMULATED).touch()
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the caller's threads' locks
    with ProcessPoolExecutor(min(len(sites), os.cpu_count() or 1), mp_context=spawn) as pool:
        jobs = [pool.submit(_write_site, plan, folder, place=place) for place in range(len(sites))]
        written = [job.result() for job in jobs]
    captures = [path.relative_to(folder) for site in written for path, _ in site]
    return captures, sum(count for site in written for _, count in site), len(devices)


def _write_site(plan: _Plan, folder: Path, *, place: int) -> list[tuple[Path, int]]:
    """Write the captures of one site; runs in a process of its own."""
    site = plan.profiles.simulation.sites[place]
    (folder / site.name).mkdir()
    names = [f"{plan.start + dt.timedelta(days=day):%F}" for day in range(plan.days)]
    packets = site_packets(plan, site)
    days = write_days(packets, folder / site.name, names=names, epoch_s=int(plan.start.timestamp()))
    told = f"simulate {site.name}"
    return list(tqdm(days, desc=told, total=plan.days, unit="day", position=place, delay=2, disable=None))


def site_packets(plan: _Plan, site: Site) -> Iterator[Packet]:
    """Yield what the tap of a site sees, in time order."""
    devices = plan.fleet(site)
    epoch_s = plan.start.timestamp()
    streams = [strangers.scans(site, devices, seed=plan.seed, days=plan.days)]
    for device in devices:
        streams += _activities(device, days=plan.days, epoch_s=epoch_s)
    return merged(in_order(stream) for stream in streams)


def _activities(device: Device, *, days: int, epoch_s: float) -> list[Iterator[list[Packet]]]:
    """Return the life of one device: its work, and what it does beside it."""
    beside = [side.clock(device, days=days, epoch_s=epoch_s), side.downloads(device, days=days)]
    match device.profile.id:
        case "phone_app":
            return [phone.browse(device, days=days), phone.push(device, days=days), *beside]
        case "camera":
            return [camera.live(device, days=days), *beside]
        case _:
            return [reporter.live(device, days=days), *beside]
