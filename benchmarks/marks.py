"""User marks against the latent truth of provinces (simulated): rules alone, models alone, both.

    python benchmarks/marks.py DIR [--devices 2000] [--days 4] [--train 11] [--seeds 12 13 14]

DIR is made: provinces of these seeds and their lakes. Models learn from the province of --train, whose rules label it;
they are judged on those of --seeds. What is held at the last moment of a lake (probability of at least `held_at`, the
most probable of an exclusive group) is compared with device_truth.parquet, which no rule and no fault made, and, in a
second table, with the faults at devices in truth.parquet. A mark of which nothing is known counts as not held.

Misused SIMs and heavy devices are made ten and five times as frequent as configs/province.yaml has them (2 and 5 % of
devices), or three provinces would hold a dozen of the first; precision at another share p follows from recall and the
share of false marks among devices without it, which the table tells: p * recall / (p * recall + (1 - p) * false).

Variants: models that see what the rules read too (`--set hide_rule_features=false`), a network, and 100 devices of the
training province that experts labelled with its truth.
"""

import argparse
import csv
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from evaluation import mark_rules, marks, trained
from evaluation.mark_rules import UserMarks
from evaluation.marks import Marking
from evaluation.simulation.province import province
from features import indicator_windows, known
from features.configuration import find_config
from features.province import load
from training import mark_models
from training.mark_models import MarkModels

TRAITS = {"misuse_share": 0.02, "heavy_share": 0.05}
IOT = ("smoke_sensor", "bike_sharing")
EXPERTS = 100  # devices labelled by experts, in the variant that has some
Z = 1.96  # of a 95 % interval
Truth = Callable[[pd.DataFrame], "pd.Series[bool]"]

# mark -> what of device_truth says so, and of which services it is judged
LATENT: Mapping[str, tuple[Truth, tuple[str, ...]]] = {
    "static": (lambda t: t["mobility"] == "static", IOT),
    "static (phones too)": (lambda t: t["mobility"] == "static", (*IOT, "video")),
    "nomadic": (lambda t: t["mobility"] == "nomadic", IOT),
    "outdoor": (lambda t: t["place"] == "outdoor", IOT),
    "indoor": (lambda t: t["place"] == "indoor", IOT),
    "deep_indoor": (lambda t: t["place"] == "deep_indoor", IOT),
    "always_on": (lambda t: t["reachability"] == "always_on", (*IOT, "video")),
    "sleepy": (lambda t: t["reachability"] == "sleepy", (*IOT, "video")),
    "heavy_for_its_kind": (lambda t: t["volume"] == "heavy", IOT),
    "phone_like": (lambda t: (t["power"] == "phone") | t["misuse"], (*IOT, "video")),
    "suspected_misuse": (lambda t: t["misuse"], IOT),
}
# mark -> faults at a device that are one, and how long one must have acted (h) to be seen
FAULTS: Mapping[str, tuple[tuple[str, ...], float]] = {
    "low_battery_risk": (("f_low_battery",), 24.0),
    "silent": (
        (
            "f_subscription_suspended", "f_sim_fault", "f_wrong_apn", "f_band_lock", "f_credentials_mismatch",
            "f_wrong_server",
        ),
        72.0,
    ),
}  # fmt: skip
UNJUDGED = {
    "mobile": "device_truth calls phones mobile, but the simulation leaves each in one cell: nothing can show it",
    "roaming": "no device leaves its province",
    "light, medium, heavy": "marks of absolute bytes; the truth's volume is an appetite relative to the kind",
    "chatty": "no trait, and the faults that make devices chatty lie at fleets",
    "restarting": "no trait, and firmware loops lie at fleets",
    "ping_pong": "no trait and no fault",
}


@dataclass(frozen=True)
class Counts:
    """Devices that have a mark and hold it (hit), hold it without (false), have it unheld (missed), neither (quiet)."""

    hit: int
    false: int
    missed: int
    quiet: int


def counts(held: np.ndarray, true: np.ndarray) -> Counts:
    return Counts(
        *(
            int((one & other).sum())
            for one, other in ((held, true), (held, ~true), (~held, true), (~held, ~true))
        )
    )


def wilson(hits: int, of: int) -> tuple[float, float, float]:
    """Return a share and its 95 % interval (Wilson 1927); NaN of nothing."""
    if not of:
        return (float("nan"),) * 3
    share, spread = hits / of, Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * np.sqrt(share * (1 - share) / of + spread / (4 * of))
    return share, max(middle - half, 0.0), min(middle + half, 1.0)


