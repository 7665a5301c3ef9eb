"""`iotlens indicators learn`: anchors and weights of a service from cases whose KQI was measured."""

import json
from pathlib import Path
from typing import Annotated

import typer

from serving.cli_indicators import WORKSPACE, Workspace


def learn_anchors(
    service: Annotated[str, typer.Option(help="Id of a draft in configs/services.")],
    kqi: Annotated[str, typer.Option(help="Its KQI that was measured.")],
    table: Annotated[Path, typer.Option(help="Parquet or CSV: a row per case, indicators by id.")],
    measured: Annotated[str, typer.Option(help="Column of TABLE: the KQI of each case.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The service file to write.")],
    selection: Annotated[
        Path | None, typer.Option(help="Directory of `indicators select`: only what it selected.")
    ] = None,
    workspace: Workspace = WORKSPACE,
) -> None:
    """Write a service whose KQI tells best which cases of TABLE missed its target; anchors and weights are learnt."""
    from evaluation.domain import read_domain
    from evaluation.learnt_service import learn_service, write_service
    from evaluation.selection.study import read_table

    cases = read_table(table)
    if measured not in cases:
        raise LookupError(f"{table} has no column {measured!r}; it has {', '.join(cases.columns)}")
    only = () if selection is None else json.loads((selection / "selection.json").read_text())["selected"]
    learnt = learn_service(
        read_domain(workspace).service(service), kqi, cases=cases, measured=cases[measured], only=only
    )
    write_service(learnt.service, out)
    typer.echo(learnt.text())
    typer.echo(out)
