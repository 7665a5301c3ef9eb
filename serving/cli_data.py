"""`iotlens data`: measurements of others as tables that the project reads."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Measurements of others, as tables.")
convert_app = typer.Typer(no_args_is_help=True, help="Make one table of a published data set.")
app.add_typer(convert_app, name="convert")


@convert_app.command("nbiot")
def convert_nbiot(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Holds logs/<vendor>_<operator>/...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
) -> None:
    """Logs of NB-IoT modems under controlled attenuation (Robinson 2019): radio, level, time, energy."""
    from evaluation.nbiot import convert

    typer.echo(f"{convert(directory, out).text()}\n{out}")
