"""configs/service_of_label.yaml: which service a device runs, by the label that identification gave it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from features.configuration import find_config, nearest, read_config
from features.indicators import Frozen, Id, Name, refuse


class ServiceOfLabel(Frozen):
    """The file. labels: id of a service by leaf or family."""

    schema_: Literal["service_of_label/1"] = Field(alias="schema")
    labels: dict[Name, Id]


def read_service_of_label(services: Collection[str], workspace: Path | None = None) -> Mapping[str, str]:
    """Return the service of each label. services: the ids of those there are.

    Raises ValueError that names file and key of each label whose service is not known.
    """
    path = find_config("service_of_label.yaml", workspace)
    labels = read_config(path, ServiceOfLabel).labels
    refuse(
        {
            path: [
                f"labels.{label}: must be a service of configs/services, but is {service};"
                f" {nearest(service, services)}"
                for label, service in labels.items()
                if service not in services
            ]
        }
    )
    return labels
