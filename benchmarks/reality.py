"""A simulated province beside logs of real NB-IoT modems and packets of a CoAP test bed: distances and pictures.

What the data folder does not hold is left out, and said. With --out it writes reality.md and reality_*.svg there.

    iotlens simulate province --devices 20000 --days 4 --seed 3 --out PROVINCE
    python benchmarks/reality.py --province PROVINCE --seed 3 [--data DATA] [--out docs]
"""

import argparse
import os
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds

from evaluation.nbiot import read_logs
from evaluation.simulation import reality, reality_fit, reality_page
from evaluation.simulation.province.catalogue import read_faults

SEED = 7
CATALOGUE = Path(__file__).resolve().parents[1] / "configs" / "fault_catalogue.yaml"


def main() -> None:
    """Compare, print, and write the page."""
    chosen = arguments()
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
    parts: list[str] = []
    pictures: dict[str, str] = {}
    for name, compare in (("nbiot_robinson", radio), ("coap_ironstone", coap)):
        folder = chosen.data / name
        if folder.is_dir():
            text, drawn = compare(folder, chosen.province)
            pictures |= drawn
        else:
            text = f"Left out: {folder} is not there; set IOTLENS_DATA or --data to the folder that holds {name}.\n"
        print(text)
        parts.append(text)
    if chosen.out and pictures:
        page = reality_page.page(parts, commands=commands(chosen), province=told(chosen.province))
        reality_page.write(chosen.out, pictures, page)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    default = Path(os.environ.get("IOTLENS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--province", type=Path, required=True, help="a simulated province")
    found.add_argument("--seed", type=int, help="that it was simulated with, for the page to tell")
    found.add_argument("--data", type=Path, default=default, help="holds nbiot_robinson and coap_ironstone")
    found.add_argument("--out", type=Path, help="where to write reality.md and the pictures")
    return found.parse_args()


def radio(folder: Path, province: Path) -> tuple[str, dict[str, str]]:
    """Return the part on radio and its pictures."""
    real = reality.real_events(read_logs(folder).table)
    simulated = reality.simulated_reports(province)
    compared = reality.compare_radio(real, simulated, seed=SEED)
    law = read_faults(CATALOGUE).patterns.smoke_sensor.battery.energy_per_report_mah
    energy = reality.energy_ratios(real, (law["ce0"], law["ce1"], law["ce2"]))
    shown = [
        reality_page.beside("coverage", "Share of each level by NRSRP, measured and simulated"),
        reality_page.beside("delay", "Access and sending by level, measured and simulated"),
        reality_page.beside("air", "Air time by level, measured and simulated"),
    ]
    levels = reality_page.level_table(reality.level_gaps(real, simulated))
    text = [
        reality_page.RADIO,
        reality_page.table(compared),
        levels,
        reality_page.energy_table(energy),
        *shown,
        reality_page.FITTED,
        reality_fit.leave_one_out(real, simulated, seed=SEED),
    ]
    return "\n".join(text), reality_page.radio_pictures(compared, real, simulated)


def coap(folder: Path, province: Path) -> tuple[str, dict[str, str]]:
    """Return the part on CoAP and its picture."""
    real, simulated = reality.real_exchanges(folder), reality.simulated_exchanges(province)
    shown = reality_page.beside("coap", "CoAP intervals and answers, measured and simulated")
    text = [reality_page.COAP, reality_page.coap_table(real, simulated), shown]
    return "\n".join(text), {"coap": reality_page.coap_picture(real, simulated)}


def commands(chosen: argparse.Namespace) -> list[str]:
    """Return the commands that make the page; a province keeps its size, its seed must be told."""
    shown = f"python benchmarks/reality.py --province PROVINCE{of_seed(chosen)} --out docs"
    if chosen.seed is None:
        return [shown]
    devices, days, _ = held(chosen.province)
    size = f"--devices {devices} --days {days}"
    return [f"iotlens simulate province {size}{of_seed(chosen)} --out PROVINCE", shown]


def of_seed(chosen: argparse.Namespace) -> str:
    return "" if chosen.seed is None else f" --seed {chosen.seed}"


def held(province: Path) -> tuple[int, int, int]:
    """Return how many devices, days and faults a province holds."""
    devices = pd.read_parquet(province / "device_truth.parquet", columns=["device_id"])
    days = ds.dataset(province / "events").to_table(columns=["at"]).to_pandas()["at"].dt.floor("D").nunique()
    faults = len(pd.read_parquet(province / "truth.parquet", columns=["fault_id"]))
    return devices["device_id"].nunique(), days, faults


def told(province: Path) -> str:
    """Return what the province holds, in words."""
    devices, days, faults = held(province)
    return f"{devices:,} devices, {days} days, {faults:,} faults of the catalogue (simulated)"


if __name__ == "__main__":
    main()
