"""Which service a device runs by its label: the file names only services that there are."""

from pathlib import Path

import pytest
import yaml

from evaluation.domain import read_domain
from evaluation.service_of_label import read_service_of_label
from features.configuration import find_config

SERVICES = [service.id for service in read_domain().services]


def written(folder: Path, content: str) -> Path:
    (folder / "configs").mkdir()
    (folder / "configs" / "service_of_label.yaml").write_text(content)
    return folder


def test_the_shipped_labels_are_those_of_device_profiles() -> None:
    labels = read_service_of_label(SERVICES)
    profiles = yaml.safe_load(find_config("flow_profiles.yaml").read_text())["profiles"]
    assert set(labels) <= {one["id"] for one in profiles}
    assert labels["bike_lock"] == "bike_sharing"


def test_a_service_that_there_is_not_is_told_by_file_and_key(tmp_path: Path) -> None:
    content = "schema: service_of_label/1\nlabels: {bike_lock: bikes_sharing, smoke_sensor: smoke_sensor}\n"
    with pytest.raises(
        ValueError,
        match=r"configs/service_of_label\.yaml: labels\.bike_lock: must be a service of configs/services, but is "
        r"bikes_sharing; the nearest is bike_sharing$",
    ):
        read_service_of_label(SERVICES, written(tmp_path, content))


def test_an_unknown_key_is_an_error(tmp_path: Path) -> None:
    workspace = written(tmp_path, "schema: service_of_label/1\nlabel: {}\n")
    with pytest.raises(ValueError, match="unknown key 'label'; the nearest known one is 'labels'"):
        read_service_of_label(SERVICES, workspace)
