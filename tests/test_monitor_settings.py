"""configs/monitor.yaml: what its figures may be, and what they mean in windows."""

from pathlib import Path

import pytest
import yaml

from evaluation.monitor_settings import read_monitor_settings
from features.configuration import packaged_configs


def changed(tmp_path: Path, **other: object) -> Path:
    told = yaml.safe_load((packaged_configs() / "monitor.yaml").read_text(encoding="utf-8")) | other
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "monitor.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    return tmp_path


def test_the_same_time_of_earlier_weeks_and_days_is_counted_in_windows() -> None:
    settings = read_monitor_settings()
    assert settings.week_lags[:5] == (670, 671, 672, 673, 674)
    assert settings.day_lags[:5] == (94, 95, 96, 97, 98)
    assert settings.scale_lags[0] == 97  # the first that a fault of a day does not reach
    assert settings.memory == max(settings.week_lags) == 4 * 672 + 2


def test_a_window_that_divides_no_hour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="every_s must divide an hour, but is 700"):
        read_monitor_settings(changed(tmp_path, every_s=700))


def test_an_indicator_cannot_be_told_in_more_windows_than_are_pooled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="min_windows must be at most those that pool_s holds, 4, but is 5"):
        read_monitor_settings(changed(tmp_path, min_windows=5))


def test_more_odd_windows_than_are_looked_at_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="windows must be at most of, but are 5 of 4"):
        read_monitor_settings(changed(tmp_path, open={"below": 5, "windows": 5, "of": 4}))


def test_a_window_that_clears_must_be_calmer_than_one_that_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"close\.above must be less than open\.below"):
        read_monitor_settings(changed(tmp_path, close={"above": 9, "windows": 4, "unseen": 96}))


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown key 'weeks'"):
        read_monitor_settings(changed(tmp_path, weeks=4))
