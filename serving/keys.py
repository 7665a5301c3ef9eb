"""API keys: who may ask what, where the service listens beyond this machine. Only hashes are stored.

A key is 256 random bits, so that nobody turns its plain SHA-256 back by guessing. A slow password hash is for
secrets that people choose; here it would only cost every request its time.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Scope = Literal["identify", "explain", "score", "mark", "alarms", "reports", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "iotlens_"  # lets a secret scanner recognise a leaked key
KEY_BYTES = 32  # 256 bits


class Key(BaseModel, frozen=True, extra="forbid"):
    """What is kept of a key. sha256: of the whole key as printed, in hex."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created: datetime


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    keys: tuple[Key, ...] = ()


def add(workspace: Path, name: str, *, scopes: Sequence[str] = ("identify",)) -> str:
    """Return a new key, the one time it is shown; keys.json keeps its hash.

    Raises ValueError when the name is taken or not a name, or a scope is not known.
    """
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    made = _checked(name, scopes, key)
    with _writing(workspace):
        kept = stored(workspace)
        if any(other.name == name for other in kept):
            raise ValueError(f"a key's name must be new, but {name!r} is taken; revoke it or take another")
        _write(workspace, (*kept, made))
    return key


def revoke(workspace: Path, name: str) -> None:
    """Forget a key; a running service refuses it from its next request on.

    Raises LookupError when there is no key of that name.
    """
    with _writing(workspace):
        kept = stored(workspace)
        left = tuple(key for key in kept if key.name != name)
        if len(left) == len(kept):
            raise LookupError(f"no key {name!r} in {_path(workspace)}; it has {[key.name for key in kept]}")
        _write(workspace, left)


def stored(workspace: Path) -> tuple[Key, ...]:
    """Return what is kept of each key, oldest first. Raises ValueError when keys.json was damaged."""
    try:
        return _File.model_validate_json(_path(workspace).read_bytes()).keys
    except FileNotFoundError:
        return ()
    except ValidationError as error:
        raise ValueError(f"{_path(workspace)} must be as `iotlens keys` wrote it: {error}") from error


def find(workspace: Path, presented: str) -> Key | None:
    """Return what is kept of the key that a client presented, or None.

    Reads the file anew, so that revoking acts at once. Every stored hash is compared, each in constant time.
    """
    digest = _digest(presented)
    found = None
    for key in stored(workspace):
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def _checked(name: str, scopes: Sequence[str], key: str) -> Key:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValueError(f"scopes must be some of {list(SCOPES)}, however: {unknown or 'none given'}")
    try:
        told = {"name": name, "scopes": tuple(scopes), "sha256": _digest(key), "created": datetime.now(UTC)}
        return Key.model_validate(told)
    except ValidationError as error:
        raise ValueError(
            f"a key's name must be 1 to 64 letters, digits, dots, dashes or underscores, however: {name!r}"
        ) from error


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _path(workspace: Path) -> Path:
    return workspace / "keys.json"


def _writing(workspace: Path) -> FileLock:
    if not workspace.is_dir():
        raise FileNotFoundError(f"the workspace must exist, but {workspace} is no directory")
    return FileLock(workspace / ".keys.lock", mode=0o600)


def _write(workspace: Path, keys: tuple[Key, ...]) -> None:
    path, temporary = _path(workspace), workspace / ".keys.json.new"
    temporary.unlink(missing_ok=True)  # left by a killed writer; its mode would survive
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_File(keys=keys).model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
