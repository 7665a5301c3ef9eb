"""`iotlens cycle`: what a scheduler calls every quarter of an hour."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from serving.cli_indicators import WORKSPACE
from serving.moments import utc


def run_cycle(
    window_end: Annotated[
        datetime,
        typer.Option("--window-end", help="End of the window to do, UTC: a whole quarter of an hour."),
    ],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE")] = WORKSPACE,
) -> None:
    """Do all windows that are due: late rows, windows, indicators, answers, marks, scores, alarms.

    Killed anywhere and called again it gives the same tables; after an outage it catches up window by window.
    """
    from serving import cycle

    for report in cycle.walk(workspace, utc(window_end)):
        typer.echo(report.text())
