"""Commands of counters and of the indicators made from them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

counters_app = typer.Typer(
    no_args_is_help=True, help="Counters of network elements, and what belongs to them."
)

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE", help="Directory of one tenant.")
]
WORKSPACE = Path("workspace")
Tables = Annotated[list[str], typer.Argument(help="Parquet or CSV files, folders or globs.")]


@counters_app.command("ingest")
def ingest(
    sources: Tables,
    workspace: Workspace = WORKSPACE,
    mapping: Annotated[
        Path | None,
        typer.Option("--mapping", help="Of a vendor's wide table: a YAML file, or its bare name."),
    ] = None,
) -> None:
    """Bring counters into the lake; each bad row is quarantined with the rule that it breaks."""
    from features import counters

    done = counters.ingest(sources, workspace, mapping=mapping)
    _end(done.text(), done.failed)


@counters_app.command("membership")
def membership(sources: Tables, workspace: Workspace = WORKSPACE) -> None:
    """Bring MEMBERSHIP into the lake: which cell, TAC, MME, node, app and fleet a device hangs on, and since when."""
    from features import membership

    done = membership.load(sources, workspace)
    _end(done.text(), bool(done.failures))


@counters_app.command("terminal")
def terminal(sources: Tables, workspace: Workspace = WORKSPACE) -> None:
    """Bring terminal records (SDK or LwM2M objects) into the lake."""
    from features import terminal

    done = terminal.load(sources, workspace)
    _end(done.text(), bool(done.failures))


@counters_app.command("events")
def events(sources: Tables, workspace: Workspace = WORKSPACE) -> None:
    """Bring the service event log into the lake: each attempt of each process, and how its steps went."""
    from features import events

    done = events.load(sources, workspace)
    _end(done.text(), bool(done.failures))


@counters_app.command("quarantine")
def quarantine(
    workspace: Workspace = WORKSPACE,
    rule: Annotated[str | None, typer.Option("--rule", help="Only rows that break this rule.")] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Only of this file: as delivered, or its content id.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most so many rows; all are counted.")] = 20,
    format_: Annotated[
        Literal["table", "csv"], typer.Option("--format", help="Counts and rows to read, or the rows as CSV.")
    ] = "table",
) -> None:
    """Show which rows of counters were not used: how many of each rule and file, and the rows themselves."""
    from features import quarantine

    found = quarantine.read(workspace, rule=rule, source=source, limit=limit)
    typer.echo(found.csv() if format_ == "csv" else found.text(), nl=format_ != "csv")


def _end(told: str, failed: bool) -> None:
    """Print what was done; end with 1 where an input failed."""
    typer.echo(told)
    if failed:
        raise typer.Exit(1)


def build_indicators(
    workspace: Workspace = WORKSPACE,
    window_end: Annotated[
        datetime | None, typer.Option("--window-end", help="No window ends later than this (UTC).")
    ] = None,
) -> None:
    """Compute the indicators of every scope and window that new counters touched."""
    from features import indicator_windows, lake, store

    moment = window_end.replace(tzinfo=UTC) if window_end and window_end.tzinfo is None else window_end
    mark = " (simulated)" if lake.is_simulated(workspace) else ""
    typer.echo(indicator_windows.build(workspace, window_end=moment).text() + mark)
    store.open(workspace).apply()


def load_province(
    directory: Annotated[Path, typer.Argument(help="What `iotlens simulate province` wrote.")],
    workspace: Workspace = WORKSPACE,
    targets: Annotated[bool, typer.Option("--targets", help="Also the KQIs that models learn from.")] = False,
) -> None:
    """Load a simulated province, all but its truth; the lake is marked as simulated."""
    from features import province

    done = province.load(directory, workspace, targets=targets)
    _end(done.text(), done.failed)
