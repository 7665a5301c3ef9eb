"""Write the device map of the public IoT Sentinel captures: which MAC is the device, and of which type, per capture.

    python benchmarks/iot_sentinel_map.py MAP.csv

Reads index.csv and families.csv from $IOTLENS_DATA/iot_sentinel (default ../shared/data beside this repository).
"""

import argparse
import os
from pathlib import Path

import pandas as pd

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def device_map(captures: Path) -> pd.DataFrame:
    """Return the map, one row per capture: device_id, mac, capture, label, family, site (empty), in the index's order.

    captures: the folder with index.csv (path, device, device_type, device_mac) and families.csv (device_type, family).
    """
    index = pd.read_csv(captures / "index.csv", dtype=str)
    families = pd.read_csv(captures / "families.csv", dtype=str).set_index("device_type")["family"]
    return pd.DataFrame(
        {
            "device_id": index["device"],
            "mac": index["device_mac"],
            "capture": index["path"].str.removeprefix("captures/"),
            "label": index["device_type"],
            "family": index["device_type"].map(families),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="the MAP.csv to write")
    out = parser.parse_args().out
    data = Path(os.environ.get("IOTLENS_DATA", DEFAULT_DATA))
    device_map(data / "iot_sentinel").to_csv(out, index=False)
    print(out)


if __name__ == "__main__":
    main()
