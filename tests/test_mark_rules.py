"""configs/user_marks.yaml: its form, its rules, and what they say of devices of which little is known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from evaluation import mark_rules
from features import known
from features.configuration import packaged_configs

Content = dict[str, Any]
SHIPPED = packaged_configs() / "user_marks.yaml"


def changed(workspace: Path, edit: Callable[[Content], object]) -> Path:
    content = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    edit(content)
    path = workspace / "configs" / "user_marks.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def entry(content: Content, of_id: str) -> Content:
    return next(one for one in content["marks"] if one["id"] == of_id)


def test_the_shipped_marks_keep_every_rule_and_cover_what_operations_asks_for() -> None:
    marks = mark_rules.read()
    ids = {mark.id for mark in marks.marks}
    assert ids >= {
        "static", "nomadic", "mobile", "deep_indoor", "always_on", "sleepy", "heavy", "light", "roaming",
        "suspected_misuse", "silent", "chatty", "low_battery_risk",
    }  # fmt: skip
    assert ("static", "nomadic", "mobile") in list(marks.exclusive())
    assert {mark.source for mark in marks.marks} == {"rule", "both"}


def test_every_feature_that_can_be_known_has_one_name() -> None:
    names = known.columns()
    assert {"two_cells_share", "term_ce_level", "nrsrp_median", "window_up_byte_share"} <= set(names)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (
            lambda c: entry(c, "mobile")["rule"].update(feature="cels"),
            "mobile: rule must read known features, but cels is none; the nearest is cells",
        ),
        (
            lambda c: entry(c, "mobile").update(group="mobilty"),
            "mobile: group must be one of groups, but mobilty is none; the nearest is mobility",
        ),
        (
            lambda c: entry(c, "mobile").pop("rule"),
            "mobile: a mark of source both must have a rule, but has none",
        ),
        (
            lambda c: c["marks"].append(entry(c, "mobile")),
            "mobile: ids must be unique, but 2 marks have this one",
        ),
        (
            lambda c: entry(c, "mobile").update(source="rules"),
            r"marks.2 (mobile).source: must be one of rule, model or both, but is rules; the nearest is rule",
        ),
        (
            lambda c: entry(c, "mobile").update(expire_h=3),
            "unknown key 'marks.2 (mobile).expire_h'; the nearest known one is 'expires_h'",
        ),
        (
            lambda c: entry(c, "mobile")["probability"].update(when_true=0.3),
            "marks.2 (mobile).probability.when_true: Input should be greater than 0.5 (got 0.3)",
        ),
        (
            lambda c: (c.update(window=None), c.update(window_features=["window_up_byte_share"])),
            "marks: window must be named where its features are read, but is null",
        ),
    ],
)
def test_a_broken_rule_is_told_with_file_id_and_rule(
    tmp_path: Path, edit: Callable[[Content], object], told: str
) -> None:
    path = changed(tmp_path, edit)
    with pytest.raises(ValueError) as raised:  # the text is compared below
        mark_rules.read(tmp_path)
    assert f"{path}: {told}" in str(raised.value)


def holds(rule: Content, **columns: list[float | None]) -> list[bool | None]:
    mark = {"id": "m", "name": "M", "group": "g", "source": "rule", "rule": rule, "expires_h": 1, "use": "-"}
    checked = mark_rules.Mark.model_validate({**mark, "basis": "judgement"})
    told = mark_rules.rule_holds(checked, pd.DataFrame(columns, dtype="float64"))
    return [None if pd.isna(one) else bool(one) for one in told]


def test_a_missing_feature_is_unknown_and_never_false() -> None:
    many, few = {"feature": "cells", "op": "ge", "value": 3}, {"feature": "cells", "op": "lt", "value": 3}
    assert holds(many, cells=[4, 2, None]) == [True, False, None]
    assert holds({"not": many}, cells=[4, 2, None]) == [False, True, None]
    assert holds(few, moves_per_day=[1, 1, 1]) == [None, None, None]  # no such column at all


def test_all_is_unknown_unless_a_part_is_false_and_any_unless_one_is_true() -> None:
    cells, moves = (
        {"feature": "cells", "op": "ge", "value": 3},
        {"feature": "moves_per_day", "op": "ge", "value": 1},
    )
    table: dict[str, list[float | None]] = {
        "cells": [4, 4, 2, 2, None],
        "moves_per_day": [None, 5, None, 5, None],
    }
    assert holds({"all": [cells, moves]}, **table) == [None, True, False, False, None]
    assert holds({"any": [cells, moves]}, **table) == [True, True, None, True, None]


def test_a_mark_of_some_services_is_false_elsewhere_and_unknown_where_the_service_is() -> None:
    mark = next(one for one in mark_rules.read().marks if one.id == "suspected_misuse")
    frame = pd.DataFrame(
        {
            "service": pd.array(["smoke_sensor", "video", pd.NA], dtype="string"),
            "term_imei_binding_ok": [0.0, 0.0, 0.0],
        }
    )
    told = mark_rules.rule_holds(mark, frame)
    assert told[:2].tolist() == [True, False]
    assert pd.isna(told[2])


def test_a_new_mark_is_an_entry(tmp_path: Path) -> None:
    new = {
        "id": "night_owl", "name": "Sends at night", "group": "health", "source": "rule", "expires_h": 24,
        "rule": {"feature": "night_flow_share", "op": "ge", "value": 0.5}, "use": "A look", "basis": "judgement",
    }  # fmt: skip
    changed(tmp_path, lambda content: content["marks"].append(new))
    mark = mark_rules.read(tmp_path).marks[-1]
    assert mark.id == "night_owl"
    assert mark_rules.rule_holds(mark, pd.DataFrame({"night_flow_share": [0.9, 0.1]})).tolist() == [
        True,
        False,
    ]
