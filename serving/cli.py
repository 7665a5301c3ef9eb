"""The command line. Each command imports what it needs when it is called, so that --help costs nothing."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from serving.log import configure

log = logging.getLogger(__name__)
app = typer.Typer(name="iotlens", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
features_app = typer.Typer(no_args_is_help=True, help="Windows of flows, and the feature store.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys, needed by any host other than loopback.")
simulate_app = typer.Typer(no_args_is_help=True, help="Traffic whose truth is known.")
app.add_typer(features_app, name="features")
app.add_typer(keys_app, name="keys")
app.add_typer(simulate_app, name="simulate")

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", help="Directory that holds everything of one tenant.")
]
Sources = Annotated[list[str], typer.Argument(help="Captures (pcap, pcapng), folders or globs.")]
Devices = Annotated[
    str, typer.Option("--devices", "-d", help="MAP.csv, or `auto`: every private address is a device.")
]
Run = Annotated[str, typer.Option("--run", help="A run's id, its path, or `latest`.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override a key of the configuration: key.sub=value.")
]


@app.callback()
def options(
    log_json: Annotated[bool, typer.Option("--log-json", help="Log one JSON object a line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log more, and show where an error arose.")] = False,
) -> None:
    """Service modelling for IoT: which device stands behind this traffic?

    Exit codes: 0 good, 1 some inputs failed (each is named), 2 wrong usage.
    """
    configure(json=log_json, debug=debug)


@app.command()
def init(directory: Annotated[Path, typer.Argument(help="Where to write `configs/`.")] = Path()) -> None:
    """Write the default configurations to DIRECTORY/configs, to read and to change."""
    from features.configuration import write_configs

    typer.echo(write_configs(directory))


@app.command()
def ingest(
    sources: Sources,
    devices: Devices,
    workspace: Workspace,
    each_address: Annotated[
        bool, typer.Option(help="A CIDR row is one device per address, not one device.")
    ] = False,
) -> None:
    """Read captures into flows, seen from the devices, and append them to the workspace's lake."""
    from features import ingest as ingestion

    summary = ingestion.ingest(sources, workspace, devices=devices, each_address=each_address)
    typer.echo(summary.text())
    _end(failed=bool(summary.failures))


@features_app.command("build")
def build_features(workspace: Workspace) -> None:
    """Compute the windows that new flows touched, and publish the newest of each device."""
    from features import store, windows

    summary = windows.build(workspace)
    typer.echo(summary.text())
    typer.echo(f"{store.open(workspace).publish():,} device windows published online")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Experiment YAML.")],
    workspace: Workspace,
    overrides: Overrides = None,
) -> None:
    """Fit a model, judge it, seal the run. The last line printed is the run directory."""
    from evaluation import report
    from training import experiment, run

    fitted = run.fit(experiment.read(config, overrides or []), workspace)
    report.judge(fitted)
    typer.echo(run.seal(fitted.directory))


def main() -> None:
    """Run the command line; an expected error is one line and exit code 2."""
    try:
        app()
    except (KeyError, IndexError):
        raise
    except (ValueError, LookupError, OSError) as error:
        if log.isEnabledFor(logging.DEBUG):
            raise
        log.error("%s", error)
        sys.exit(2)


def _end(*, failed: bool) -> None:
    if failed:
        raise typer.Exit(1)
