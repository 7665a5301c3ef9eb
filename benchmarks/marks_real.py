"""User marks on real captures: camera, lock and hub; their events; phone-like against IoT-like.

    IOTLENS_DATA=DIR python benchmarks/marks_real.py WORK [--only lock phones]

Reads smart_lock_events, iot_sentinel and ndpi_pcaps of $IOTLENS_DATA (default ../shared/data beside this repository),
and leaves out with a word what is not there. WORK keeps the lakes made from the captures.

lock: what user_marks.yaml says of seven real devices over five days, and whether traffic in windows of five minutes
tells an event that was logged (motion of three cameras, locking of one lock): the area under the ROC curve of the bytes
of a window, and precision and recall of "more than five times its own median", the factor of the mark chatty.
A flow's bytes are spread evenly over its time. Labels are local time, 5 h behind UTC (SOURCE.md).

phones: captures of nDPI by what their flows were labelled (by nDPI: agreement, not truth): phone applications against
IoT protocols, and the set-ups of 27 IoT types of IoT Sentinel. Of each capture the device with most bytes is taken.
The rule of phone_like, the area under the curve of each feature it reads, and a model learnt from these labels as if
experts had given them (training/mark_models.py), judged out of fold.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from iot_sentinel_map import device_map
from sklearn.metrics import roc_auc_score

from evaluation import mark_rules, marks
from evaluation.marks import Marking
from features import arrivals, known, lake
from features.behaviour import READS, STAYS, behaviour
from training import mark_models
from training.mark_experiment import MarkExperiment
from training.mark_models import Lesson

LOCAL_BEHIND = pd.Timedelta(hours=5)
WINDOW = pd.Timedelta(minutes=5)
EVENTS = {
    "blink-cam-01": ("ifttt-events.csv", ("event_motion",)),
    "blink-cam-02": ("ifttt-events.csv", ("event_motion",)),
    "blink-cam-03": ("ifttt-events.csv", ("event_motion",)),
    "schlage-lock-01": ("android-events.csv", ("event_lock", "event_unlock")),
}
FACTOR = 5.0
PHONE = {
    "WhatsApp", "WhatsAppCall", "WhatsAppFiles", "Instagram", "Snapchat", "SnapchatCall", "TikTok", "Facebook",
    "FacebookMessenger", "FacebookVoip", "FbookReelStory", "Telegram", "TelegramVoip", "Signal", "SignalVoip", "Viber",
    "ViberVoip", "Waze", "Likee", "Line", "LineCall", "KakaoTalk", "KakaoTalk_Voice", "IMO", "Threema", "TocaBoca",
    "LoLWildRift", "CoD_Mobile", "GenshinImpact", "AmongUs", "Badoo", "Pinterest", "Threads", "PlayStore", "AppleStore",
    "ApplePush", "AppleSiri", "GoogleMaps", "Spotify", "Deezer", "TencentGames", "TruPhone", "YouTube",
}  # fmt: skip
IOT = {
    "MQTT", "COAP", "TuyaLP", "Xiaomi", "TPLINK_SHP", "BACnet", "DNP3", "Modbus", "UMAS", "S7Comm", "S7CommPlus",
    "IEC60870", "OPC-UA", "KNXnet_IP", "HART-IP", "PROFINET_IO", "EthernetIP", "AmazonAlexa", "Controller_Area_Network",
    "CIP", "FINS", "BeckhoffADS", "EtherSIO", "Ether-S-Bus", "IEC62056", "ISO9506-1-MMS", "Sonos",
}  # fmt: skip
READ_BY_MODEL = (
    "down_up_ratio", "up_bytes_per_flow", "servers_a_day", "tcp_flow_share", "flow_seconds", "usual_gap_h",
)  # fmt: skip


def flows_of(workspace: Path) -> pd.DataFrame:
    """Return the flows of a lake with `capture`, the path that each came from."""
    columns = [*READS, "source"]
    parts = (
        pq.read_table(file, columns=columns, partitioning=None).to_pandas() for file in lake.flows(workspace)
    )
    paths = {source: record.path for source, record in lake.records(workspace).items()}
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(capture=whole["source"].map(paths), bytes=whole["up_bytes"] + whole["down_bytes"])


def of_loudest(flows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield of each capture the flows of the device with most bytes: that is whom it was taken of."""
    for capture, part in flows.groupby("capture"):
        loudest = part.groupby("device_id")["bytes"].sum().idxmax()
        yield Path(str(capture)).name, part[part["device_id"] == loudest]


