"""`iotlens mark`: which marks the devices of a workspace hold."""

from pathlib import Path
from typing import Annotated

import typer

from serving.cli_indicators import WORKSPACE


def mark_devices(
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet or CSV to write: MARKS.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE")] = WORKSPACE,
    at: Annotated[
        str | None,
        typer.Option("--at", help="ISO 8601 with its zone. Without: the newest moment of the lake."),
    ] = None,
    run: Annotated[
        str, typer.Option("--run", help="A run of user marking, `latest`, or `none` for rules alone.")
    ] = "latest",
    experts: Annotated[
        Path | None, typer.Option("--experts", help="CSV: device_id, mark, holds, author, date.")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Also write them online.")] = True,
) -> None:
    """Mark all devices: what their rules and models say, since when, why, and until when."""
    from evaluation import mark_door

    asked = mark_door.Asked(at, run, experts, publish=publish)
    typer.echo(mark_door.mark_to(out, workspace, asked))
