"""configs/user_marks.yaml: which marks a device can have, and the rules that tell them: true, false or unknown."""

import operator
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import Discriminator, Field, Tag

from features import known
from features.configuration import find_config, nearest, read_config
from features.indicators import Basis, Frozen, Id, Name, Number

Source = Literal["rule", "model", "both"]
_COMPARE: Mapping[str, Callable[..., Any]] = {  # Any: a column of pandas, which pandas' stubs know too well
    "eq": operator.eq,
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
}
TEN_YEARS_H = 87_660.0  # what is true for longer is true until it is cleared: null
_WHOLE = "marks"  # what an error of the file as a whole is told of


class Atom(Frozen):
    """feature op value. A feature that nobody told makes it unknown: nothing here can give it a value."""

    feature: Id
    op: Literal["eq", "ge", "gt", "le", "lt"]
    value: Number


# The forms stand in demarcation_rules.py too: pydantic leaves the parts of a generic Condition[Atom] unchecked.
class Every(Frozen):
    """All of the conditions."""

    all: tuple["Condition", ...] = Field(min_length=1)


class Either(Frozen):
    """Any of the conditions."""

    any: tuple["Condition", ...] = Field(min_length=1)


class Unlike(Frozen):
    """Not the condition."""

    not_: "Condition" = Field(alias="not")


def _form(condition: object) -> str:
    keys = condition if isinstance(condition, dict) else vars(condition)
    return next((form for form in ("all", "any", "not", "not_") if form in keys), "atom").rstrip("_")


Condition = Annotated[
    Annotated[Atom, Tag("atom")]
    | Annotated[Every, Tag("all")]
    | Annotated[Either, Tag("any")]
    | Annotated[Unlike, Tag("not")],
    Discriminator(_form),
]


class RuleProbability(Frozen):
    """How probable a mark is where its rule is true, and where it is false."""

    when_true: float = Field(gt=0.5, lt=1)
    when_false: float = Field(gt=0, lt=0.5)


class Group(Frozen):
    """Marks of one question. exclusive: at most one of them is held."""

    id: Id
    exclusive: bool


class Mark(Frozen):
    """One mark; the comments at the head of the file say what each field means."""

    id: Id
    name: Name
    group: Id
    source: Source
    rule: Condition | None = None
    probability: RuleProbability = RuleProbability(when_true=0.9, when_false=0.1)
    applies_to: tuple[Name, ...] = ()
    expires_h: float | None = Field(gt=0, le=TEN_YEARS_H)
    use: Name
    basis: Basis

    def atoms(self) -> Iterator[Atom]:
        """Yield the atoms of its rule."""
        if self.rule is not None:
            yield from atoms(self.rule)

    @property
    def features(self) -> tuple[str, ...]:
        """The features that its rule reads, each once, in order."""
        return tuple(dict.fromkeys(atom.feature for atom in self.atoms()))

    @property
    def expires(self) -> pd.Timedelta | None:
        """How long it stays true once nothing is known any more; None: until it is cleared."""
        return None if self.expires_h is None else pd.Timedelta(hours=self.expires_h)


class UserMarks(Frozen):
    """The whole file. window_features: of the window, what models may read besides what rules read."""

    schema_: Literal["user_marks/1"] = Field(alias="schema")
    window: str | None = None
    window_features: tuple[Id, ...] = ()
    held_at: float = Field(gt=0, lt=1, description="a mark is held from this probability on")
    groups: tuple[Group, ...] = Field(min_length=1)
    marks: tuple[Mark, ...] = Field(min_length=1)

    @property
    def of_window(self) -> frozenset[str]:
        """The features of the window that the file names."""
        read = {feature for mark in self.marks for feature in mark.features} | set(self.window_features)
        return frozenset(name for name in read if name.startswith(known.WINDOW))

    def exclusive(self) -> Iterator[tuple[str, ...]]:
        """Yield the marks of each exclusive group."""
        for group in self.groups:
            if group.exclusive:
                yield tuple(mark.id for mark in self.marks if mark.group == group.id)


