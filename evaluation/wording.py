"""What the figures say, in sentences: an operations lead reads these and perhaps nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor

from evaluation.judgement import Json

SPLITS = ("random", "time", "device", "site")  # from the least to the most that is new on the judged side
WEAKEST = 3  # how many of the weakest classes a sentence names
FEW_CLUSTERS = 5  # below, an interval says little about the next device
FEW_JUDGED = 30  # in all; below, a share of 100 would claim too much
FEW_ROWS = 10  # of a class in a test; below, its recall may be nearly anything
INTERVALS = (
    "95 %. Proportions: Wilson, with fewer effective rows where rows of one device or capture hang together;"
    " where every row is right, as far as the answers of the whole split show that they do."
    " F1 of a class: by Wilson too, on the rows that are it or are called it. Macro F1, importance: 1,000"
    " bootstrap resamples of whole devices or captures. Difference to the rival: paired (Agresti and Min)."
)
LEAKS = {
    "captures": "captures",
    "device_units": "device units",
    "overlapping_windows": "windows that share time",
    "duplicate_rows": "rows with the same features and class",
}
LEAK_STATES = {
    "pass": "✓ pass",
    "fail": "✗ fail",
    "as_meant": "as meant",
    "shared": "shared, as one capture holds many devices; no device is on both sides",
    "untold": "cannot be told for windows that span captures",
}
MINUS, PERCENT = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}%"
NO_PROMISE = "no promise for new devices, days or places: the same ones stand on both sides"


@dataclass(frozen=True)
class Nouns:
    """What a row is called, and what it comes from: captures of devices. units: None where not known."""

    many: str
    units: str | None


def title(kind: str, nouns: Nouns) -> str:
    """Return the short name of a split, as figures and tables bear it."""
    return {
        "random": "Drawn at random",
        "time": f"Later, same {nouns.units}" if nouns.units else "Later",
        "device": f"{(nouns.units or 'devices').capitalize()} never seen",
        "site": "Sites never seen",
    }[kind]


def hardest(parts: Sequence[Json], *, classes: int) -> str | None:
    """Return the hardest split that judges at least half of the classes; else the one that judges most."""
    broad = [part["kind"] for part in parts if 2 * part["test_classes"] >= classes]
    if broad:
        return str(broad[-1])
    return max(parts, key=lambda part: part["test_classes"])["kind"] if parts else None


def headline(part: Json, nouns: Nouns) -> str:
    """Return the result in one plain sentence with its interval."""
    which = {
        "random": f"{nouns.many} drawn at random",
        "time": f"later {nouns.many}" + (f" of known {nouns.units}" if nouns.units else ""),
        "device": f"{nouns.many} of {nouns.units} never seen before",
        "site": f"{nouns.many} at sites never seen before",
    }[part["kind"]]
    score = part["accuracy"]
    low, high = hundred(score["low"]), hundred(score["high"])
    if part["test_rows"] < FEW_JUDGED:
        right, total = part["right_rows"], part["test_rows"]
        return f"Of {total} {which}, {right} are named rightly: too few to say more ({low} to {high} of 100)."
    return f"Of 100 {which}, {hundred(score['value'])} are named rightly ({low} to {high})."


def why_headline(part: Json, parts: Sequence[Json], *, classes: int) -> str:
    """Return why this split and no other stands in the headline."""
    if part["kind"] == "random":
        return f"Only a random split could judge enough classes. It is {NO_PROMISE}."
    others = "The others stand below, beside it."
    if part is parts[-1]:
        return f"No question that these data can ask is nearer to what comes. {others}"
    return f"Of all that these data can ask of most of the {classes} classes, none is nearer to what comes. {others}"


def failed_checks(part: Json) -> list[str]:
    """Return a sentence that names what lies on both sides of a split and must not; none where nothing does."""
    failed = [f"{row['count']:,} {LEAKS[row['what']]}" for row in part["leaks"] if row["state"] == "fail"]
    return [f"The leak check failed: {listed(failed)} are on both sides."] if failed else []


def hundred(share: float) -> str:
    """Return a share as a number of 100: whole, but never 100 for less than all, nor 0 for more than none.

    >>> hundred(0.954), hundred(0.9996), hundred(0.0004), hundred(1.0)
    ('95', '99.9', '0.1', '100')
    """
    whole = round(100 * share)
    if whole == 100 and share < 1:
        return f"{floor(1000 * share) / 10:.1f}"
    if whole == 0 and share > 0:
        return f"{max(100 * share, 0.1):.1f}"
    return str(whole)


def lines(part: Json, nouns: Nouns, *, rival: str, limit: float) -> Json:
    """Return every sentence about one split, by the part of the page that shows it."""
    return {
        "rows_line": rows_line(part, nouns),
        "rival_line": against_rival(part, rival),
        "classes_line": about_classes(part, nouns),
        "confusion_line": about_confusion(part, nouns),
        "calibration_line": about_calibration(part, nouns),
        "chosen_line": chosen_line(part, limit),
    }


def rows_line(part: Json, nouns: Nouns) -> str:
    """Return how many rows judge, and how many were learnt from; or that they flatter."""
    judged = f"{part['test_rows']:,} {nouns.many} judged"
    if part["kind"] == "random":
        return f"{judged}; none of them new"
    turns = f", in {part['folds']} turns" if part["folds"] > 1 else f", {part['train_rows']:,} learnt from"
    return judged + turns


def points(share: float) -> str:
    """Return a difference of shares in points of a hundred, signed, never a signed zero.

    >>> points(0.0123), points(-0.0001)
    ('+1.2', '0.0')
    """
    told = f"{100 * share:+.1f}"
    return "0.0" if float(told) == 0 else told.replace("-", MINUS)


def against_rival(part: Json, name: str) -> str:
    """Return how we stand beside the rival on one split, in points of accuracy."""
    gap = part["rival"]["difference"]
    verdict = "no difference that these rows can tell"
    if gap["low"] > 0:
        verdict = "better, and more than chance explains"
    elif gap["high"] < 0:
        verdict = "worse, and more than chance explains"
    ends = f"{points(gap['low'])} to {points(gap['high'])}"
    return f"Beside the rival, {name}: {points(gap['value'])} points of accuracy ({ends}), {verdict}."


def about_classes(part: Json, nouns: Nouns) -> str:
    """Return how many classes are found well, and which are found worst."""
    judged = [row for row in part["per_class"] if row["support"]]
    well = sum(row["recall"]["value"] >= 0.9 for row in judged)
    worst = sorted(judged, key=lambda row: (row["recall"]["value"], row["class"]))[:WEAKEST]
    named = [
        f"{row['class']} ({row['right']} of {row['support']})" for row in worst if row["recall"]["value"] < 1
    ]
    start = f"{well} of {len(judged)} classes are found in at least 9 of 10 of their {nouns.many}"
    return f"{start}; found worst: {listed(named)}." if named else f"{start}; none was missed once."


def about_confusion(part: Json, nouns: Nouns) -> str:
    """Return how many rows got a wrong name, and how many of those names were of the right family."""
    total, wrong = part["test_rows"], part["test_rows"] - part["right_rows"]
    if not wrong:
        return f"None of {total:,} {nouns.many} got a wrong name."
    near = sum(pair["rows"] for pair in part["pairs"] if pair["same_family"])
    first = part["pairs"][0]
    pair = f"{first['first']} and {first['second']} ({first['rows']:,} {nouns.many})"
    many = "all" if near == wrong else f"{near:,}"
    family = f"; {many} of these names were of the right family" if near else ""
    return f"{wrong:,} of {total:,} {nouns.many} got a wrong name{family}. Most often confused: {pair}."


def about_calibration(part: Json, nouns: Nouns) -> str:
    """Return whether the probabilities promise too much, and what the chosen threshold does."""
    trust, chosen = part["calibration"], part["calibration"]["chosen"]
    gap = 100 * (trust["mean_probability"] - part["accuracy"]["value"])
    promise = "on average what they keep"
    if abs(gap) >= 1:
        promise = f"{abs(gap):.0f} points {'more' if gap > 0 else 'less'} than they keep"
    first = f"The probabilities promise {promise} (expected calibration error {trust['ece']:.2f})."
    if chosen["accuracy"]["value"] is None:
        return f"{first} Every answer is unknown."
    answered, kept = hundred(chosen["answered"]["value"]), hundred(chosen["accuracy"]["value"])
    told = (
        f"Of 100 {nouns.many}, {answered} are not called unknown; of 100 of these, {kept} are named rightly."
    )
    return f"{first} {told}"


def threshold(value: float) -> str:
    """Return a threshold to three decimals, never 1 for less than one.

    >>> threshold(0.99987), threshold(0.8214), threshold(1.0)
    ('0.999', '0.821', '1.000')
    """
    return "0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def chosen_line(part: Json, limit: float) -> str:
    """Return the lines beside the chosen point of the reject curve."""
    chosen = part["calibration"]["chosen"]
    if chosen["accuracy"]["value"] is None:
        return ""
    answered, kept = hundred(chosen["answered"]["value"]), hundred(chosen["accuracy"]["value"])
    return f"threshold {threshold(limit)}:\n{answered} % answered,\n{kept} % of these right"


def about_importance(rows: Sequence[Mapping[str, object]], share: float) -> str:
    """Return the features that move the answers most. share: of all movement, carried by the rows given."""
    first = listed([str(row["feature"]) for row in rows[:WEAKEST]])
    verb = "move" if len(rows) > 1 else "moves"
    return (
        f"{first} {verb} the answers most. What is shown carries {hundred(share)}{PERCENT} of all movement."
    )


def spoken_splits(parts: Sequence[Json]) -> str:
    """Return what the figure of splits shows, for a reader who cannot see it."""
    told = [
        f"{part['title']}: {hundred(part['accuracy']['value'])} %"
        f" ({hundred(part['accuracy']['low'])} to {hundred(part['accuracy']['high'])}),"
        f" rival {hundred(part['rival']['accuracy']['value'])} %"
        for part in parts
    ]
    return f"Accuracy with 95 % interval by split. {'; '.join(told)}."


def spoken_outcomes(parts: Sequence[Json]) -> str:
    """Return what the figure of outcomes shows, for a reader who cannot see it."""
    names = {
        "leaf_right": "named rightly",
        "family_right": "family right",
        "unknown": "unknown",
        "wrong": "wrong",
    }
    told = [
        f"{part['title']}: "
        + ", ".join(f"{hundred(part['outcomes'][key])} % {name}" for key, name in names.items())
        for part in parts
    ]
    return f"What the answers are worth. {'; '.join(told)}."


def listed(names: Sequence[str]) -> str:
    """Return names as they stand in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def limits(summary: Json) -> list[Json]:
    """Return what the evidence does not show: entries of {about, says}, to be acted on."""
    parts = [{"about": part["title"], "says": " ".join(_narrow(part, summary))} for part in summary["splits"]]
    refused = [
        {"about": split["title"], "says": f"Not judged, because {split['why']}."}
        for split in summary["refused"]
    ]
    return [
        *_simulated(summary),
        *(part for part in parts if part["says"]),
        *refused,
        {"about": "Thresholds", "says": _thresholds(summary)},
    ]


