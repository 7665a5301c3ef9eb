"""`iotlens simulate province`."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="A province whose truth is known.")


@app.command("province")
def simulate_province(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for all tables of the province.")],
    devices: Annotated[int, typer.Option(help="Devices of all three services together.")] = 2000,
    days: Annotated[int, typer.Option(help="Days of virtual time.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    faults: Annotated[
        Path | None,
        typer.Option(help="Your own faults: what the file leaves out is as fault_catalogue.yaml."),
    ] = None,
    noise: Annotated[
        Path | None, typer.Option(help="Your own noise: what the file leaves out is as noise.yaml.")
    ] = None,
) -> None:
    """Write counters, events, flows and truth of a province of smoke sensors, shared bikes and video."""
    from evaluation.simulation.province import province
    from features.configuration import find_config

    own = find_config("province.yaml")
    files = province.Files(
        own, faults or find_config("fault_catalogue.yaml"), noise or find_config("noise.yaml")
    )
    done = province.simulate(out, files=files, devices=devices, days=days, seed=seed)
    typer.echo(f"{done.text()}\n{out}")


def draw_day(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="What `iotlens simulate province` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write.")] = Path("day.html"),
    workspace: Annotated[Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE")] = Path(
        "workspace"
    ),
    cause: Annotated[str | None, typer.Option(help="Of this fault alone, by its id.")] = None,
) -> None:
    """Draw a fault of a province, the KQI that shows it most, and its indicators (loaded with --targets, and built)."""
    from evaluation import day, province_day

    page = province_day.draw(directory, workspace, cause=cause)
    day.write_page(page, out, simulated=True)
    typer.echo("\n".join((f"{page.heading} (simulated)", *page.told, str(out))))
