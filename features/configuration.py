"""YAML in, one frozen pydantic model out: where a configuration file is found and how a wrong key is answered."""

import difflib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)
CONFIGS_VARIABLE = (
    "IOTLENS_CONFIGS"  # names the folder that stands for ./configs, where a process works elsewhere
)

_CHOICES = {  # errors of pydantic on a word out of a closed list: what names the known ones, what the one given
    "literal_error": ("expected", "input"),
    "union_tag_invalid": ("expected_tags", "tag"),
}
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of libyaml, eight times as fast, where PyYAML has it


class _Words(yaml.SafeLoader):
    """YAML in which on, yes and 2020-01-01 stay the words they are; a truth value is made of them by the model."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] not in ("bool", "timestamp")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def packaged_configs() -> Path:
    """Return the folder of default configurations: inside the wheel, or `configs/` of a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "configs"


def own_configs() -> Path:
    """Return the folder of a person's own configurations: ./configs, unless the environment names another."""
    return Path(os.environ.get(CONFIGS_VARIABLE, "configs"))


def find_config(name: str, workspace: Path | None = None) -> Path:
    """Return the file that holds `name`: of the workspace's `configs/`, else of `own_configs()`, else the default.

    Raises FileNotFoundError that names the places.
    """
    places = [*([workspace / "configs"] if workspace else []), own_configs(), packaged_configs()]
    for place in places:
        if (place / name).is_file():
            return place / name
    places_told = " or ".join(map(str, places))
    raise FileNotFoundError(f"no configuration {name} in {places_told}; `iotlens init` writes the defaults")


def find_configs(folder: str, workspace: Path | None = None) -> tuple[Path, ...]:
    """Return the YAML files of a folder of configurations, by name: each from the first place that has it.

    The places are those of `find_config`: a file of the workspace stands for the default of the same name.
    """
    places = [*([workspace / "configs"] if workspace else []), own_configs(), packaged_configs()]
    names = {path.name for place in places for path in (place / folder).glob("*.yaml")}
    return tuple(find_config(f"{folder}/{name}", workspace) for name in sorted(names))


def write_configs(directory: Path) -> Path:
    """Copy the default configurations to `directory/configs`; a file that is already there is kept as it is."""
    target = directory / "configs"
    for source in sorted(packaged_configs().rglob("*.yaml")):
        copy = target / source.relative_to(packaged_configs())
        copy.parent.mkdir(parents=True, exist_ok=True)
        if not copy.exists():
            shutil.copyfile(source, copy)
    return target


def nearest(name: str, known: Iterable[str]) -> str:
    """Return what ends the answer to an unknown name: the nearest known one, whatever it is."""
    near = difflib.get_close_matches(name, known := list(known), n=1, cutoff=0.0)
    return f"the nearest is {near[0]}" if near else "none is known"


def read_config(
    path: Path, model: type[Model], overrides: Sequence[str] = (), *, default: Path | None = None
) -> Model:
    """Return the checked content of one YAML file, with `key.sub=value` overrides laid over it.

    The value of an override is YAML in which words and dates stay text (on, 2020-01-01).
    default: a file that holds what this one leaves out, key by key of the parts of the model; lists and mappings of
    figures are taken whole from one or the other.
    Raises ValueError that names file, key and rule; an unknown key is answered with the nearest known one.
    """
    under = default.read_text(encoding="utf-8") if default else ""
    checked = _checked(path, path.read_text(encoding="utf-8"), model, tuple(overrides), under)
    assert isinstance(checked, model)
    return checked.model_copy(deep=True)  # a mapping in it could be changed


