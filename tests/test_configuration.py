"""A configuration is checked whole: a wrong key is named beside the nearest right one."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from features.configuration import find_config, packaged_configs, read_config, write_configs


class Trees(BaseModel, frozen=True, extra="forbid"):
    num_leaves: int = Field(default=31, gt=1)


class Recipe(BaseModel, frozen=True, extra="forbid"):
    seed: int
    trees: Trees = Trees()
    target: str | None = "label"
    balanced: bool = False


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 7\ntrees: {num_leaves: 15}\n")
    return path


def test_an_override_reaches_a_nested_key_with_its_yaml_type(recipe: Path) -> None:
    assert read_config(recipe, Recipe, ["trees.num_leaves=63", "seed=1"]) == Recipe(
        seed=1, trees=Trees(num_leaves=63)
    )


@pytest.mark.parametrize("word", ["on", "no", "2020-01-01"])
def test_the_name_of_a_column_stays_the_word_it_is(recipe: Path, word: str) -> None:
    assert read_config(recipe, Recipe, [f"target={word}"]).target == word
    assert read_config(recipe, Recipe, ["target=null", "balanced=true"]) == Recipe(
        seed=7, trees=Trees(num_leaves=15), target=None, balanced=True
    )


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("sede=1", "unknown key 'sede'; the nearest known one is 'seed'"),
        ("trees.num_leafs=3", "unknown key 'trees.num_leafs'; the nearest known one is 'num_leaves'"),
        ("trees.num_leaves=1", "trees.num_leaves: Input should be greater than 1 .got 1."),
        ("seed", "must read key=value, however: 'seed'"),
        ("colour=1", "unknown key 'colour'; known are seed, trees, target, balanced"),
        ("seed=[1", "override 'seed=.1': '.1' is not YAML"),
        ("seed.x=1", "seed is a value, not a mapping"),
    ],
)
def test_a_wrong_override_is_answered_with_the_rule(recipe: Path, override: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_config(recipe, Recipe, [override])


@pytest.mark.parametrize("content", ["- a list", "seed: [unclosed"])
def test_a_file_that_holds_no_mapping_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"broken\.yaml"):
        read_config(path, Recipe)


def test_init_writes_the_defaults_and_keeps_what_was_changed(tmp_path: Path) -> None:
    written = write_configs(tmp_path)
    names = sorted(p.relative_to(written) for p in written.rglob("*.yaml"))
    assert names == sorted(p.relative_to(packaged_configs()) for p in packaged_configs().rglob("*.yaml"))
    (written / "flows.yaml").write_text("idle_timeout_s: 60\n")
    write_configs(tmp_path)
    assert (written / "flows.yaml").read_text() == "idle_timeout_s: 60\n"


def test_the_workspaces_own_configuration_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, here = tmp_path / "ws", tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert find_config("flows.yaml", workspace).parent == packaged_configs()
    write_configs(here)
    assert find_config("flows.yaml", workspace).resolve().parent == here / "configs"
    write_configs(workspace)
    assert find_config("flows.yaml", workspace).parent == workspace / "configs"


def test_a_process_that_works_elsewhere_finds_the_configurations_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_configs(tmp_path / "here")
    monkeypatch.setenv("IOTLENS_CONFIGS", str(written))
    assert find_config("flows.yaml", tmp_path / "ws").parent == written


def test_a_configuration_that_is_nowhere_names_the_places(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no configuration nothing\.yaml in .*configs"):
        find_config("nothing.yaml", tmp_path)
