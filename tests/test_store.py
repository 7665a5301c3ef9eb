"""The feature store, with the real Feast: its services, and the past as Feast itself tells it."""

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_store import FEATURES, NAMES, TTL, add, asked, at, devices, minutes, row, window_rows, windows

from features.configuration import find_config, read_config
from features.store import Store, feature_service_name
from features.store_settings import StoreSettings, project_name


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "fleet-7", FEATURES, TTL)


@pytest.fixture
def service(store: Store) -> str:
    return store.register("app", "15min")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for the property tests: Feast needs its time to set one up."""
    yield Store(tmp_path_factory.mktemp("shared"), FEATURES, TTL)


# ---- services


def test_a_service_is_named_after_model_window_and_version() -> None:
    assert feature_service_name("app", "15min") == "app_15min_v1"
    assert feature_service_name("app", "session", 3) == "app_session_v3"


def test_another_list_of_features_or_another_order_is_another_version(store: Store) -> None:
    assert store.register("app", "15min", ["up_bytes", "flows"]) == "app_15min_v1"
    assert store.register("app", "15min", ["flows", "up_bytes"]) == "app_15min_v2"
    assert store.register("app", "session") == "app_session_v1"
    again = Store(store.workspace, FEATURES, TTL)
    assert again.register("app", "15min", ["up_bytes", "flows"]) == "app_15min_v1"
    assert [column.name for column in again.service("app_15min_v1").features] == ["up_bytes", "flows"]
    assert again.service("app_15min_v2").window == "15min"


def test_a_model_is_refused_a_service_that_lists_something_else(store: Store, service: str) -> None:
    store.require(service, NAMES)
    with pytest.raises(ValueError, match="at place 1 it lists 'up_share' and the model reads 'up_bytes'"):
        store.require(service, ["flows", "up_bytes"])
    with pytest.raises(ValueError, match="at place 4 it lists 'encrypted' and the model reads None"):
        store.require(service, NAMES[:4])


@pytest.mark.usefixtures("service")
def test_a_service_that_nobody_registered_is_named_with_those_that_are(store: Store) -> None:
    with pytest.raises(LookupError, match=r"no feature service 'app_15min_v9'.*\['app_15min_v1'\]"):
        store.latest(["bike-1"], "app_15min_v9")


def test_asking_a_workspace_without_a_store_writes_nothing(store: Store) -> None:
    with pytest.raises(LookupError, match="no feature service 'app_15min_v1'"):
        store.history(asked(("bike-1", 0)), "app_15min_v1")
    assert not store.workspace.exists()


def test_a_service_of_a_feature_that_is_no_longer_made_is_refused(store: Store, service: str) -> None:
    later = Store(store.workspace, FEATURES[1:], TTL)
    with pytest.raises(
        ValueError, match=r"app_15min_v1 must list features that are still made.*flows \(int64\)"
    ):
        later.service(service)


@pytest.mark.parametrize("features", [["flows", "flows"], ["bytes"], []])
def test_a_service_lists_known_features_once(store: Store, features: list[str]) -> None:
    with pytest.raises(ValueError, match="lists features of the windows, each once"):
        store.register("app", "15min", features)


def test_a_service_whose_window_has_left_the_configuration_is_refused(store: Store, service: str) -> None:
    later = Store(store.workspace, FEATURES, {"session": TTL["session"]})
    rule = rf"'{service}' must be of a window of windows\.yaml, but '15min' is none of \['session'\]"
    with pytest.raises(ValueError, match=rule):
        later.service(service)
    with pytest.raises(ValueError, match=rule):
        later.require(service, NAMES)


def test_a_service_is_bound_to_a_window_that_there_is(store: Store) -> None:
    with pytest.raises(ValueError, match=r"one of \['session', '15min'\], not to '7d'"):
        store.register("app", "7d")


# ---- the past


def as_feast_tells(store: Store, entities: pd.DataFrame, service: str, *, known_only: bool) -> pd.DataFrame:
    """Return the features that Feast's own get_historical_features finds, in the order of the entities."""
    feast_store = store._feast_store
    numbered = entities.assign(position=range(len(entities)))
    told = feast_store.get_historical_features(
        entity_df=numbered,
        features=feast_store.get_feature_service(service),
        filter_by_created_timestamp=known_only,
    ).to_df()
    assert len(told) == len(entities)
    return told.sort_values("position", ignore_index=True)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # ibis 12, of duckdb's connection
