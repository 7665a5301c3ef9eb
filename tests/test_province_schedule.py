"""The numbers of a schedule are numbers, and a fault placed by hand is strong and long enough to be seen."""

from pathlib import Path

import pytest
from test_province_input import new
from test_province_placed import NOISE, scheduled

from evaluation.simulation.province.catalogue import read_faults
from evaluation.simulation.province.schedule import resolved
from evaluation.simulation.province.settings import read_settings
from evaluation.simulation.province.topology import Plan
from features.configuration import find_config


@pytest.mark.parametrize(
    "when", [{"onset_h": 47.9999, "duration_h": 5}, {"onset_h": -1, "duration_h": 1.001}]
)
def test_a_scheduled_fault_of_which_less_than_a_minute_is_simulated_is_refused(
    when: dict[str, float],
) -> None:
    patterns = read_faults(find_config("fault_catalogue.yaml")).patterns
    settings = read_settings(find_config("province.yaml"))
    plan = Plan(settings, devices=300, days=2, seed=5, patterns=patterns)
    with pytest.raises(ValueError, match=r"schedule\[0\] \(f_new\): it must be on for at least one minute"):
        resolved(plan, scheduled(new(NOISE), when))


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("duration_h", ".inf", "finite number"),
        ("duration_h", ".nan", "finite number"),
        ("duration_h", "1.0e+9", "less than or equal to 100000"),
        ("duration_h", "0.000000001", "greater than or equal to 0.0166"),
        ("onset_h", "-.inf", "finite number"),
        ("onset_h", "true", "valid number"),
        ("severity", "1.0e-300", "greater than or equal to 0.01"),
        ("severity", "true", "valid number"),
        ("severity", '"0.5"', "valid number"),
        ("location", "true", "valid integer"),
        ("location", "1.0", "valid integer"),
    ],
)
def test_a_number_of_the_schedule_that_is_none_or_does_nothing_is_told_with_file_entry_and_key(
    tmp_path: Path, key: str, value: str, rule: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"schedule: [{{fault: f_cell_outage, {key}: {value}}}]")
    with pytest.raises(ValueError, match=rf"mine\.yaml: schedule\.0\.{key}.*{rule}"):
        read_faults(path)


def test_a_whole_number_and_an_id_are_good_in_a_schedule(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schedule: [{fault: f_cell_outage, location: cell-000-00, severity: 1, onset_h: -2}]")
    (planned,) = read_faults(path).schedule
    assert (planned.location, planned.severity, planned.onset_h) == ("cell-000-00", 1.0, -2.0)
