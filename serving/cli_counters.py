"""Commands of counters and of the indicators made from them."""

from pathlib import Path
from typing import Annotated

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
    _end(done.text(), bool(done.failures))


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


def _end(told: str, failed: bool) -> None:
    """Print what was done; end with 1 where an input failed."""
    typer.echo(told)
    if failed:
        raise typer.Exit(1)