def prepare(directory: Path, seed: int, *, devices: int, days: int) -> Path:
    """Simulate a province, load it and build its indicators, where that is not done; return its workspace."""
    folder, workspace = directory / f"province-{seed}", directory / f"workspace-{seed}"
    if not folder.exists():
        directory.mkdir(parents=True, exist_ok=True)
        told = yaml.safe_load(find_config("province.yaml").read_text(encoding="utf-8"))
        settings = directory / "province.yaml"
        settings.write_text(yaml.safe_dump({**told, "traits": TRAITS}), encoding="utf-8")
        files = province.Files(settings, find_config("fault_catalogue.yaml"), find_config("noise.yaml"))
        province.simulate(folder, files=files, devices=devices, days=days, seed=seed)
    load(folder, workspace)
    indicator_windows.build(workspace)
    return workspace


def only(told: UserMarks, source: mark_rules.Source) -> UserMarks:
    """Return the marks as if all that can be learnt were of this source."""
    changed = [
        one if one.source == "rule" else one.model_copy(update={"source": source}) for one in told.marks
    ]
    return told.model_copy(update={"marks": tuple(changed)})


def write_experts(path: Path, directory: Path, train: int, told: UserMarks) -> Path:
    """Write what experts would say of some devices of the training province: the truth of each mark that has one."""
    truth = pd.read_parquet(directory / f"province-{train}" / "device_truth.parquet")
    some = truth.sample(EXPERTS, random_state=train)
    learnt = [one.id for one in told.marks if one.source != "rule" and one.id in LATENT]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["device_id", "mark", "holds", "author", "date"])
        for name in learnt:
            true_of, services = LATENT[name]
            for device, service, holds in zip(some["device_id"], some["service"], true_of(some), strict=True):
                if service in services:
                    rows.writerow([device, name, "yes" if holds else "no", "expert", "2026-03-05T00:00:00Z"])
    return path


@dataclass(frozen=True)
class Province:
    """One province to judge on: what is known of its devices at a moment, and their truth, row by row."""

    frame: pd.DataFrame
    truth: pd.DataFrame
    faults: pd.DataFrame
    at: pd.Timestamp


def look(directory: Path, seed: int, workspace: Path) -> Province:
    at = known.newest_moment(workspace)
    frame = known.known(workspace, at=at)
    folder = directory / f"province-{seed}"
    truth = pd.read_parquet(folder / "device_truth.parquet").set_index("device_id")
    faults = pd.read_parquet(folder / "truth.parquet")
    faults = faults[(faults["location_scope"] == "device") & (faults["onset"] <= at) & (faults["end"] > at)]
    return Province(frame, truth.loc[frame["device_id"]].reset_index(), faults, at)


def held(one: Province, marking: Marking) -> pd.DataFrame:
    """Return which device holds which mark, row by row of a province."""
    done = marks.mark(one.frame, marking, at=one.at)
    table = pd.crosstab(done.held["device_id"], done.held["mark"]) > 0
    names = [mark.id for mark in marking.marks.marks]
    return table.reindex(index=one.frame["device_id"], columns=names, fill_value=False).reset_index(drop=True)


def judge(provinces: Sequence[Province], marking: Marking) -> dict[str, Counts]:
    """Return the counts of each mark that has a truth, over all provinces."""
    found: dict[str, list[Counts]] = {}
    for one in provinces:
        table = held(one, marking)
        for name, (true_of, services) in LATENT.items():
            among = one.truth["service"].isin(services).to_numpy()
            true = true_of(one.truth).to_numpy(dtype=bool)
            holds = table[name.partition(" ")[0]].to_numpy()
            found.setdefault(name, []).append(counts(holds[among], true[among]))
        for name, (causes, hours) in FAULTS.items():
            mine = one.faults[one.faults["cause"].isin(causes)]
            old = mine["onset"] <= one.at - pd.Timedelta(hours=hours)
            devices = one.frame["device_id"]
            true = devices.isin(mine["location_id"][old]).to_numpy()
            among = (
                one.truth["service"].isin(IOT).to_numpy()
                & ~devices.isin(mine["location_id"][~old]).to_numpy()
            )
            among &= ~one.truth["misuse"].to_numpy(dtype=bool)  # silent too, but by another cause
            found.setdefault(name, []).append(counts(table[name].to_numpy()[among], true[among]))
    return {
        name: Counts(
            *(sum(getattr(part, key) for part in parts) for key in ("hit", "false", "missed", "quiet"))
        )
        for name, parts in found.items()
    }


