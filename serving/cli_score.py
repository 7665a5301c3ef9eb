"""`iotlens score`: how well a service works, for each device and place."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serving.moments import utc

if TYPE_CHECKING:
    from evaluation.scoring_plan import Plan
    from evaluation.table_scores import Way

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
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", help="Instead of the workspace: a Parquet of device_id and indicators by id."
        ),
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Of --table: scores alone, faster.")] = False,
) -> None:
    """Score every device of a service and every place that it hangs on, from the indicators of the workspace."""
    from evaluation import scoring_plan, service_scores
    from evaluation.domain import read_domain
    from evaluation.table_scores import Way
    from features import indicator_tables, lake

    moment = at and utc(at)
    domain = read_domain(workspace)
    if table is not None:
        what = scoring_plan.plan(domain.service(service), domain.measured)
        least = domain.standard.min_samples_at_device_scope
        _score_table(what, table, moment=moment, out=out, way=Way(least, alone))
        return
    if alone:
        raise ValueError("--alone goes with --table; leave it out")
    done = service_scores.write(
        workspace,
        domain,
        domain.service(service),
        at=moment or indicator_tables.newest_end(workspace),
        out=out,
    )
    typer.echo(done.text() + (" (simulated)" if lake.is_simulated(workspace) else ""))
    typer.echo(out)


def draw_score(
    answer: Annotated[Path, typer.Argument(help="An answer of POST /score, as JSON.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML to write.")],
    workspace: Workspace = WORKSPACE,
) -> None:
    """Draw the page of one score: which step is ill, and which indicators say so."""
    from evaluation import score_page
    from evaluation.domain import read_domain
    from features.whole_file import write_text

    write_text(out, score_page.to_html(score_page.read_answer(answer), read_domain(workspace)))
    typer.echo(out)


def _score_table(what: "Plan", table: Path, *, moment: datetime | None, out: Path, way: "Way") -> None:
    from evaluation import table_scores

    if moment is None:
        raise ValueError("--table needs --at, the moment that its values are of")
    rows = table_scores.score_table(table, what, at=moment, out=out, way=way)
    typer.echo(
        f"{what.service.id} at {moment:%FT%TZ}: scored {table_scores.scored(out):,} of {rows:,} devices"
    )
    if beside := table_scores.unread(table, what):
        typer.echo(f"not read, as {what.service.id} weighs no such indicator: {', '.join(beside)}")
    typer.echo(out)
