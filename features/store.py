"""The one file that speaks Feast: its definitions, the past of a device, and the newest windows online."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any  # Any: whatever feast makes; it has no types, and is imported late

import numpy as np
import pandas as pd
from tqdm import tqdm

from features import device_marks, feast_views
from features.configuration import find_config, read_config
from features.feast_import import load as _feast
from features.indicators import Indicator, all_indicators, read_indicators
from features.one_writer import changed_whole, one_writer
from features.online_row import Layout, unpack
from features.point_in_time import as_of, moment_of, newest
from features.publication import Publication
from features.service import FeatureService, feature_service_name, pick, still_made
from features.store_settings import StoreSettings, let_readers_in, project_name
from features.table import Column

__all__ = ["Store", "feature_service_name", "open"]

_READ_ROWS = 10_000  # devices per online read; one SQLite statement takes 32,766 parameters
_WRITE_ROWS = 2_000  # devices per online write; each is one transaction
_MARKS_ONLINE = "device_marks_online"
_MARKS_SERVE = timedelta(days=14)  # the longest that a mark of the shipped file lasts untold
_EVER = datetime.max.replace(tzinfo=UTC)  # until when marks are published: each is of a moment that has been
_LEDGER = "ledger"  # the view of what publish has done, kept in the online store that it is about


def open(workspace: Path | str) -> "Store":
    """Return the feature store of a workspace, as its configuration has it; nothing is written."""
    from features.windows import FEATURES, WindowSettings

    workspace = Path(workspace)
    settings = read_config(find_config("feature_store.yaml", workspace), StoreSettings)
    windows = read_config(find_config("windows.yaml", workspace), WindowSettings).windows
    ttl = settings.ttl({window.name: window.length_s for window in windows})
    lengths = read_indicators(workspace).windows
    scopes = {str(scope): timedelta(seconds=2 * window.length_s) for scope, window in lengths.items()}
    columns = tuple(feature.column for feature in FEATURES)
    marks = device_marks.stored_columns(workspace)
    known = all_indicators(workspace)
    return Store(workspace, columns, ttl, settings, indicators=known, scopes=scopes, marks=marks)


@dataclass(frozen=True, eq=False)
class Store:
    """Feature views over lake/windows and lake/indicators, and the newest window of each device online.

    features: all that a window row has, in order. ttl: how long a row of a window serves after window_end.
    indicators: what is computed of scopes. scopes: how long a row of a scope serves; one view each.
    marks: the marks of devices, as features; none before devices were marked.
    Many processes may read while one writes; one Store belongs to one thread.
    """

    workspace: Path
    features: tuple[Column, ...]
    ttl: Mapping[str, timedelta]
    settings: StoreSettings = field(default_factory=StoreSettings)
    indicators: tuple[Indicator, ...] = ()
    scopes: Mapping[str, timedelta] = field(default_factory=dict)
    marks: tuple[Column, ...] = ()
    _services: dict[str, FeatureService] = field(default_factory=dict, repr=False)
    _layouts: dict[str, Layout] = field(default_factory=dict, repr=False)

    def apply(self) -> None:
        """Tell Feast the entity and the views. Doing it again changes nothing."""
        with self._changing() as feast_store:
            feast_store.apply(self._definitions())

    def register(self, model: str, window: str, features: Sequence[str] | None = None) -> str:
        """Return the name of the feature service that lists these features in this order; make it if new.

        features: None for all. A list that no version of the service has makes its next version, so that a
        name never changes its meaning. Raises ValueError for an unknown window or feature, or a repeated one.
        """
        if window not in self.ttl:
            raise ValueError(f"a feature service is bound to one of {list(self.ttl)}, not to {window!r}")
        names = [column.name for column in self.features] if features is None else features
        wanted = pick(self.features, names)
        with self._changing() as feast_store:
            taken = {one.name: feast_views.fields(one) for one in feast_store.list_feature_services()}
            version = 1
            while (name := feature_service_name(model, window, version)) in taken:
                if taken[name] == [(column.name, column.dtype) for column in wanted]:
                    return name
                version += 1
            view = self._past(window, feast_views.entity("device", "device_id"))[list(names)]
            service = _feast().FeatureService(name=name, features=[view], tags={"window": window})
            feast_store.apply([*self._definitions(), service])
        return name

    def service(self, name: str) -> FeatureService:
        """Return a registered service; Feast is asked once, since a name never changes its meaning.

        Raises LookupError for one that is not registered, ValueError for one of features no longer made, or of a
        window that windows.yaml no longer has.
        """
        if name not in self._services:
            services = self._feast_store.list_feature_services() if self._registry.is_file() else []
            known = {one.name: one for one in services}
            if name not in known:
                fact = f"{self.workspace} has {sorted(known)}"
                raise LookupError(f"no feature service {name!r}, {fact}; `iotlens train` registers one")
            features = still_made(feast_views.fields(known[name]), self.features, service=name)
            window = known[name].tags["window"]
            if window not in self.ttl:
                rule = f"feature service {name!r} must be of a window of windows.yaml"
                fact = f"{window!r} is none of {list(self.ttl)}"
                raise ValueError(f"{rule}, but {fact}; put it back there, or train again")
            self._services[name] = FeatureService(name, window, features)
        return self._services[name]

    def require(self, service: str, features: Sequence[str]) -> None:
        """Refuse to serve a model other features than it reads. Raises as `service`, and ValueError."""
        self.service(service).require(features)

    def history(self, entities: pd.DataFrame, service: str, *, known_only: bool = False) -> pd.DataFrame:
        """Return the entities with the newest window row of the device that had ended at event_timestamp.

        entities: device_id, event_timestamp (aware), any other columns. Every row, order and index stay.
        known_only: also demand that the row was known by then (created), so that no late backfill leaks.
        Adds window_end and the features; NaT, NaN and <NA> where no row serves within the TTL. Of rows with
        one window_end the newest created wins. A feature keeps its dtype, but int64 is Int64 if one is empty.
        Raises LookupError without service or windows, ValueError for what is wrong with the entities.
        """
        known = self.service(service)
        files = self._files(known.window)
        if not files:
            fact = f"no {known.window} window in {self.workspace}"
            raise LookupError(f"{fact}; run `iotlens features build` first")
        added = ["window_end", *(column.name for column in known.features)]
        taken = [name for name in added if name in entities]
        if taken:
            raise ValueError(f"entities must leave the names of what is added free, but have {taken}")
        ttl = self.ttl[known.window]
        found = as_of(entities, files, features=known.features, ttl=ttl, known_only=known_only)
        return pd.concat([entities, found.set_axis(entities.index)], axis=1)

    def latest(
        self, device_ids: Sequence[str], service: str, *, at: datetime | str | None = None
    ) -> pd.DataFrame:
        """Return the newest published window row of each device asked for, in order, on a RangeIndex.

        at: the moment that status is judged at (aware, or ISO 8601 with its zone; None: now).
        Columns: device_id; status: known, stale (at - window_end > TTL) or missing; window_end; the features.
        A feature keeps its dtype, but with a missing row int64 is Int64 (<NA>). Raises as `service` does.
        """
        known = self.service(service)
        moment = pd.Timestamp.now("UTC") if at is None else moment_of(at)
        strange = next((device for device in device_ids if not isinstance(device, str)), None)
        if strange is not None:
            raise ValueError(f"device ids must be strings, however: {strange!r}")
        packed = self._read(_online(known.window), {"device_id": list(device_ids)})
        ends, features = unpack(packed, known.features, self._layout)
        oldest = (moment - self.ttl[known.window]).tz_convert("UTC").tz_localize(None).to_datetime64()
        status = np.where(np.isnat(ends), "missing", np.where(ends < oldest, "stale", "known"))
        found = pd.DataFrame(
            {
                "device_id": pd.array(list(device_ids), dtype="string"),
                "status": pd.array(status, dtype="string"),
                "window_end": pd.DatetimeIndex(ends, tz="UTC"),
            }
        )
        return pd.concat([found, features], axis=1)

    def evidence(self, device_id: str, at: datetime | str, *, known_only: bool = False) -> pd.DataFrame:
        """Return EVIDENCE of a device and of all that it hung on at that moment, unknown indicators too.

        at: aware, or ISO 8601 with its zone. known_only: a row counts from when it was made (created), so that no
        counter that came late tells what nobody knew then.
        Raises LookupError for a device that MEMBERSHIP does not know then, ValueError unless `at` is aware.
        """
        from features import evidence, indicator_tables, membership

        moment = moment_of(at)
        places = membership.places(self.workspace, device_id, moment)
        files = {
            scope: sorted(indicator_tables.folder(self.workspace, scope).rglob("*.parquet"))
            for scope in places
        }
        return evidence.evidence(files, places, at=moment, indicators=self.indicators, known_only=known_only)

    def latest_marks(self, device_ids: Sequence[str]) -> pd.DataFrame:
        """Return the probability of each mark of each device asked for as last published, in order, on a RangeIndex.

        Columns: device_id, window_end (when it was marked; NaT: never), then the marks; NaN is unknown. Whether a mark
        has expired since, MARKS of the lake tells. Raises LookupError where devices were never marked.
        """
        if not self.marks:
            raise LookupError(f"no device of {self.workspace} was ever marked; run iotlens mark first")
        packed = self._read(_MARKS_ONLINE, {"device_id": list(device_ids)})
        ends, marks = unpack(packed, self.marks, self._layout)
        keys = {
            "device_id": pd.array(list(device_ids), dtype="string"),
            "window_end": pd.DatetimeIndex(ends, tz="UTC"),
        }
        return pd.concat([pd.DataFrame(keys), marks], axis=1)

    def publish_marks(self) -> int:
        """Write the newest marks of each device online where they are new since last time; return how many."""
        if not self.marks:
            return 0
        self.apply()
        with one_writer(self._registry.parent):
            files = sorted(device_marks.folder(self.workspace.resolve()).rglob("*.parquet"))
            return self._publish_rows(_Published("marks", _MARKS_ONLINE, self.marks, files), until=_EVER)

    def publish(self, until: datetime | None = None) -> int:
        """Write the newest window row that had ended of each device online where it is new; return how many.

        until: the moment by which a window must have ended (aware; None: now), so that what is served is what
        `history` tells of that moment. A row that ends later waits for a later publish. A moment before that of the
        last publish takes back what ended in between: everything is written anew.
        A late row with an older window_end changes nothing. Killed at any moment, it can be run again.
        """
        moment = datetime.now(UTC) if until is None else moment_of(until)
        self.apply()
        with one_writer(self._registry.parent):
            return sum(self._publish(window, until=moment) for window in self.ttl)

    def _publish(self, window: str, *, until: datetime) -> int:
        what = _Published(f"window {window}", _online(window), self.features, self._files(window))
        return self._publish_rows(what, until=until)

    def _publish_rows(self, what: "_Published", *, until: datetime) -> int:
        layout = Layout.of(what.features)
        (told,) = self._read(_LEDGER, {"entry": [what.entry]})
        before = Publication.from_bytes(told)
        if not (work := before.next(what.files, layout.tag, until=until)):
            return 0
        new, after = work
        self._enter(f"layout {layout.tag}", layout.to_json())
        if new.anew:  # killed half way, the next one must write everything too
            self._enter(what.entry, replace(before, layout="").to_bytes())
        written: set[str] = set()
        with tqdm(desc=f"publish {what.entry}", unit=" devices", delay=2, disable=None) as progress:
            for rows in newest(new, features=what.features, batch_rows=_WRITE_ROWS):
                self._write(what.view, rows, layout.pack(rows))
                written.update(rows["device_id"])
                progress.update(len(rows))
        gone = before.devices - written if new.anew else frozenset()
        self._withdraw(what.view, sorted(gone))
        # Last, so that a publish that does not come this far is done again.
        self._enter(what.entry, replace(after, devices=before.devices - gone | written).to_bytes())
        return len(written) + len(gone)

    def _withdraw(self, view: str, devices: Sequence[str]) -> None:
        """Make devices missing online. Feast cannot delete a row, but an empty value is none."""
        for start in range(0, len(devices), _WRITE_ROWS):
            part = list(devices[start : start + _WRITE_ROWS])
            self._write(view, _now(device_id=part), [b""] * len(part))

    def _write(self, view: str, rows: pd.DataFrame, packed: Sequence[bytes]) -> None:
        """Write the one value of each row's entity. rows: the join key, window_end, created; more is not read."""
        keys = [name for name in ("device_id", "entry", "window_end", "created") if name in rows]
        self._feast_store.write_to_online_store(view, rows[keys].assign(packed=packed))

    def _read(self, view: str, asked: Mapping[str, Sequence[str]]) -> list[bytes]:
        """Return the online value of each entity of a view, b"" where there is none. asked: {key: values}."""
        ((key, entities),) = asked.items()
        values: list[bytes] = []
        for start in range(0, len(entities), _READ_ROWS):
            part = {key: entities[start : start + _READ_ROWS]}
            answer = self._feast_store.get_online_features(features=[f"{view}:packed"], entity_rows=part)
            place = list(answer.proto.metadata.feature_names.val).index("packed")
            values.extend(value.bytes_val for value in answer.proto.results[place].values)
        return values

    def _enter(self, entry: str, content: bytes) -> None:
        """Write one entry of the ledger."""
        self._write(_LEDGER, _now(entry=[entry]), [content])

    def _layout(self, tag: str) -> Layout:
        """Return the layout with this tag, which this or another version of the program published."""
        if tag not in self._layouts:
            (told,) = self._read(_LEDGER, {"entry": [f"layout {tag}"]})
            if not told:
                fact = f"{tag} is none; publish again"
                raise ValueError(f"online rows must have a layout of the ledger, but {fact}")
            self._layouts[tag] = Layout.from_json(told)
        return self._layouts[tag]

    def _files(self, window: str) -> list[Path]:
        return sorted(self._folder(window).rglob("*.parquet"))

    def _folder(self, window: str) -> Path:
        return self.workspace.resolve() / "lake" / "windows" / f"window={window}"

    @property
    def _registry(self) -> Path:
        return self.workspace.resolve() / self.settings.registry

    @contextmanager
    def _changing(self) -> Iterator[Any]:
        """Give Feast's store over a copy of the registry: it writes in place, so a reader might get half."""
        with one_writer(self._registry.parent):
            with changed_whole(self._registry) as registry:
                yield self._over(registry)
            let_readers_in(self._online_store)

    @cached_property
    def _feast_store(self) -> Any:
        return self._over(self._registry)

    def _over(self, registry: Path) -> Any:
        """Return Feast's own store over a registry file. One that is there already names the project."""
        project = self.settings.project or _project(registry) or project_name(self.workspace)
        config = _feast().RepoConfig(
            project=project,
            provider="local",
            registry={"path": str(registry)},
            online_store=self._online_store,
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
        return _feast().FeatureStore(config=config)

    @property
    def _online_store(self) -> dict[str, Any]:
        """The online store as Feast takes it, with SQLite's path made absolute."""
        online = dict(self.settings.online_store)
        if online.get("type") == "sqlite":
            online["path"] = str(self.workspace.resolve() / online["path"])
        return online

    def _definitions(self) -> list[Any]:
        """Return Feast's objects: the device, two views per window (its past, its newest row), ledger, scopes."""
        device, entry = feast_views.entity("device", "device_id"), feast_views.entity("entry", "entry")
        past = [self._past(window, device) for window in self.ttl]
        online = [feast_views.packed(_online(window), device, self._source(window)) for window in self.ttl]
        ledger = feast_views.packed(_LEDGER, entry, self._source(next(iter(self.ttl))))
        scopes = [one for scope in self.scopes for one in self._of_scope(scope)]
        return [device, entry, *past, *online, ledger, *scopes, *self._of_marks(device)]

    def _of_marks(self, device: Any) -> list[Any]:
        """Return two views of the marks of devices, as of a window, once there are some."""
        if not self.marks:
            return []
        read = feast_views.source("device_marks", device_marks.folder(self.workspace.resolve()))
        past = feast_views.past("device_marks", device, self.marks, ttl=_MARKS_SERVE, read=read)
        return [past, feast_views.packed(_MARKS_ONLINE, device, read)]

    def _past(self, window: str, device: Any) -> Any:
        ttl, read = self.ttl[window], self._source(window)
        return feast_views.past(f"device_{window}", device, self.features, ttl=ttl, read=read)

    def _source(self, window: str) -> Any:
        return feast_views.source(f"windows_{window}", self._folder(window))

    def _of_scope(self, scope: str) -> list[Any]:
        """Return the entity of a scope and the view of its indicators."""
        from features.indicator_sums import indicators_of
        from features.indicator_tables import KEYS, folder, wide_columns

        owner, name = feast_views.entity(f"scope_{scope}", "scope_id"), f"indicators_{scope}"
        columns = wide_columns(indicators_of(scope, self.indicators))[len(KEYS) :]
        read = feast_views.source(name, folder(self.workspace.resolve(), scope))
        return [owner, feast_views.past(name, owner, columns, ttl=self.scopes[scope], read=read)]


@dataclass(frozen=True)
class _Published:
    """What one publication puts online: its entry in the ledger, its view, the features of a row, its files."""

    entry: str
    view: str
    features: tuple[Column, ...]
    files: list[Path]


def _online(window: str) -> str:
    return f"device_{window}_online"


def _now(**key: list[str]) -> pd.DataFrame:
    """Return rows of a join key that end, and are made, now."""
    now = pd.Timestamp.now("UTC")
    return pd.DataFrame({**key, "window_end": now, "created": now})


def _project(registry: Path) -> str | None:
    """Return the project of a registry, so that a renamed workspace keeps its services and online rows."""
    if not registry.is_file():
        return None
    _feast()
    from feast.protos.feast.core.Registry_pb2 import Registry

    projects = Registry.FromString(registry.read_bytes()).projects
    return projects[0].spec.name if projects else None
