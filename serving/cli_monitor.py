"""`iotlens monitor`: alarms of places, and devices that are abnormal."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from serving.moments import utc

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE", help="Directory of one tenant.")
]
WORKSPACE = Path("workspace")


def monitor_places(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Parquet to write: the alarms. Default: WS/alarms/alarms.parquet, as GET /alarms reads.",
        ),
    ] = None,
    workspace: Workspace = WORKSPACE,
    window_end: Annotated[
        datetime | None,
        typer.Option("--window-end", help="Judge until then, UTC; default: the newest window's end."),
    ] = None,
    devices_out: Annotated[
        Path | None,
        typer.Option(
            "--devices-out",
            help="Parquet of abnormal devices; default: OUT with -devices in its name, and without --out"
            " WS/abnormal/date=DATE/HHMM.parquet.",
        ),
    ] = None,
) -> None:
    """Judge each window, place and KQI against its own hours of the week and its siblings; write alarms and devices."""
    from evaluation import watch_tables
    from features import lake

    until = window_end and utc(window_end)
    beside = devices_out or (out and out.with_name(f"{out.stem}-devices{out.suffix}"))
    done = watch_tables.write(workspace, until=until, out=out, devices_out=beside)
    typer.echo(done.text() + (" (simulated)" if lake.is_simulated(workspace) else ""))
    typer.echo(f"{done.out}\n{done.devices_out}")
