"""Stalling of real sessions: a service score of network-side indicators beside LightGBM, judged on later days.

    IOTLENS_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/video.py [--keep FOLDER]

DIR holds youtube_qoe_tum2015. The earlier days (70 % of the sessions, whole days) select the indicators (`iotlens
indicators select`, folds of later days and unseen videos) and give their anchors and weights (what `iotlens indicators
learn` does with the draft youtube_sessions.yaml); `iotlens score --table` scores the later days. LightGBM learns from
the same earlier days. Two tables: area under the ROC curve on the later days; and the same of videos that were not
learnt from (five folds of videos: each judged by what the other four's earlier days taught). 95 %: whole days, or whole
videos, drawn again 1,000 times, in pairs. --keep: service files, tables and scores stay there.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.metrics import roc_auc_score

from evaluation.domain import read_domain
from evaluation.learnt_service import learn_service, write_service
from evaluation.lost_points import lost_points
from evaluation.scoring import score as score_of
from evaluation.scoring import utilities
from evaluation.scoring_plan import plan

DATA = (
    Path(os.environ.get("IOTLENS_DATA", "../shared/data"))
    / "youtube_qoe_tum2015"
    / "ifip_networking.dev.csv.gz"
)
DRAFT = Path(__file__).with_name("youtube_sessions.yaml")
EARLIER, FOLDS, RESAMPLES = 0.7, 5, 1000
AT = "2015-09-30T00:00:00"
PROBE = ["yt_link_rate", "yt_link_use", "yt_redundant_share"]
NEEDS = {
    "yt_need_144p": "160",
    "yt_need_240p": "133",
    "yt_need_360p": "134",
    "yt_need_480p": "135",
    "yt_need_720p": "136",
}
SETS = {"probe": PROBE, "probe and manifest": [*PROBE, *NEEDS]}
SPOKEN_FOR = {  # of few columns the strongest look like leaks to the selection; why these are none
    "yt_link_rate": "the shaper sets it, whatever the player does; kept where no need of a representation is told",
    "yt_redundant_share": "a segment fetched twice is seen on the wire; the player's stalls are not part of it",
}
RATE_AND_BYTES = ["net_avg_shaping_rate", "net_dl_total", "net_played_bytes"]
RAW = [*RATE_AND_BYTES, "run_length"]
MBIT = 8e-6  # of a byte
Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows to learn from, rows to judge -> risk of these


@dataclass(frozen=True)
class Sessions:
    """table: raw columns, indicators and device_id. stalls, day, video: of each session. later: (n,) bool."""

    table: pd.DataFrame
    stalls: np.ndarray
    day: np.ndarray
    video: np.ndarray
    later: np.ndarray

    @property
    def stalled(self) -> np.ndarray:
        """Whether the player stalled at all."""
        return self.stalls > 0


def read() -> Sessions:
    """Return the sessions with their indicators, in no column of the player's."""
    raw = pd.read_csv(DATA)
    down, link = raw["net_dl_total"] * MBIT, raw["net_avg_shaping_rate"] * MBIT
    table = raw[RAW].assign(
        device_id=raw["run_id"].astype(str),
        yt_link_rate=link,
        yt_link_use=100 * down / (link * raw["run_length"]),
        yt_redundant_share=100 * (1 - raw["net_played_bytes"] / raw["net_dl_total"]).clip(lower=0),
        **{name: raw[f"br_avg_i{itag}"] * MBIT / link for name, itag in NEEDS.items()},
    )
    days = raw["run_date"].value_counts().sort_index().cumsum() / len(raw)
    first = days.index[days > EARLIER][0]
    return Sessions(
        table,
        raw["pl_buffering_events"].to_numpy(),
        raw["run_date"].to_numpy(),
        raw["content_id"].to_numpy(),
        (raw["run_date"] >= first).to_numpy(),
    )