def behave(flows: pd.DataFrame) -> pd.DataFrame:
    at = flows["end"].max() + pd.Timedelta(seconds=1)
    return behaviour(flows[list(READS)], pd.DataFrame(columns=STAYS), at=at)


def at_a_time(parts: Iterator[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    """Return BEHAVIOUR of the device of each capture at its own end; device_id is the name of the capture."""
    return pd.concat([behave(part).assign(device_id=name) for name, part in parts], ignore_index=True)


def ingest(sources: Path, workspace: Path, devices: str) -> None:
    if not (workspace / "lake").is_dir():
        print(arrivals.bring_in([str(sources)], workspace, devices=devices).text().splitlines()[-1])


def lock(data: Path, work: Path) -> None:
    """Mark the seven devices, and judge whether traffic tells events."""
    folder = data / "smart_lock_events"
    workspace = work / "lock"
    ingest(folder / "pcaps", workspace, "auto")
    parts = dict(of_loudest(flows_of(workspace)))
    frame = at_a_time(iter(parts.items()))
    told = mark_rules.read()
    done = marks.mark(
        frame, Marking(told, columns=known.columns()), at=pd.Timestamp("2021-03-13 05:00", tz="UTC")
    )
    held = done.held.groupby("device_id")["mark"].agg(", ".join)
    print(
        "\n| capture | days | flows a day | kB a day | down/up | usual gap, h | most servers a day | marks held |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in frame.itertuples():
        print(
            f"| {row.device_id} | {row.observed_days:.1f} | {row.flows_per_day:.0f} | {row.bytes_per_day / 1e3:.0f} |"
            f" {row.down_up_ratio:.2f} | {row.usual_gap_h:.2f} | {row.servers_a_day:.0f} |"
            f" {held.get(row.device_id, '-')} |"
        )
    print("\n| device | windows | with an event | AUC of bytes | precision, recall of 5 x median |")
    print("|---|---|---|---|---|")
    for device, (file, kinds) in EVENTS.items():
        score, event = windows(parts[f"{device}.pcap"], events(folder / "labels" / file, device, kinds))
        over = score > FACTOR * np.median(score)
        hits = int((over & event).sum())
        shares = f"{hits} of {int(over.sum())}, {hits} of {int(event.sum())}"
        print(
            f"| {device} | {len(score):,} | {int(event.sum())} | {roc_auc_score(event, score):.3f} | {shares} |"
        )


def events(path: Path, device: str, kinds: tuple[str, ...]) -> pd.Series:
    """Return when events of a device were logged, UTC; without seconds the minute that it was in."""
    told = pd.read_csv(path, header=None, names=["at", "device", "event"])
    mine = told[(told["device"] == device) & told["event"].isin(kinds)]["at"]
    return pd.to_datetime(mine, format="mixed").dt.tz_localize("UTC") + LOCAL_BEHIND


def windows(flows: pd.DataFrame, when: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of each window of five minutes, and whether an event was logged in it."""
    first, last = flows["start"].min().floor(WINDOW), flows["end"].max().ceil(WINDOW)
    edges = pd.date_range(first, last, freq=WINDOW)
    carried = np.zeros(len(edges) - 1)
    begun = (flows["start"] - first) / WINDOW
    ended = np.maximum((flows["end"] - first) / WINDOW, begun + 1e-9)
    for start, end, size in zip(begun, ended, flows["bytes"], strict=True):
        for place in range(int(start), min(int(end), len(carried) - 1) + 1):
            carried[place] += size * (min(end, place + 1) - max(start, place)) / (end - start)
    there = when[(when >= first) & (when < last)]
    event = np.zeros(len(carried), dtype=bool)
    event[((there - first) / WINDOW).astype(int)] = True
    return carried, event


def phones(data: Path, work: Path) -> None:
    """Judge the rule and a model of phone_like on captures of phone applications and of IoT."""
    ingest(data / "ndpi_pcaps" / "pcap", work / "ndpi", "auto")
    ndpi = at_a_time(of_loudest(flows_of(work / "ndpi"))).assign(origin="nDPI")
    ndpi["phone"] = ndpi["device_id"].map(labelled(data / "ndpi_pcaps" / "flows.csv"))
    print(
        f"\nnDPI: {len(ndpi)} captures with a device, {int(ndpi['phone'].isna().sum())} of neither kind or of both"
    )
    known_kind = [ndpi[ndpi["phone"].notna()]]
    if (data / "iot_sentinel").is_dir():
        known_kind.append(sentinel(data / "iot_sentinel", work))
    frame = pd.concat(known_kind, ignore_index=True)
    frame["phone"] = frame["phone"].astype(bool)
    rule = next(one for one in mark_rules.read().marks if one.id == "phone_like")
    told = mark_rules.rule_holds(rule, frame)
    print(
        "\n| captures | phones | IoT | phones held | IoT held | unknown | AUC servers_a_day | AUC down_up_ratio |"
        " model: phones, IoT told again |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, among in (
        ("nDPI", frame["origin"] == "nDPI"),
        ("nDPI and IoT Sentinel", frame["origin"] != ""),
    ):
        part, held = frame[among], told[among]
        phone = part["phone"].to_numpy()
        aucs = [roc_auc_score(phone, part[one].fillna(0)) for one in ("servers_a_day", "down_up_ratio")]
        again = learnt(part)
        counts = [
            int(phone.sum()),
            int((~phone).sum()),
            int(held[phone].sum()),
            int(held[~phone].sum()),
            int(held.isna().sum()),
        ]
        print(f"| {name} | {' | '.join(map(str, counts))} | {aucs[0]:.3f} | {aucs[1]:.3f} | {again} |")


def labelled(path: Path) -> dict[str, bool]:
    """Return of each capture whether its labels are of phone applications; one of both kinds or neither is left out."""
    flows = pd.read_csv(path)
    labels = flows.groupby("pcap")["ndpi_label"].agg(
        lambda told: {one for each in told.dropna() for one in each.split(".")}
    )
    kinds = {str(pcap): (bool(of & PHONE), bool(of & IOT)) for pcap, of in labels.items()}
    return {pcap: phone for pcap, (phone, iot) in kinds.items() if phone != iot}


def sentinel(folder: Path, work: Path) -> pd.DataFrame:
    told = work / "sentinel.csv"
    device_map(folder).to_csv(told, index=False)
    ingest(folder / "captures", work / "sentinel", str(told))
    flows = flows_of(work / "sentinel")
    named = flows.assign(capture=flows["capture"].map(lambda path: "-".join(Path(path).parts[-2:])))
    return at_a_time(of_loudest(named)).assign(origin="IoT Sentinel", phone=False)


def learnt(part: pd.DataFrame) -> str:
    """Return the shares of phones and of IoT that a model tells which did not see them."""
    frame = part[["device_id", *READ_BY_MODEL]].reset_index(drop=True)
    labels = pd.DataFrame({"phone_like": part["phone"].to_numpy(dtype=float)})
    lesson = Lesson(
        frame, labels, pd.DataFrame({"phone_like": np.ones(len(frame), bool)}), {}, "labels of captures",
        pd.Timestamp("2024-10-21", tz="UTC"), simulated=False,
    )  # fmt: skip
    recipe = MarkExperiment.model_validate(
        {
            "task": "user_marking", "name": "phones", "expert_copies": 1, "folds": 5, "min_skill": 0,
            "trees": {"rounds": 60, "num_leaves": 7, "min_data_in_leaf": 5, "class_weight": "balanced"},
        }
    )  # fmt: skip
    (one,) = mark_models.fit(recipe, lesson).manifest.marks
    return f"{one.again_yes:.2f}, {one.again_no:.2f}"


def main() -> None:
    """Run what there is data for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("work", type=Path)
    asked.add_argument("--only", nargs="*", choices=("lock", "phones"), default=["lock", "phones"])
    given = asked.parse_args()
    data = Path(os.environ.get("IOTLENS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    given.work.mkdir(parents=True, exist_ok=True)
    for name, folder, judge in (("lock", "smart_lock_events", lock), ("phones", "ndpi_pcaps", phones)):
        if name not in given.only:
            continue
        if not (data / folder).is_dir():
            print(
                f"Left out: {data / folder} is not there; set IOTLENS_DATA to the folder that holds {folder}."
            )
            continue
        judge(data, given.work)


if __name__ == "__main__":
    main()
