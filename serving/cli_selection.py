"""`iotlens indicators select` and `compare`: which indicators decide a target, and how that changed."""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from serving.cli_indicators import WORKSPACE

Likeness = Annotated[str, typer.Option(help="What makes one group: spearman or mutual-information.")]


def select_indicators(
    table: Annotated[
        Path | None, typer.Argument(help="Parquet or CSV: a row per case, a column per indicator.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column of TABLE to be explained: a number, or classes.")
    ] = None,
    service: Annotated[str | None, typer.Option(help="Instead of TABLE: a service of the workspace.")] = None,
    kqi: Annotated[str | None, typer.Option(help="The KQI of the service to be explained.")] = None,
    workspace: Annotated[Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE")] = WORKSPACE,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Directory of the files. Without: reports/DATE-TARGET of the workspace."
        ),
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="Of the KQI: device, cell, ... Without: device, if it has any.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Column equal where rows belong together: a device, a run.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of times: judge on later rows, find what drifts.")
    ] = None,
    expert: Annotated[Path | None, typer.Option(help="YAML of what experts know.")] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="Column that is no indicator; may be repeated.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="binary, classes or continuous. Without: told by the values.")
    ] = None,
    likeness: Likeness = "spearman",
    model: Annotated[str, typer.Option(help="What measures importance: trees or network.")] = "trees",
    rows: Annotated[int, typer.Option(help="At most so many rows are screened and explained.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    threads: Annotated[int, typer.Option(help="Of LightGBM.")] = 1,
    apply: Annotated[bool, typer.Option("--apply", help="Write the weights into the workspace.")] = False,
    author: Annotated[str | None, typer.Option(help="Who applies them. Without: you.")] = None,
) -> None:
    """Tell which columns of TABLE, or indicators of a service, decide a target, and why each other one fell."""
    from evaluation.selection.doors import Place, Request, check_form, of_table

    check_form(
        of_table={"TABLE": table, "--target": target},
        of_service={"--service": service, "--kqi": kqi},
        only_table={"--group": group, "--time": time},
        only_service={"--scope": scope, "--apply": apply or None, "--author": author},
    )
    request = Request(
        target or str(kqi), group, time, tuple(ignore or ()), task, likeness, rows, seed, threads, model
    )
    if table:
        typer.echo(of_table(table, request, Place(workspace, out), experts=expert))
        return
    from evaluation.selection.service_door import KqiRequest, of_service

    asked = KqiRequest(workspace, str(service), str(kqi), scope, apply, author or _user())
    typer.echo(of_service(asked, request, experts=expert, out=out))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # as in a container whose user has no name
        return f"user {os.getuid()}"


def compare_selections(
    before: Annotated[Path, typer.Argument(help="Directory of an earlier selection.")],
    after: Annotated[Path, typer.Argument(help="Directory of a later one.")],
) -> None:
    """Show how a selection changed: each indicator's place before and after, or why it fell."""
    from evaluation.selection import record

    table = record.compare(record.read(before), record.read(after))
    typer.echo(
        table.drop(columns="changed").to_string(index=False) if len(table) else "neither selects an indicator"
    )
