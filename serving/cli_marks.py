"""`iotlens mark`: which marks the devices of a workspace hold."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from serving.cli_indicators import WORKSPACE
from serving.moments import utc


def mark_devices(
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet or CSV to write: MARKS.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE")] = WORKSPACE,
    at: Annotated[
        datetime | None,
        typer.Option(
            "--at",
            help="The moment to mark, UTC unless it names its offset; default: the end of the quarter of an hour "
            "that flows or terminal records were last told of.",
        ),
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

    asked = mark_door.Asked(at and utc(at), run, experts, publish=publish)
    typer.echo(mark_door.mark_to(out, workspace, asked))