# One call reads the same file for several of its parts, and a checked model does not change.
@lru_cache(maxsize=64)
def _checked(
    path: Path, text: str, model: type[BaseModel], overrides: tuple[str, ...], under: str
) -> BaseModel:
    try:
        content = yaml.load(text, _SAFE) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a mapping, not {type(content).__name__}")
    for override in overrides:
        _lay_over(content, override)
    if under:
        shipped: dict[str, Any] = yaml.load(under, _SAFE)
        if unknown := list(_unread(content, shipped, model)):
            raise ValueError("\n".join(f"{path}: {line}" for line in unknown))
        content = _laid_over(shipped, content, model)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in _lines(error, model, content))) from error


def _laid_over(under: dict[str, Any], own: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Return what `under` holds, with `own` in its place: part by part where the model has a part there."""
    whole = dict(under)
    for key, value in own.items():
        part, held = _part(model, key), under.get(key)
        if part and isinstance(value, dict) and isinstance(held, dict):
            value = _laid_over(held, value, part)
        whole[key] = value
    return whole


def _unread(
    own: dict[str, Any], under: dict[str, Any], model: type[BaseModel], place: str = ""
) -> Iterator[str]:
    """Yield the keys of parts that pass over unknown ones, whose change would do nothing: words alone may change."""
    for key, value in own.items():
        part, held, known = _part(model, key), under.get(key), _known_keys(model)
        if key not in known and model.model_config.get("extra") == "ignore":
            if key not in under:
                yield f"unknown key '{place}{key}'; {nearest(str(key), known)}"
            elif value != held and not isinstance(value, str):
                yield f"'{place}{key}' tells readers alone, so a change of it would do nothing; leave it out"
        elif part and isinstance(value, dict) and isinstance(held, dict):
            yield from _unread(value, held, part, f"{place}{key}.")


def _lay_over(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise ValueError(f"an override must read key=value, however: {override!r}")
    *parents, last = key.split(".")
    place = content
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ValueError(f"override {override!r}: {parent} is a value, not a mapping")
    try:
        place[last] = yaml.load(value, _Words)
    except yaml.YAMLError as error:
        raise ValueError(f"override {override!r}: {value!r} is not YAML: {error}") from error


def _lines(error: ValidationError, model: type[BaseModel], content: Any) -> list[str]:  # Any: as YAML has it
    lines = []
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]:
            continue  # short only of the entries that are told themselves
        where = _place(item["loc"], content)
        if item["type"] != "extra_forbidden":
            whole = item["type"] in ("value_error", "missing") and isinstance(item["input"], dict | list)
            fact = "" if whole else f" (got {item['input']!r})"
            if item["type"] in _CHOICES:
                lines.append(f"{where}: {_choice(item)}")
            else:
                lines.append(f"{where or 'content'}: {item['msg'].removeprefix('Value error, ')}{fact}")
            continue
        known = _known_keys(_model_at(model, item["loc"][:-1]))
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1)
        way = f"the nearest known one is {near[0]!r}" if near else f"known are {', '.join(known)}"
        lines.append(f"unknown key {where!r}; {way}")
    return lines


def _choice(item: ErrorDetails) -> str:
    """Return what may stand where a word is none of those known, and the nearest of them."""
    of, got = _CHOICES[item["type"]]
    known = item["ctx"][of].replace("'", "")
    given = str(item["ctx"].get(got, item["input"]))
    return f"must be one of {known}, but is {given}; {nearest(given, re.split(', | or ', known))}"


def _known_keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _part(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """Return the model of the part of that name, None where that is no part."""
    found = _model_at(model, [key])
    return None if found is model else found


def _place(path: Sequence[int | str], content: Any) -> str:  # Any: as YAML has it
    """Return where in the file, with the id of each entry that has one: indicators.3 (ul_bler).typical."""
    told = []
    for part in path:
        with suppress(KeyError, IndexError, TypeError):  # the kind of a union is no part of the file
            content = content[part]
        named = content.get("id") if isinstance(content, dict) and isinstance(part, int) else None
        told.append(f"{part} ({named})" if named else str(part))
    return ".".join(told)


def _model_at(model: type[BaseModel], path: Sequence[int | str]) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), model)
    return model