def _simulated(summary: Json) -> list[Json]:
    told = (
        "All traffic is simulated: the figures show that the machinery works, and nothing about real devices."
    )
    return [{"about": "Simulated", "says": told}] if summary["simulated"] else []


def _narrow(part: Json, summary: Json) -> list[str]:
    """Return the sentences that narrow what one split shows."""
    nouns, total, told = summary["nouns"], summary["data"]["classes"], []
    if part["kind"] == "random":
        told.append(f"{NO_PROMISE.capitalize()}.")
    if part["test_classes"] < total:
        told.append(f"It judges {part['test_classes']} of {total} classes.")
    told += failed_checks(part)
    told += [
        f"{row['count']:,} captures are {LEAK_STATES['shared']}."
        for row in part["leaks"]
        if row["state"] == "shared"
    ]
    if any(row["state"] == "untold" for row in part["leaks"]):
        told.append(f"Whether one capture is on both sides {LEAK_STATES['untold']}.")
    few = part["clusters"]
    if few["column"] == "device_id" and few["count"] < FEW_CLUSTERS:
        told.append(
            f"It rests on {few['count']} of the {nouns['units']}: the interval says little about the next."
        )
    if part["kind"] == "site":
        sites = summary["data"]["sites"]
        told.append(f"It knows {sites} sites: the interval tells of more devices there, not of another site.")
    thin = sum(0 < row["support"] < FEW_ROWS for row in part["per_class"])
    if thin:
        told.append(f"In {thin} of its classes fewer than {FEW_ROWS} {nouns['many']} judge.")
    if same := part["dropped"].get("duplicate_rows"):
        told.append(
            f"{same:,} {nouns['many']} do not judge: one of the same class and features was learnt from."
        )
    return told


def _thresholds(summary: Json) -> str:
    split = summary["made"]["thresholds"]["split"]
    titles = {part["kind"]: part["title"] for part in summary["splits"]}
    if split not in titles:
        return "No rows outside training could set them: nothing is ever called unknown."
    most = max(summary["splits"], key=lambda part: _called_unknown(part))
    costly = f" They call {hundred(_called_unknown(most))} of 100 unknown on “{most['title']}”, all of known types."
    return (
        f"They and the temperature of the probabilities were set on the {summary['nouns']['many']} of"
        f" “{titles[split]}”: there, calibration and the share answered look a little too good. The names"
        f" given do not depend on them.{costly}"
    )


def _called_unknown(part: Json) -> float:
    return float(1 - part["calibration"]["chosen"]["answered"]["value"])
