"""What decides a KQI of the simulated province, by its physics and by the selection: found, missed, extra.

    python benchmarks/kqi_selection.py DIR [--devices 2000] [--days 4] [--seed 1] [--rows 5000] [--kqi ID ...]

DIR is made: the province (simulated), its lake, and a selection for each KQI of smoke_sensor and bike_sharing.

Physics says of a KQI: a fault of the catalogue acts on it where its mechanism moves a cause that the law of a step of
the KQI's processes asks for (evaluation/simulation/province/blame.py); such a fault moves the indicators of its
signature, which `python -m evaluation.simulation.province.check` has held against the simulation one by one. So the
indicators of a KQI are those of the signatures of faults that act on it and did happen. Nothing of it looks at the
selection.

An indicator counts as found where it was selected at any scope, or a selected group has it at device or cell. A fault
counts as found where one of its own indicators was: those that at most a quarter of the faults of the KQI share, or
that fewest share; what all faults move tells none of them.

With --told nothing is simulated or selected: what lies in DIR is judged.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from evaluation.faults import Fault
from evaluation.process import Kqi, ServiceModel, read_services
from evaluation.selection.doors import Request
from evaluation.selection.record import Json, read
from evaluation.selection.service_door import KqiRequest, of_service
from evaluation.selection.service_table import indicator_of
from evaluation.simulation.province import blame, province
from evaluation.simulation.province.catalogue import read_faults
from features import indicator_windows
from features.configuration import find_config, packaged_configs
from features.province import load

SERVICES = ("smoke_sensor", "bike_sharing")
ALARMS_PER_DEVICE_MONTH = 9.0  # shipped: 0.03, of which four days of this province see five alarms
DEVICES_EACH, PLACES_EACH = (
    3,
    1,
)  # a day, of the scheduled faults: devices, and times at a place of any other scope
DEVICE_H, BURST_H, SHORT_H = (
    48.0,
    72.0,
    9.0,
)  # how long a scheduled fault lasts: bursts may be of weekdays only
NOT_STEPS = {
    "sensor_broken",
    "tampered",
    "gnss_loss",
    "lifetime_ratio",
    "firmware_loop",
}  # cause that no step asks for


@dataclass(frozen=True)
class Answer:
    """What a selection found of a KQI. faults: of those that act on it, whether one of its indicators was found."""

    service: str
    kqi: str
    score: str
    selected: tuple[str, ...]
    found: tuple[str, ...]
    missed: tuple[str, ...]
    extra: tuple[str, ...]
    faults: Mapping[str, bool]


OFTEN_TOLD = ("device", "cell")  # other scopes have so few places here that members go together by chance
SHARED = 0.25  # of the faults of a KQI: what more of them move is no fault's own


def write_faults(path: Path, services: Sequence[ServiceModel], days: int) -> None:
    """Write a file in which the shipped faults are drawn and each typical fault of a KQI is scheduled besides."""
    known = {fault.id: fault for fault in read_faults(find_config("fault_catalogue.yaml")).faults}
    typical = sorted({name for service in services for kqi in service.kqis for name in kqi.typical_faults})
    schedule = [entry for place, name in enumerate(typical) for entry in _scheduled(known[name], place, days)]
    alarms = {"smoke_sensor": {"alarm": {"false_alarm_per_device_month": ALARMS_PER_DEVICE_MONTH}}}
    path.write_text(yaml.safe_dump({"schedule": schedule, "traffic_patterns": alarms}), encoding="utf-8")


def _scheduled(fault: Fault, place: int, days: int) -> Iterator[dict[str, object]]:
    """Yield entries spread over places and time, the more so the later the fault in the list."""
    device = fault.granularity == "device"
    hours = DEVICE_H if device else BURST_H if fault.onset.shape == "burst" else SHORT_H
    several = {"device": 400, "cell": 8, "platform_node": 2, "app": 3, "fleet": 4}.get(fault.granularity, 1)
    for n in range(days * (DEVICES_EACH if device else PLACES_EACH)):
        onset = (37.0 * place + 29.0 * n) % (24.0 * days - hours)
        where = (place * 131 + n * 53) % several
        yield {"fault": fault.id, "location": where, "severity": 0.9, "onset_h": onset, "duration_h": hours}


def acts_on(fault: Fault, service: ServiceModel, kqi: Kqi) -> bool:
    """Whether a cause that the fault moves is asked for by a step of the KQI's processes."""
    if service.id not in fault.services:
        return False
    moved = {act.actuator for act in fault.mechanism}
    processes = service.processes_of(kqi)
    if kqi.aggregate.kind == "quantile":
        return bool(moved & frozenset().union(*(blame.delays_of(process) for process in processes)))
    steps = [blame.acts_of(step.name) for process in processes for step in process.steps]
    return bool(moved & frozenset().union(blame.SILENT, *steps)) or (
        fault.id in kqi.typical_faults and bool(moved & NOT_STEPS)
    )


