"""`iotlens indicators select` and `compare`: which indicators decide a target, and how that changed."""

from pathlib import Path
from typing import Annotated

import typer

Likeness = Annotated[str, typer.Option(help="What makes one group: spearman or mutual-information.")]


def select_indicators(
    table: Annotated[Path, typer.Argument(help="Parquet or CSV: a row per case, a column per indicator.")],
    target: Annotated[str, typer.Option(help="Column to be explained: a number, or classes.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Directory for selection.json, .csv and report.html.")
    ],
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
    rows: Annotated[int, typer.Option(help="At most so many rows are screened and explained.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    threads: Annotated[int, typer.Option(help="Of LightGBM.")] = 1,
) -> None:
    """Tell which columns of TABLE decide a target, and why each other one fell."""
    from evaluation.selection.doors import Request, of_table

    request = Request(target, group, time, tuple(ignore or ()), task, likeness, rows, seed, threads)
    typer.echo(of_table(table, request, experts=expert, out=out))


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
