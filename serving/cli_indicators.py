"""`iotlens indicators`: what is measured, how, and where it is used."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="What is measured, how, and where it is used.")

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE", help="Its configs/ stand for ours.")
]
WORKSPACE = Path("workspace")


@app.command("list")
def list_indicators(
    domain: Annotated[str | None, typer.Option(help="radio, core, platform, ..., or terminal.")] = None,
    service: Annotated[str | None, typer.Option(help="Only those it is judged by.")] = None,
    workspace: Workspace = WORKSPACE,
) -> None:
    """Show the indicators: the 55, and those of single services."""
    from evaluation import indicator_sheet
    from evaluation.domain import read_domain

    picked = indicator_sheet.pick(read_domain(workspace), of_domain=domain, service=service)
    typer.echo(indicator_sheet.listed(picked))


@app.command("show")
def show_indicator(
    indicator_id: Annotated[str, typer.Argument(metavar="ID", help="As `indicators list` shows it.")],
    workspace: Workspace = WORKSPACE,
) -> None:
    """Show one indicator: definition, formula, anchors, source, window, and every place that uses it."""
    from evaluation.domain import read_domain
    from evaluation.indicator_sheet import sheet

    typer.echo(sheet(read_domain(workspace), indicator_id))


@app.command("values")
def show_values(
    scope: Annotated[str, typer.Argument(help="device, cell, tac, mme, ...")],
    scope_id: Annotated[str, typer.Argument(metavar="ID", help="Which one.")],
    workspace: Annotated[Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE")] = WORKSPACE,
    at: Annotated[datetime | None, typer.Option("--at", help="No window ends later than this (UTC).")] = None,
) -> None:
    """Show the newest values of one device, cell, ...: what `indicators build` made of its counters."""
    from evaluation.indicator_sheet import values

    moment = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
    typer.echo(values(workspace, scope, scope_id, at=moment))
