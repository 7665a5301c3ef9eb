"""report.json of a run of user marking -> report.html: one page that stands alone, loads nothing and runs nothing."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from evaluation import pages
from evaluation.judgement import Json
from evaluation.mark_report import EXPERTS, RULES
from evaluation.svg import (
    MUTED,
    OTHER,
    OURS,
    Type,
    axes_at,
    drawing,
    interval,
    note,
    short,
    text_width,
    to_svg,
)

_ROW_PT = 30.0
_SHOWN = (("precision", OURS, "o", 0.16), ("recall", OTHER, "D", -0.16))


def to_html(summary: Json) -> str:
    """Return the page of a summary, as `mark_report.summarize` makes it or report.json holds it: the same page."""
    page = pages.template("marks.html", {"range": _range})
    drawn = _drawn(summary)
    told = "Simulated. " if summary["simulated"] else ""
    label = f"{told}Precision and recall of the models against their rules, out of fold: {_spoken(drawn)}"
    return page.render(
        s=summary,
        figure=Markup(_told_again(drawn, label=label)) if drawn else None,
        against_experts=[row for row in summary["judged"] if row["against"] == EXPERTS],
        against_rules=[row for row in summary["judged"] if row["against"] == RULES],
        names={row["mark"]: row["name"] for row in summary["rows"]},
        made=_made(summary),
    )


def _drawn(summary: Json) -> list[Json]:
    """Return the models that were kept and can be held against a rule, the best first."""
    rows = [row for row in summary["judged"] if row["kept"] and row["against"] == RULES and row["recall"]]
    return sorted(rows, key=lambda row: (-row["recall"]["value"] - _value(row["precision"]), row["mark"]))


def _value(share: Json | None) -> float:
    return share["value"] if share else 0.0


def _spoken(rows: Sequence[Json]) -> str:
    return "; ".join(
        f"{row['mark']} {_value(row['precision']):.2f} and {row['recall']['value']:.2f}" for row in rows
    )


def _told_again(rows: Sequence[Json], *, label: str) -> str:
    """Draw precision and recall of each model with 95 % intervals."""
    left, right, top, bottom = max(text_width(short(row["mark"]), 9) for row in rows) + 20, 20.0, 28.0, 40.0
    with drawing(top + bottom + _ROW_PT * len(rows)) as figure:
        axes = axes_at(figure, left=left, top=top, right=right, bottom=bottom)
        for y, row in enumerate(rows):
            note(axes, short(row["mark"]), at=(0, y), by=(-left, 0), type_=Type(size=9))
            for key, color, marker, off in _SHOWN:
                if row[key] is not None:
                    interval(axes, row[key], y=y - off, color=color, marker=marker)
        axes.grid(axis="x")
        axes.set(xlim=(-2, 102), ylim=(len(rows) - 0.4, -0.6), yticks=[])
        axes.set(xticks=np.arange(0, 101, 20), xlabel="share of devices, % (95 % interval)")
        axes.spines["left"].set_visible(False)
        note(axes, "●  precision", at=(0, -0.6), by=(0, 14), type_=Type(OURS))
        note(axes, "◆  recall", at=(0, -0.6), by=(84, 14), type_=Type(MUTED))
        return to_svg(figure, name="told-again", label=label)


def _made(summary: Json) -> list[tuple[str, str]]:
    made = summary["made"]
    kind = {"trees": "LightGBM", "network": "a small torch network"}[made["kind"]]
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(made["libraries"].items()))
    return [
        ("models", f"{kind}, one of each mark"),
        ("model version", summary["model_version"]),
        ("marks that taught", made["rules"]),
        ("learnt as of", summary["at"]),
        ("devices", pages.count(summary["devices"])),
        ("held from", f"probability {summary['held_at']:g} on"),
        (
            "kept from",
            f"skill {made['experiment']['min_skill']:g} on: shares of yes and no told again, less 1",
        ),
        ("intervals", "95 %, Wilson; each device is one witness"),
        ("seed", str(made["seed"])),
        ("data", f"hash {made['data_hash']}"),
        ("code", f"commit {made['git_commit']}" if made["git_commit"] else "not a checkout"),
        ("libraries", libraries),
    ]


def _range(low_high: Sequence[float]) -> str:
    """Return a usual range.

    >>> _range([0.5, 179725.2])
    '0.5 to 179,725'
    """
    low, high = (f"{one:,.0f}" if abs(one) >= 1000 else f"{one:.4g}" for one in low_high)
    return f"{low} to {high}"
