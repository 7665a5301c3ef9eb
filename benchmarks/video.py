"""Stalling of real sessions: a service score of network-side indicators beside LightGBM, judged on later days.

    IOTLENS_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/video.py [--keep FOLDER] [--earlier]

DIR holds youtube_qoe_tum2015. The earlier days (70 % of the sessions, whole days) give curves and weights (what
`iotlens indicators learn` does with the draft youtube_sessions.yaml); `iotlens score --table` scores the later days.
LightGBM learns from the same earlier days. Two tables: area under the ROC curve on the later days; and the same of
videos that were not learnt from (five folds of videos: each judged by what the other four's earlier days taught). 95 %:
whole days, or whole videos, drawn again 1,000 times, in pairs. --keep: service files, tables and scores stay there.
--earlier: the same within the earlier days alone, in six blocks of days, each judged by what the other five taught: by
this choices are made.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
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
EARLIER, FOLDS, BLOCKS, RESAMPLES = 0.7, 5, 6, 1000
AT = "2015-09-30T00:00:00"
PROBE = ["yt_link_rate", "yt_link_use", "yt_redundant_share", "yt_shown_rate", "yt_spare_rate"]
ITAGS = {"144p": "160", "240p": "133", "360p": "134", "480p": "135", "720p": "136"}
MANIFEST = [
    *(f"yt_need_{one}" for one in ITAGS),
    *(f"yt_shown_{one}" for one in ITAGS),
    *(f"yt_step_{one}" for one in [*ITAGS][1:]),
]
SETS = {"probe": PROBE, "probe and manifest": [*PROBE, *MANIFEST]}
RATE_AND_BYTES = ["net_avg_shaping_rate", "net_dl_total", "net_played_bytes"]
RAW = [*RATE_AND_BYTES, "run_length"]
RAW_MANIFEST = [f"br_avg_i{itag}" for itag in ITAGS.values()]
MBIT = 8e-6  # of a byte
Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]  # rows to learn from, rows to judge -> risk of these


@dataclass(frozen=True)
class Sessions:
    """table: raw columns, indicators and device_id. stalls, day, video: of each session.

    block: (n,) of the days that are judged by what all other blocks taught; -1 is never judged.
    """

    table: pd.DataFrame
    stalls: np.ndarray
    day: np.ndarray
    video: np.ndarray
    block: np.ndarray

    @property
    def stalled(self) -> np.ndarray:
        """Whether the player stalled at all."""
        return self.stalls > 0

    @property
    def judged(self) -> np.ndarray:
        """The sessions that are judged."""
        return self.block >= 0


def read(earlier: bool = False) -> Sessions:
    """Return the sessions with their indicators, in no column of the player's; earlier: no later day among them."""
    raw = pd.read_csv(DATA)
    days = raw["run_date"].value_counts().sort_index().cumsum() / len(raw)
    first = days.index[days > EARLIER][0]
    if earlier:
        raw = raw[raw["run_date"] < first].reset_index(drop=True)
        early = np.unique(raw["run_date"])
        blocks = pd.Series(np.arange(len(early)) * BLOCKS // len(early), index=early)
        block = blocks[raw["run_date"]].to_numpy()
    else:
        block = np.where(raw["run_date"] >= first, 0, -1)
    return Sessions(
        indicators(raw),
        raw["pl_buffering_events"].to_numpy(),
        raw["run_date"].to_numpy(),
        raw["content_id"].to_numpy(),
        block,
    )


def indicators(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the indicators of the draft beside the raw columns of the network and the manifest."""
    down, link = raw["net_dl_total"] * MBIT, raw["net_avg_shaping_rate"] * MBIT
    shown = raw["net_played_bytes"] * MBIT / raw["run_length"]
    rates = {one: raw[f"br_avg_i{itag}"] * MBIT for one, itag in ITAGS.items()}
    told = {f"yt_need_{one}": rate / link for one, rate in rates.items()}
    told |= {f"yt_shown_{one}": shown / rate for one, rate in rates.items()}
    told |= {f"yt_step_{high}": rates[high] / rates[low] for low, high in pairwise(rates)}
    return raw[[*RAW, *RAW_MANIFEST]].assign(
        device_id=raw["run_id"].astype(str),
        yt_link_rate=link,
        yt_link_use=100 * down / (link * raw["run_length"]),
        yt_redundant_share=100 * (1 - raw["net_played_bytes"] / raw["net_dl_total"]).clip(lower=0),
        yt_shown_rate=shown,
        yt_spare_rate=(link - down / raw["run_length"]).clip(lower=0),
        **told,
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


def score(sessions: Sessions, workspace: Path) -> Judge:
    """Return what learns a service from rows and scores others by the command line; the risk is that of the score."""
    service = read_domain(workspace).service("youtube_sessions")

    def judge(learn: np.ndarray, judged: np.ndarray) -> np.ndarray:
        cases, stalls = sessions.table[learn], pd.Series(sessions.stalls[learn])
        found = learn_service(service, "yt_stalls", cases=cases, measured=stalls)
        write_service(found.service, workspace / "configs" / "services" / DRAFT.name)
        table, out = workspace / "judged.parquet", workspace / "scores.parquet"
        sessions.table[judged].to_parquet(table)
        told = ("--service", "youtube_sessions", "--workspace", workspace)
        iotlens("score", *told, "--table", table, "--at", AT, "--out", out)
        return found.fitted.risk(pd.read_parquet(out)["score"].to_numpy())

    return judge


def trees(sessions: Sessions, columns: Sequence[str], *, ways: list[int] | None = None) -> Judge:
    """Return LightGBM of columns; ways: 1 where a column may only raise the risk, -1 where it may only lower it."""
    import lightgbm

    X = sessions.table[list(columns)].to_numpy("float64")

    def judge(learn: np.ndarray, judged: np.ndarray) -> np.ndarray:
        model = lightgbm.LGBMClassifier(
            n_estimators=150, random_state=0, num_threads=1, verbose=-1, monotone_constraints=ways
        )
        model.fit(X[learn], sessions.stalled[learn])
        return np.asarray(model.predict_proba(X[judged])[:, 1])

    return judge


def directions(workspace: Path, names: Sequence[str]) -> list[int]:
    """Return of each indicator whether more of it is worse, 1, or better, -1."""
    by_id = {one.id: one for one in read_domain(workspace).service("youtube_sessions").local_indicators}
    return [-1 if by_id[one].direction == "higher_is_better" else 1 for one in names]


def other_days(sessions: Sessions, judge: Judge) -> np.ndarray:
    """Return the risk of the judged sessions, each told by what learnt from the days of other blocks."""
    risk = np.full(len(sessions.block), np.nan)
    for one in np.unique(sessions.block[sessions.judged]):
        risk[sessions.block == one] = judge(sessions.block != one, sessions.block == one)
    return risk[sessions.judged]


def unseen_videos(sessions: Sessions, judge: Judge) -> np.ndarray:
    """Return the same where what learnt saw neither their days nor their videos."""
    names = np.random.default_rng(0).permutation(np.unique(sessions.video))
    fold = pd.Series(np.arange(len(names)) % FOLDS, index=names)[sessions.video].to_numpy()
    risk = np.full(len(fold), np.nan)
    for block in np.unique(sessions.block[sessions.judged]):
        for one in range(FOLDS):
            judged = (sessions.block == block) & (fold == one)
            risk[judged] = judge((sessions.block != block) & (fold != one), judged)
    return risk[sessions.judged]


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
    names, ill = SETS[name], sessions.stalled[sessions.judged]
    workspace = draft(folder, names)
    raw = [*RAW, *(RAW_MANIFEST if "manifest" in name else [])]
    judges = {
        "score": score(sessions, workspace),
        "LightGBM, same indicators": trees(sessions, names),
        "the same, directions kept": trees(sessions, names, ways=directions(workspace, names)),
        f"LightGBM, {len(raw)} raw columns": trees(sessions, raw),
        "LightGBM, shaping rate and bytes": trees(sessions, RATE_AND_BYTES),
    }
    unseen = pd.DataFrame({who: unseen_videos(sessions, judge) for who, judge in judges.items()})
    days = pd.DataFrame({who: other_days(sessions, judge) for who, judge in judges.items()})
    print(f"\n== {name}: {', '.join(names)}")
    print(learnt(folder / "configs" / "services" / DRAFT.name))
    print("other days (whole days drawn again)")
    print(intervals(days, ill, sessions.day[sessions.judged]).to_string())
    print("other days, videos that were not learnt from (whole videos drawn again)")
    print(intervals(unseen, ill, sessions.video[sessions.judged]).to_string())
    print(owned(sessions, workspace))


def learnt(path: Path) -> str:
    """Return weights and curves of a learnt service file."""
    content = yaml.safe_load(path.read_text())
    by_id = {one["id"]: one for one in content["local_indicators"]}
    lines = [content["kqis"][0]["note"]]
    for weight in content["kqis"][0]["expert_weights"]:
        one = by_id[weight["indicator"]]
        points = [[one["unacceptable"], 0], *one.get("points", []), [one["excellent"], 100]]
        ends = f"{', '.join(f'{told:.0f} at {value:.3g}' for value, told in points)} {one['unit']}, {one['curve']}"
        lines.append(f"  {weight['weight']:.3f} {one['id']:20} {ends}")
    return "\n".join(lines)


def owned(sessions: Sessions, workspace: Path) -> str:
    """Return stalled sessions by fifths of the score, and the points that each indicator cost, which must add up."""
    told = pd.read_parquet(workspace / "scores.parquet")["score"].to_numpy()
    last = sessions.block == sessions.block.max()  # the block that was scored last
    ill = sessions.stalled[last]
    fifths = pd.Series(ill).groupby(pd.qcut(pd.Series(told).rank(method="first"), 5, labels=False))
    lines = [f"  score {told[part.index].mean():5.1f}: {part.mean():.3f} stalled" for _, part in fifths]
    service = read_domain(workspace).service("youtube_sessions")
    what = plan(service, service.local_indicators)
    names = what.ids[: what.weighed]
    useful = utilities(what, [sessions.table[one].to_numpy()[last] for one in names])
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
    asked.add_argument("--earlier", action="store_true")
    given = asked.parse_args()
    if not DATA.is_file():
        print(f"skipped: {DATA} is not there; IOTLENS_DATA must name the folder of youtube_qoe_tum2015")
        return
    sessions = read(given.earlier)
    for what, rows in {"judged": sessions.judged, "learnt from alone": ~sessions.judged}.items():
        print(
            f"{what}: {rows.sum():,} sessions of {len(set(sessions.day[rows]))} days, the first"
            f" {min(sessions.day[rows], default='none')}; {sessions.stalled[rows].sum():,} stalled"
        )
    print(f"{len(set(sessions.video))} videos")
    with tempfile.TemporaryDirectory() as scratch:
        for name in SETS:
            folder = (given.keep or Path(scratch)) / name.replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            compare(sessions, name, folder)


if __name__ == "__main__":
    main()