def physics(
    service: ServiceModel, kqi: Kqi, faults: Sequence[Fault], happened: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return by fault that acts on a KQI and happened the indicators that it moves."""
    return {
        fault.id: tuple(move.indicator for move in fault.signature)
        for fault in faults
        if fault.id in happened and fault.signature and acts_on(fault, service, kqi)
    }


def judge(summary: Json, service: str, kqi: str, told: Mapping[str, Sequence[str]]) -> Answer:
    """Hold a selection against what the physics says."""
    groups = [
        {indicator_of(row["representative"])}
        | {
            indicator_of(member["indicator"])
            for member in row["members"]
            if member["indicator"].rpartition("@")[2] in OFTEN_TOLD
        }
        for row in summary["groups"]
    ]
    wanted = {indicator for moved in told.values() for indicator in moved}
    chosen = frozenset().union(*groups)
    score = summary["score"]
    return Answer(
        service,
        kqi,
        f"{score['measure']} {score['selected']['value']:.2f} of {score['all']['value']:.2f}",
        tuple(summary["selected"]),
        tuple(sorted(wanted & chosen)),
        tuple(sorted(wanted - chosen)),
        tuple(
            row["representative"]
            for row, members in zip(summary["groups"], groups, strict=True)
            if not members & wanted
        ),
        {fault: bool(chosen & own) for fault, own in owned(told).items()},
    )


def owned(told: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Return by fault the indicators that tell it from most others: few faults move them too."""
    shared = Counter(indicator for moved in told.values() for indicator in moved)
    most = {
        fault: max(SHARED * len(told), min(shared[one] for one in moved)) for fault, moved in told.items()
    }
    return {
        fault: frozenset(one for one in moved if shared[one] <= most[fault]) for fault, moved in told.items()
    }


def as_markdown(answers: Sequence[Answer], happened: Mapping[str, int]) -> str:
    """Return the answers as the tables of docs/selection.md; beside a missed fault how often it happened."""
    lines = [
        "| KQI | score, selected of all | faults found | indicators found | extra |",
        "|---|---|---|---|---|",
    ]
    for one in answers:
        faults = f"{sum(one.faults.values())} of {len(one.faults)}"
        many = f"{len(one.found)} of {len(one.found) + len(one.missed)}"
        lines.append(
            f"| {one.kqi} | {one.score} | {faults} | {many} | {len(one.extra)} of {len(one.selected)} |"
        )
    lines += ["", "| KQI | | |", "|---|---|---|"]
    for one in answers:
        missed = [f"{fault} ({happened[fault]})" for fault, found in one.faults.items() if not found]
        rows = {
            "selected": one.selected, "found": one.found, "missed": one.missed, "extra": one.extra,
            "faults missed": missed,
        }  # fmt: skip
        lines += [f"| {one.kqi} | {what} | {', '.join(names) or '-'} |" for what, names in rows.items()]
    return "\n".join(lines)


def main() -> None:
    """Simulate, load, build, select for each KQI, and print the tables."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("directory", type=Path)
    for name, value in (("devices", 2000), ("days", 4), ("seed", 1), ("rows", 5000)):
        asked.add_argument(f"--{name}", type=int, default=value)
    asked.add_argument("--kqi", nargs="*", default=[])
    asked.add_argument("--told", action="store_true", help="judge the selections that lie there")
    given = asked.parse_args()
    services = [service for service in read_services() if service.id in SERVICES]
    if not given.told:
        _prepare(given, services)
    causes = pq.read_table(given.directory / "province" / "truth.parquet")["cause"].to_pylist()
    catalogue = read_faults(packaged_configs() / "fault_catalogue.yaml").faults
    answers = []
    for service in services:
        for kqi in (one for one in service.kqis if not given.kqi or one.id in given.kqi):
            out, began = given.directory / kqi.id, time.process_time()
            if not given.told:
                asked_kqi = KqiRequest(given.directory / "workspace", service.id, kqi.id)
                of_service(asked_kqi, Request(kqi.id, rows=given.rows), experts=None, out=out)
                print(f"{kqi.id}: {time.process_time() - began:.0f} s of processor time", flush=True)
            told = physics(service, kqi, catalogue, frozenset(causes))
            answers.append(judge(read(out), service.id, kqi.id, told))
            (out / "physics.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"simulated: {given.devices:,} devices, {given.days} days, seed {given.seed}\n")
    print(as_markdown(answers, Counter(causes)))


def _prepare(given: argparse.Namespace, services: Sequence[ServiceModel]) -> None:
    """Simulate the province where it is not yet, load it with its targets, and build its indicators."""
    folder, workspace = given.directory / "province", given.directory / "workspace"
    if not folder.exists():
        given.directory.mkdir(parents=True, exist_ok=True)
        faults = given.directory / "faults.yaml"
        write_faults(faults, services, given.days)
        files = province.Files(find_config("province.yaml"), faults, find_config("noise.yaml"))
        province.simulate(folder, files=files, devices=given.devices, days=given.days, seed=given.seed)
    load(folder, workspace, targets=True)
    indicator_windows.build(workspace)


if __name__ == "__main__":
    main()