def iotlens(*words: str | Path) -> None:
    """Run the command line of this checkout."""
    command = [sys.executable, "-c", "from serving.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"iotlens {' '.join(map(str, words))}: {done.stderr[-2000:]}")


def draft(folder: Path, names: Sequence[str]) -> Path:
    """Write the draft with some of its indicators alone, of equal weights, and return its workspace."""
    content = yaml.safe_load(DRAFT.read_text())
    content["local_indicators"] = [one for one in content["local_indicators"] if one["id"] in names]
    for step in content["processes"][0]["steps"]:
        step["indicators"] = [one for one in step["indicators"] if one in names]
    weights = [{"indicator": one, "weight": 1 / len(names)} for one in names]
    content["kqis"][0]["expert_weights"] = weights
    services = folder / "configs" / "services"
    services.mkdir(parents=True, exist_ok=True)
    (services / DRAFT.name).write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def select(sessions: Sessions, names: Sequence[str], folder: Path) -> Path:
    """Select among indicators on the earlier days; folds never share a video."""
    cases = sessions.table[list(names)].assign(
        stalled=sessions.stalled.astype(int), day=sessions.day, video=sessions.video
    )[~sessions.later]
    cases.to_parquet(folder / "select.parquet")
    spoken = [
        one for one in SPOKEN_FOR if one in names and not (one == "yt_link_rate" and "yt_need_144p" in names)
    ]
    said = [{"indicator": one, "keep": True, "reason": SPOKEN_FOR[one]} for one in spoken]
    by = {"author": "benchmarks/video.py", "date": "2026-11-29"}
    (folder / "experts.yaml").write_text(yaml.safe_dump({"statements": [one | by for one in said]}))
    iotlens(
        *("indicators", "select", folder / "select.parquet", "--target", "stalled", "--time", "day"),
        *("--group", "video", "--expert", folder / "experts.yaml", "--out", folder / "selection"),
    )
    return folder / "selection"


def score(sessions: Sessions, workspace: Path, selection: Path) -> Judge:
    """Return what learns a service from rows and scores others by the command line; the risk is that of the score."""
    service = read_domain(workspace).service("youtube_sessions")
    only = json.loads((selection / "selection.json").read_text())["selected"]

    def judge(learn: np.ndarray, judged: np.ndarray) -> np.ndarray:
        cases, stalls = sessions.table[learn], pd.Series(sessions.stalls[learn])
        found = learn_service(service, "yt_stalls", cases=cases, measured=stalls, only=only)
        write_service(found.service, workspace / "configs" / "services" / DRAFT.name)
        table, out = workspace / "judged.parquet", workspace / "scores.parquet"
        sessions.table[judged].to_parquet(table)
        told = ("--service", "youtube_sessions", "--workspace", workspace)
        iotlens("score", *told, "--table", table, "--at", AT, "--out", out)
        return found.fitted.risk(pd.read_parquet(out)["score"].to_numpy())

    return judge


def trees(sessions: Sessions, columns: Sequence[str], *, monotone: bool = False) -> Judge:
    """Return LightGBM of columns; monotone: indicators, of which each may only raise or only lower the risk."""
    import lightgbm

    X = sessions.table[list(columns)].to_numpy("float64")
    ways = [-1 if one == "yt_link_rate" else 1 for one in columns] if monotone else None

    def judge(learn: np.ndarray, judged: np.ndarray) -> np.ndarray:
        model = lightgbm.LGBMClassifier(
            n_estimators=150, random_state=0, num_threads=1, verbose=-1, monotone_constraints=ways
        )
        model.fit(X[learn], sessions.stalled[learn])
        return np.asarray(model.predict_proba(X[judged])[:, 1])

    return judge


def unseen_videos(sessions: Sessions, judge: Judge) -> np.ndarray:
    """Return the risk of the later sessions, each told by what learnt from other videos"""
    names = np.random.default_rng(0).permutation(np.unique(sessions.video))
    fold = pd.Series(np.arange(len(names)) % FOLDS, index=names)[sessions.video].to_numpy()
    risk = np.full(len(fold), np.nan)
    for one in range(FOLDS):
        judged = sessions.later & (fold == one)
        risk[judged] = judge(~sessions.later & (fold != one), judged)
    return risk[sessions.later]


def intervals(risks: pd.DataFrame, ill: np.ndarray, groups: np.ndarray) -> pd.DataFrame:
    """Return the area of each column of risks, and its lead over each other, with 95 % of whole groups drawn again."""
    rows = [np.flatnonzero(groups == one) for one in np.unique(groups)]
    rng, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        again = np.concatenate([rows[at] for at in rng.integers(0, len(rows), len(rows))])
        drawn.append([roc_auc_score(ill[again], risks[name].to_numpy()[again]) for name in risks])
    areas, all_drawn = np.array([roc_auc_score(ill, risks[name]) for name in risks]), np.array(drawn)
    told = pd.DataFrame({"AUC": areas}, index=risks.columns)
    told["low"], told["high"] = np.quantile(all_drawn, [0.025, 0.975], axis=0)
    best = all_drawn[:, :1]
    told["lead of the first"] = areas[0] - areas
    told["lead low"], told["lead high"] = np.quantile(best - all_drawn, [0.025, 0.975], axis=0)
    return told.round(4)


def compare(sessions: Sessions, name: str, folder: Path) -> None:
    """Print both tables of one set of indicators, and the learnt service."""
    names, ill = SETS[name], sessions.stalled[sessions.later]
    workspace = draft(folder, names)
    ours = score(sessions, workspace, select(sessions, names, folder))
    raw = [*RAW, *(NEEDS if "manifest" in name else [])]
    judges = {
        "score": ours,
        "LightGBM, same indicators": trees(sessions, names),
        "the same, directions kept": trees(sessions, names, monotone=True),
        f"LightGBM, {len(raw)} raw columns": trees(sessions, raw),
        "LightGBM, shaping rate and bytes": trees(sessions, RATE_AND_BYTES),
    }
    unseen = pd.DataFrame({who: unseen_videos(sessions, judge) for who, judge in judges.items()})
    later = pd.DataFrame({who: judge(~sessions.later, sessions.later) for who, judge in judges.items()})
    print(f"\n== {name}: {', '.join(names)}")
    print(learnt(folder / "configs" / "services" / DRAFT.name))
    print("later days (whole days drawn again)")
    print(intervals(later, ill, sessions.day[sessions.later]).to_string())
    print("later days, videos that were not learnt from (whole videos drawn again)")
    print(intervals(unseen, ill, sessions.video[sessions.later]).to_string())
    print(owned(sessions, workspace))


def learnt(path: Path) -> str:
    """Return weights and anchors of a learnt service file."""
    content = yaml.safe_load(path.read_text())
    by_id = {one["id"]: one for one in content["local_indicators"]}
    lines = [content["kqis"][0]["note"]]
    for weight in content["kqis"][0]["expert_weights"]:
        one = by_id[weight["indicator"]]
        ends = f"0 at {one['unacceptable']:.3g}, 100 at {one['excellent']:.3g} {one['unit']}, {one['curve']}"
        lines.append(f"  {weight['weight']:.3f} {one['id']:20} {ends}")
    return "\n".join(lines)


def owned(sessions: Sessions, workspace: Path) -> str:
    """Return stalled sessions by fifths of the score, and the points that each indicator cost, which must add up."""
    told = pd.read_parquet(workspace / "scores.parquet")["score"].to_numpy()
    ill = sessions.stalled[sessions.later]
    fifths = pd.Series(ill).groupby(pd.qcut(pd.Series(told).rank(method="first"), 5, labels=False))
    lines = [f"  score {told[part.index].mean():5.1f}: {part.mean():.3f} stalled" for _, part in fifths]
    service = read_domain(workspace).service("youtube_sessions")
    what = plan(service, service.local_indicators)
    names = what.ids[: what.weighed]
    useful = utilities(what, [sessions.table[one].to_numpy()[sessions.later] for one in names])
    lost = lost_points(what, useful, score_of(what, useful)).by_indicator()
    off = np.abs(100 - told - lost.sum(axis=0)).max()
    for row, one in zip(lost, names, strict=True):
        lines.append(
            f"  {one:20} {row[ill].mean():5.1f} points of stalled ones, {row[~ill].mean():5.1f} of others"
        )
    return "\n".join(
        [
            "fifths of the score:",
            *lines,
            f"  points of indicators and 100 - score differ by at most {off:.1e}",
        ]
    )


def main() -> None:
    """Print all tables."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--keep", type=Path)
    given = asked.parse_args()
    if not DATA.is_file():
        print(f"skipped: {DATA} is not there; IOTLENS_DATA must name the folder of youtube_qoe_tum2015")
        return
    sessions = read()
    later = sessions.later
    print(
        f"{(~later).sum():,} sessions of {len(set(sessions.day[~later]))} earlier days, {later.sum():,} of"
        f" {len(set(sessions.day[later]))} later ones from {sessions.day[later].min()};"
        f" {len(set(sessions.video))} videos; stalled: {sessions.stalled[~later].mean():.3f},"
        f" {sessions.stalled[later].mean():.3f}"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS:
            folder = (given.keep or Path(scratch)) / name.replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            compare(sessions, name, folder)


if __name__ == "__main__":
    main()
