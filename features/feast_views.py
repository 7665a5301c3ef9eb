"""What Feast is told: entities, sources in the lake, views that only read it, views of one packed value online."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any  # Any: whatever feast makes; it has no types

from features.feast_import import load
from features.table import Column

_TYPES = {"int64": "Int64", "float64": "Float64", "bool": "Bool", "string": "String"}


def entity(name: str, key: str) -> Any:
    """Return an entity whose one join key is a text."""
    return load().Entity(name=name, join_keys=[key], value_type=load().ValueType.STRING)


def source(name: str, folder: Path) -> Any:
    """Return a folder of the lake as Feast's source. Without the format Feast does not read a folder."""
    feast = load()
    return feast.FileSource(
        name=name,
        path=str(folder),
        file_format=feast.data_format.ParquetFormat(),
        timestamp_field="window_end",
        created_timestamp_column="created",
    )


def past(name: str, owner: Any, columns: Sequence[Column], *, ttl: timedelta, read: Any) -> Any:
    """Return a view that reads the lake alone. owner: the entity. read: the source."""
    feast = load()
    fields = [
        feast.Field(name=one.name, dtype=_type(one.dtype), description=f"{one.description} [{one.unit}]")
        for one in columns
    ]
    key = feast.Field(name=owner.join_key, dtype=feast.types.String)
    schema = [key, *fields]
    return feast.FeatureView(name=name, entities=[owner], ttl=ttl, schema=schema, source=read, online=False)


def packed(name: str, owner: Any, read: Any) -> Any:
    """Return a view of one value of bytes per entity, which only `publish` writes."""
    feast = load()
    key = feast.Field(name=owner.join_key, dtype=feast.types.String)
    value = feast.Field(name="packed", dtype=feast.types.Bytes)
    return feast.FeatureView(name=name, entities=[owner], schema=[key, value], source=read, online=True)


def fields(service: Any) -> list[tuple[str, str]]:
    """Return name and dtype of each feature that a service of Feast lists, in order."""
    dtypes = {_type(dtype): dtype for dtype in _TYPES}
    (view,) = service.feature_view_projections
    return [(one.name, dtypes[one.dtype]) for one in view.features]


def _type(dtype: str) -> Any:
    return getattr(load().types, _TYPES[dtype])
