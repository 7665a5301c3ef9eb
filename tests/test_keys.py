"""API keys: shown once, kept as a hash, revoked at once."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving import keys


def test_a_key_is_found_by_its_words_and_by_no_others(tmp_path: Path) -> None:
    key = keys.add(tmp_path, "dashboard")
    found = keys.find(tmp_path, key)
    assert found is not None
    assert (found.name, found.scopes) == ("dashboard", ("identify",))
    assert [keys.find(tmp_path, wrong) for wrong in (key[:-1], key + "x", key.upper(), "", "\udcff")] == [
        None
    ] * 5


def test_the_file_keeps_no_key_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = keys.add(tmp_path, "dashboard")
    finally:
        os.umask(before)
    file = tmp_path / "keys.json"
    assert key.removeprefix(keys.PREFIX) not in file.read_text(encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")) == [
        "keys.json"
    ]


def test_two_keys_differ_and_hold_256_bits(tmp_path: Path) -> None:
    one, other = keys.add(tmp_path, "one"), keys.add(tmp_path, "other")
    assert one != other
    assert len(one.removeprefix(keys.PREFIX)) == 43  # 32 bytes in base64 without padding


def test_a_revoked_key_is_unknown_and_the_others_stay(tmp_path: Path) -> None:
    gone, stays = keys.add(tmp_path, "gone"), keys.add(tmp_path, "stays", scopes=["metrics"])
    keys.revoke(tmp_path, "gone")
    assert keys.find(tmp_path, gone) is None
    assert keys.find(tmp_path, stays) is not None
    assert [key.name for key in keys.stored(tmp_path)] == ["stays"]


def test_a_name_is_given_once(tmp_path: Path) -> None:
    keys.add(tmp_path, "dashboard")
    with pytest.raises(ValueError, match="'dashboard' is taken"):
        keys.add(tmp_path, "dashboard")


@pytest.mark.parametrize("name", ["", " ", "-x", "a/b", "a\n", "ä", "x" * 65])
def test_a_name_is_a_word(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a key's name must be"):
        keys.add(tmp_path, name)
    assert keys.stored(tmp_path) == ()


def test_an_unknown_scope_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"scopes must be some of \['identify', 'explain', .*'admin'"):
        keys.add(tmp_path, "root", scopes=["admin"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="none given"):
        keys.add(tmp_path, "root", scopes=[])


def test_revoking_a_key_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    keys.add(tmp_path, "dashboard")
    with pytest.raises(LookupError, match=r"no key 'other'.*\['dashboard'\]"):
        keys.revoke(tmp_path, "other")


def test_a_damaged_file_is_an_error_and_not_an_open_door(tmp_path: Path) -> None:
    key = keys.add(tmp_path, "dashboard")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{"name": "dashboard"}]}), encoding="utf-8")
    with pytest.raises(ValueError, match="as `iotlens keys` wrote it"):
        keys.find(tmp_path, key)


def test_no_workspace_is_made_by_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the workspace must exist"):
        keys.add(tmp_path / "typo", "dashboard")
    assert not (tmp_path / "typo").exists()


def test_keys_added_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = [f"client-{i}" for i in range(12)]
    with ThreadPoolExecutor(6) as pool:
        made = list(pool.map(lambda name: keys.add(tmp_path, name), names))
    assert sorted(key.name for key in keys.stored(tmp_path)) == sorted(names)
    assert all(keys.find(tmp_path, key) is not None for key in made)


def test_what_a_killed_writer_left_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / ".keys.json.new").write_text("half a fi", encoding="utf-8")
    keys.add(tmp_path, "dashboard")
    assert [key.name for key in keys.stored(tmp_path)] == ["dashboard"]