@settings(max_examples=12, deadline=None)
@given(
    made=windows,
    entities=st.lists(st.tuples(devices, minutes), min_size=1, max_size=8),
    known_only=st.booleans(),
)
def test_history_is_what_feast_itself_finds(
    shared: Store,
    made: list[tuple[str, int, int, tuple[object, ...]]],
    entities: list[tuple[str, int]],
    known_only: bool,
) -> None:
    service = shared.register("app", "15min")
    shutil.rmtree(shared.workspace / "lake", ignore_errors=True)
    rows = window_rows(made)
    add(shared, *rows[: len(rows) // 2 + 1])
    if rows[len(rows) // 2 + 1 :]:
        add(shared, *rows[len(rows) // 2 + 1 :])
    moments = asked(*entities)
    found = shared.history(moments, service, known_only=known_only)
    told = as_feast_tells(shared, moments, service, known_only=known_only)
    for column in FEATURES:
        dtype = {"int64": "Int64", "bool": "boolean"}.get(column.dtype, "float64")
        pd.testing.assert_series_equal(found[column.name].astype(dtype), told[column.name].astype(dtype))


def test_every_entity_row_stays_with_its_order_its_index_and_its_other_columns(
    store: Store, service: str
) -> None:
    add(store, row("bike-1", 15, flows=3), row("bike-2", 15, flows=5))
    entities = asked(("bike-2", 20), ("bike-1", 20), ("bike-2", 20), ("bike-9", 20)).assign(
        label=list("abcd")
    )
    entities.index = pd.Index([7, 7, 1, 0])
    before = entities.copy()
    found = store.history(entities, service)
    pd.testing.assert_frame_equal(found[before.columns], before)
    pd.testing.assert_frame_equal(entities, before)
    assert found["flows"].tolist() == [5, 3, 5, pd.NA]
    assert found["window_end"].tolist() == [at(15), at(15), at(15), pd.NaT]
    assert found["up_share"].dtype == "float64" and np.isnan(found["up_share"].iloc[3])


def test_of_one_window_the_newest_row_wins_and_a_backfill_is_not_known_before_it_came(
    store: Store, service: str
) -> None:
    add(store, row("bike-1", 15, flows=3))
    add(store, row("bike-1", 15, known=25, flows=4))
    moments = asked(("bike-1", 20), ("bike-1", 30))
    assert store.history(moments, service)["flows"].tolist() == [4, 4]
    assert store.history(moments, service, known_only=True)["flows"].tolist() == [3, 4]


def test_no_entities_give_no_rows(store: Store, service: str) -> None:
    add(store, row("bike-1", 15))
    found = store.history(asked(), service)
    assert len(found) == 0 and list(found.columns) == ["device_id", "event_timestamp", "window_end", *NAMES]


def test_history_without_windows_says_what_to_run(store: Store, service: str) -> None:
    with pytest.raises(LookupError, match=r"no 15min window in .*; run `iotlens features build`"):
        store.history(asked(("bike-1", 20)), service)


def test_entities_may_not_bring_what_is_added(store: Store, service: str) -> None:
    add(store, row("bike-1", 15))
    with pytest.raises(ValueError, match=r"leave the names of what is added free, but have \['flows'\]"):
        store.history(asked(("bike-1", 20)).assign(flows=1), service)


# ---- configuration


@pytest.mark.parametrize(
    ("folder", "name"),
    [("fleet-7", "fleet_7"), ("7d demo", "workspace_7d_demo"), ("_Übung_", "workspace__bung")],
)
def test_a_workspace_of_any_name_is_a_project(tmp_path: Path, folder: str, name: str) -> None:
    assert project_name(tmp_path / folder) in {name, name.removeprefix("workspace__")}


def test_a_row_serves_twice_its_window_unless_told_otherwise() -> None:
    told = StoreSettings(ttl_s={"session": 60, "1h": 100})
    served = told.ttl({"session": None, "15min": 900, "1h": 3600})
    assert {name: ttl.total_seconds() for name, ttl in served.items()} == {
        "session": 60,
        "15min": 1800,
        "1h": 100,
    }
    assert StoreSettings().ttl({"session": None})["session"] == timedelta(days=365)


@pytest.mark.parametrize(
    ("ttl_s", "rule"),
    [
        (
            {"sesion": 60.0},
            r"must name windows of windows.yaml, but has 'sesion'; the nearest is \['session'\]",
        ),
        ({"session": -1.0}, "TTL of session must be above 0 s, but is -1"),
        ({}, "TTL of session must be above 0 s, but is 0; set ttl_s.session"),
    ],
)
def test_a_ttl_that_makes_no_sense_is_refused(ttl_s: dict[str, float], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        StoreSettings(ttl_s=ttl_s).ttl({"session": None, "15min": 900})


def test_redis_must_be_told_not_to_drop_corrections() -> None:
    """Feast's Redis store skips a row whose window_end it has, which a corrected row always shares."""
    StoreSettings(online_store={"type": "redis", "connection_string": "host:6379", "skip_dedup": True})
    with pytest.raises(ValueError, match="redis needs skip_dedup: true"):
        StoreSettings(online_store={"type": "redis", "connection_string": "host:6379"})


def test_the_packaged_configuration_is_the_default() -> None:
    assert read_config(find_config("feature_store.yaml"), StoreSettings) == StoreSettings()