def read(workspace: Path | None = None) -> UserMarks:
    """Return the marks of a workspace, checked against the features that can be known of a device.

    Raises ValueError that names file, mark, rule and fact, one line for each.
    """
    path = find_config("user_marks.yaml", workspace)
    whole = read_config(path, UserMarks)
    if wrong := list(broken(whole, known.columns(workspace))):
        raise ValueError("\n".join(f"{path}: {line}" for line in wrong))
    return whole


def broken(whole: UserMarks, features: Collection[str]) -> Iterator[str]:
    """Yield each rule of the domain that the file breaks: the id, the rule, the fact. features: the known names."""
    for mark_id, times in Counter(mark.id for mark in whole.marks).items():
        if times > 1:
            yield f"{mark_id}: ids must be unique, but {times} marks have this one"
    groups = [group.id for group in whole.groups]
    for mark in whole.marks:
        if mark.group not in groups:
            way = nearest(mark.group, groups)
            yield f"{mark.id}: group must be one of groups, but {mark.group} is none; {way}"
        if mark.rule is None and mark.source != "model":
            yield f"{mark.id}: a mark of source {mark.source} must have a rule, but has none"
        for feature in mark.features:
            if feature not in features:
                way = nearest(feature, features)
                yield f"{mark.id}: rule must read known features, but {feature} is none; {way}"
    for feature in whole.window_features:
        if feature not in features or not feature.startswith(known.WINDOW):
            yield f"window_features: must be window_<feature of a window>, but {feature} is none"
    if whole.of_window and whole.window is None:
        yield f"{_WHOLE}: window must be named where its features are read, but is null"


def atoms(condition: Condition) -> Iterator[Atom]:
    """Yield the atoms of a condition."""
    if isinstance(condition, Atom):
        yield condition
    elif isinstance(condition, Unlike):
        yield from atoms(condition.not_)
    else:
        for part in condition.all if isinstance(condition, Every) else condition.any:
            yield from atoms(part)


def holds(condition: Condition, frame: pd.DataFrame) -> "pd.Series[bool]":
    """Return for each row of a frame whether a condition is true, false or unknown (<NA>), dtype boolean.

    A column that the frame lacks is unknown in every row. The logic is Kleene's, as pandas has it.
    """
    if isinstance(condition, Atom):
        return _atom_holds(condition, frame)
    if isinstance(condition, Unlike):
        return ~holds(condition.not_, frame)
    parts = condition.all if isinstance(condition, Every) else condition.any
    whole = holds(parts[0], frame)
    for part in parts[1:]:
        found = holds(part, frame)
        whole = (whole & found) if isinstance(condition, Every) else (whole | found)
    return whole


def rule_holds(mark: Mark, frame: pd.DataFrame) -> "pd.Series[bool]":
    """Return for each device whether the rule of a mark is true, false or unknown.

    A device of a service that the mark does not apply to has it not; of one of unknown service it is not known.
    """
    if mark.rule is None:
        return pd.Series(pd.NA, index=frame.index, dtype="boolean")
    return applies(mark, frame) & holds(mark.rule, frame)


def applies(mark: Mark, frame: pd.DataFrame) -> "pd.Series[bool]":
    """Return whether a mark applies to each device: true, false, or unknown where its service is."""
    if not mark.applies_to:
        return pd.Series(True, index=frame.index, dtype="boolean")
    if "service" not in frame:
        return pd.Series(pd.NA, index=frame.index, dtype="boolean")
    service = frame["service"].astype("string")
    return service.isin(mark.applies_to).astype("boolean").mask(service.isna())


def _atom_holds(atom: Atom, frame: pd.DataFrame) -> "pd.Series[bool]":
    if atom.feature not in frame:
        return pd.Series(pd.NA, index=frame.index, dtype="boolean")
    values = frame[atom.feature].astype("Float64")
    compared: pd.Series[bool] = _COMPARE[atom.op](values, atom.value).astype("boolean")
    return compared
