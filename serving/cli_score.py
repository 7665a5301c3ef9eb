"""`iotlens score`: how well a service works, for each device and place."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE", help="Directory of one tenant.")
]
WORKSPACE = Path("workspace")
At = Annotated[
    datetime | None, typer.Option("--at", help="The moment to score, UTC; default: the newest window's end.")
]


def score_service(
    service: Annotated[str, typer.Option("--service", help="Id of configs/services.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet to write: one row a device and place.")],
    workspace: Workspace = WORKSPACE,
    at: At = None,
) -> None:
    """Score every device of a service and every place that it hangs on, from the indicators of the workspace."""
    from evaluation import service_scores
    from evaluation.domain import read_domain
    from features import indicator_tables, lake

    moment = at.replace(tzinfo=UTC) if at and at.tzinfo is None else at
    domain = read_domain(workspace)
    done = service_scores.write(
        workspace,
        domain,
        domain.service(service),
        at=moment or indicator_tables.newest_end(workspace),
        out=out,
    )
    typer.echo(done.text() + (" (simulated)" if lake.is_simulated(workspace) else ""))
    typer.echo(out)