def as_markdown(
    by_way: Mapping[str, Mapping[str, Counts]], names: Sequence[str], ruled: Collection[str]
) -> str:
    """Return a table: of each mark and way precision, recall and the share of false marks, with 95 % intervals.

    ruled: marks that no model learns, of which only the first way is told.
    """
    lines = [
        "| mark | have it, of | way | precision | recall | false marks of those without |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        for way, told in list(by_way.items())[: 1 if name in ruled else None]:
            one = told[name]
            have, of = one.hit + one.missed, one.hit + one.missed + one.false + one.quiet
            shares = (
                wilson(one.hit, one.hit + one.false), wilson(one.hit, have), wilson(one.false, one.false + one.quiet)
            )  # fmt: skip
            shown = [
                f"{s:.3f} ({low:.3f} to {high:.3f})" if s == s else "none held" for s, low, high in shares
            ]
            lines.append(f"| {name} | {have:,} of {of:,} | {way} | {' | '.join(shown)} |")
    return "\n".join(lines)


def learn(workspace: Path, overrides: Sequence[str]) -> MarkModels:
    return mark_models.load(trained.train(Path("user_marking"), workspace, overrides))


def main() -> None:
    """Simulate, load, learn, mark and print the tables."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("directory", type=Path)
    for name, value in (("devices", 2000), ("days", 4), ("train", 11)):
        asked.add_argument(f"--{name}", type=int, default=value)
    asked.add_argument("--seeds", type=int, nargs="+", default=[12, 13, 14])
    given = asked.parse_args()
    if given.train in given.seeds:
        raise SystemExit("a province that taught must not judge: leave --train out of --seeds")
    size = {"devices": given.devices, "days": given.days}
    print(
        f"simulated: {given.devices:,} devices, {given.days} days, traits {TRAITS}; learnt from seed {given.train},"
    )
    print(f"judged on seeds {given.seeds}\n", flush=True)
    teacher = prepare(given.directory, given.train, **size)
    spaces = {seed: prepare(given.directory, seed, **size) for seed in given.seeds}
    provinces = [look(given.directory, seed, workspace) for seed, workspace in spaces.items()]
    told = mark_rules.read()
    said = write_experts(given.directory / "experts.csv", given.directory, given.train, told)
    shipped = learn(teacher, [])
    variants = {
        "trees that see the rule's features": learn(teacher, ["hide_rule_features=false"]),
        "network": learn(teacher, ["model=network"]),
        f"trees and {EXPERTS} devices by experts": learn(teacher, [f"expert_labels={said}"]),
    }
    found = report(provinces, told, shipped, variants)
    plain = {way: {name: vars(one) for name, one in of.items()} for way, of in found.items()}
    (given.directory / "marks.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def report(
    provinces: Sequence[Province], told: UserMarks, shipped: MarkModels, variants: Mapping[str, MarkModels]
) -> dict[str, dict[str, Counts]]:
    """Print the tables, and return the counts of each way and mark."""
    ways = {
        "rules": Marking(only(told, "rule")), "model": Marking(only(told, "model"), shipped),
        "both": Marking(told, shipped),
    }  # fmt: skip
    found = {way: judge(provinces, marking) for way, marking in ways.items()}
    ruled = {one.id for one in told.marks if one.source == "rule"}
    print(f"no model of {shipped.manifest.without}\n")
    print(f"Against latent traits (simulated)\n\n{as_markdown(found, list(LATENT), ruled)}\n")
    print(f"Against faults at devices (simulated)\n\n{as_markdown(found, list(FAULTS), ruled)}\n")
    other = {
        f"{way}, {name}": judge(provinces, Marking(only(told, source), models))
        for name, models in variants.items()
        for way, source in (("model", "model"), ("both", "both"))
    }
    learnt = [name for name in LATENT if name not in ruled]
    print(f"Other models, against latent traits (simulated)\n\n{as_markdown(other, learnt, ruled)}\n")
    print("Not judged\n\n" + "\n".join(f"- {name}: {why}" for name, why in UNJUDGED.items()))
    return found | other


if __name__ == "__main__":
    main()
