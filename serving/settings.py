"""What a service is told when it starts, through the environment that its workers inherit."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_WORKSPACE, _RUN, _OPEN = "IOTLENS_WORKSPACE", "IOTLENS_RUN_DIRECTORY", "IOTLENS_WITHOUT_KEYS"


@dataclass(frozen=True)
class Settings:
    """workspace, run_directory: absolute. without_keys: who reaches the port needs no key (loopback only).

    run_directory: None where nothing is identified, and only scores are told.
    """

    workspace: Path
    run_directory: Path | None
    without_keys: bool

    def environment(self) -> dict[str, str]:
        """Return the variables from which `from_environment` makes the same settings."""
        return {
            _WORKSPACE: str(self.workspace),
            _RUN: str(self.run_directory or ""),
            _OPEN: "yes" if self.without_keys else "no",
        }


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that `iotlens serve` left; without its word every request needs a key.

    Raises LookupError that names the variable which is not set.
    """
    for name in (_WORKSPACE, _RUN):
        if name not in environment:
            raise LookupError(f"{name} is not set; start the service with `iotlens serve`, which sets it")
    run = environment[_RUN]
    return Settings(
        Path(environment[_WORKSPACE]),
        Path(run) if run else None,
        without_keys=environment.get(_OPEN) == "yes",
    )
