"""The command line. Each command imports what it needs when it is called, so that --help costs nothing."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from serving import (
    cli_counters,
    cli_cycle,
    cli_data,
    cli_indicators,
    cli_learn,
    cli_marks,
    cli_monitor,
    cli_province,
    cli_score,
    cli_selection,
    demo,
)
from serving.log import configure

log = logging.getLogger(__name__)
app = typer.Typer(name="iotlens", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
features_app = typer.Typer(no_args_is_help=True, help="Windows of flows, and the feature store.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys, needed by any host other than loopback.")
province_app = typer.Typer(no_args_is_help=True, help="A simulated province.")
simulate_app = typer.Typer(no_args_is_help=True, help="Traffic whose truth is known.")
app.add_typer(features_app, name="features")
app.add_typer(cli_indicators.app, name="indicators")
cli_indicators.app.command("build")(cli_counters.build_indicators)
cli_indicators.app.command("select")(cli_selection.select_indicators)
cli_indicators.app.command("learn")(cli_learn.learn_anchors)
cli_indicators.app.command("compare")(cli_selection.compare_selections)
app.add_typer(cli_counters.counters_app, name="counters")
app.add_typer(province_app, name="province")
simulate_app.command("province")(cli_province.simulate_province)
province_app.command("load")(cli_counters.load_province)
province_app.command("day")(cli_province.draw_day)
app.command("cycle")(cli_cycle.run_cycle)
app.command("score")(cli_score.score_service)
app.command("monitor")(cli_monitor.monitor_places)
app.add_typer(cli_data.app, name="data")
app.command("mark")(cli_marks.mark_devices)
app.add_typer(keys_app, name="keys")
app.add_typer(simulate_app, name="simulate")

Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="IOTLENS_WORKSPACE", help="Directory of one tenant.")
]
WORKSPACE = Path("workspace")
Sources = Annotated[list[str], typer.Argument(help="Captures (pcap, pcapng), folders or globs.")]
Arriving = Annotated[
    list[str],
    typer.Argument(help="Captures (pcap, pcapng) or tables of FLOWS (parquet, csv), folders or globs."),
]
Devices = Annotated[
    str, typer.Option("--devices", "-d", help="MAP.csv, or `auto`: every private address is a device.")
]
CaptureDevices = Annotated[
    str | None,
    typer.Option(
        "--devices", "-d", help="Of captures: MAP.csv, or `auto`: every private address is a device."
    ),
]
TableSettings = Annotated[
    Path | None,
    typer.Option("--flow-settings", help="Of tables: the flows.yaml they were made with. Without: unknown."),
]
EachAddress = Annotated[bool, typer.Option("--each-address", help="A CIDR row is one device per address.")]
Run = Annotated[
    str,
    typer.Option(
        "--run",
        help="A run's path, id or model version, `latest`, or EXPERIMENT/ID, EXPERIMENT/latest."
        " `latest` alone: the newest that `serve`, `identify` can use.",
    ),
]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key: key.sub=value.")]
Csv = Annotated[Path, typer.Option("--out", "-o", help="CSV to write: one row per capture and device.")]
Predicted = Annotated[Path, typer.Option("--out", "-o", help="CSV or Parquet to write, row for row.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", help="identify (default), explain, score, mark, alarms, reports or metrics."),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same bytes.")]
PerType = Annotated[int, typer.Option(help="Devices of each of the ten types at each site.")]
Days = Annotated[int, typer.Option(help="Days of virtual time.")]
Port = Annotated[int, typer.Option(help="Where the service listens.")]


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
    from features.configuration import own_configs, write_configs

    kept = sum(path.is_file() for path in (directory / "configs").rglob("*.yaml"))
    written = write_configs(directory)
    made = sum(path.is_file() for path in written.rglob("*.yaml")) - kept
    way = "" if written == own_configs() else f", from {directory} or with --workspace {directory}"
    typer.echo(
        f"{made} files written to {written}, {kept} kept; each stands for the default of its name{way}"
    )
    typer.echo("next: iotlens ingest CAPTURES --devices MAP.csv, or iotlens simulate province --out PROVINCE")


@app.command()
def ingest(
    sources: Arriving,
    devices: CaptureDevices = None,
    workspace: Workspace = WORKSPACE,
    each_address: EachAddress = False,
    flow_settings: TableSettings = None,
) -> None:
    """Append flows to the workspace's lake: of captures, seen from the devices, or as tables tell them."""
    from features import arrivals

    done = arrivals.bring_in(
        sources, workspace, devices=devices, each_address=each_address, flow_settings=flow_settings
    )
    _end(done.text(), done.failures)


@features_app.command("build")
def build_features(workspace: Workspace = WORKSPACE) -> None:
    """Compute the windows that new flows touched, and publish the newest of each device online."""
    from features import store, windows

    built = windows.build(workspace)
    published = store.open(workspace).publish()
    typer.echo(f"{built.text()}; {published:,} device windows published online")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="Experiment: a YAML file, or its bare name.")],
    workspace: Workspace = WORKSPACE,
    overrides: Overrides = None,
) -> None:
    """Fit a model, judge it, write its report, seal the run. The last line printed is the run directory."""
    from evaluation import trained

    typer.echo(trained.train(config, workspace, overrides or []))


@app.command()
def identify(
    sources: Sources,
    devices: Devices,
    out: Csv,
    workspace: Workspace = WORKSPACE,
    run: Run = "latest",
    each_address: EachAddress = False,
) -> None:
    """Say what stands behind each device of many captures, without a server."""
    from features.ingest import read_map
    from serving import bulk
    from training.run import find

    told = read_map(devices, each_address=each_address)
    directory = find(workspace, run, suits=bulk.looks_at_sessions)
    done = bulk.identify_captures(sources, devices=told, run_directory=directory, out=out)
    _end(f"{done.text()}\n{out}", done.failures)


@app.command()
def predict(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet with the features of the run.")],
    out: Predicted,
    workspace: Workspace = WORKSPACE,
    run: Run = "latest",
) -> None:
    """Answer for every row of a plain table, with a run that was trained on one."""
    from training import run as runs

    typer.echo(f"{runs.predict_table(table, runs.find(workspace, run), out):,} rows in {out}")


@app.command("report")
def show_reports(
    workspace: Workspace = WORKSPACE,
    report: Annotated[str | None, typer.Option("--open", help="Open the report of this id.")] = None,
) -> None:
    """List the reports of the workspace, newest first, or open one in the browser."""
    import webbrowser

    from serving import reports

    if report is None:
        typer.echo(reports.listing(workspace))
        return
    page = reports.find(workspace, report).page
    typer.echo(page)
    webbrowser.open(page.as_uri())


@app.command()
def serve(
    workspace: Workspace = WORKSPACE,
    run: Run = "latest",
    host: Annotated[str, typer.Option(help="Any other than loopback needs an API key.")] = "127.0.0.1",
    port: Port = 3000,
    workers: Annotated[int, typer.Option(help="Processes that answer.")] = 1,
) -> None:
    """Serve a run, and the scores of services, over REST; its page is at the address printed.

    --run none: scores alone, for a workspace without a run.
    """
    from serving import server

    start = server.prepare(workspace, run, host=host, port=port, workers=workers)
    typer.echo(f"serving {run} of {workspace} on {start.url}")
    server.serve(start)


@keys_app.command("add")
def add_key(
    name: str,
    workspace: Workspace = WORKSPACE,
    scopes: Scopes = None,
) -> None:
    """Make a key and print it, this once: only its hash is stored."""
    from serving import keys

    typer.echo(keys.add(workspace, name, scopes=scopes or ["identify"]))


@keys_app.command("list")
def list_keys(workspace: Workspace = WORKSPACE) -> None:
    """Show the names and scopes of the keys."""
    from serving import keys

    for key in keys.stored(workspace):
        typer.echo(f"{key.name}\t{','.join(key.scopes)}\t{key.created:%Y-%m-%dT%H:%M:%SZ}")


@keys_app.command("revoke")
def revoke_key(name: str, workspace: Workspace = WORKSPACE) -> None:
    """Forget a key: a running service refuses it from its next request on."""
    from serving import keys

    keys.revoke(workspace, name)


@simulate_app.command("traffic")
def simulate_traffic(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for captures and device map.")],
    seed: Seed = demo.SEED,
    devices_per_type: PerType = demo.DEVICES_PER_TYPE,
    days: Days = demo.DAYS,
) -> None:
    """Write captures of a fleet of ten device types at two sites, with real protocol bytes."""
    from evaluation.simulation import traffic
    from features.configuration import find_config

    profiles = find_config("flow_profiles.yaml")
    made = traffic.simulate(out, profiles=profiles, seed=seed, devices_per_type=devices_per_type, days=days)
    typer.echo(f"{made.packets:,} packets of {made.device_count:,} devices in {out} (simulated)")


@app.command("demo")
def walk_demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to work in.")] = Path("demo"),
    seed: Seed = demo.SEED,
    devices_per_type: PerType = demo.DEVICES_PER_TYPE,
    days: Days = demo.DAYS,
    port: Annotated[int | None, typer.Option(help="Of the service; 3000, or a free one.")] = None,
) -> None:
    """Walk the whole road on simulated traffic: ingest, features, train, report, serve, ask."""
    demo.walk(demo.Fleet(seed, devices_per_type, days), out, port=port)


def main() -> None:
    """Run the command line; an expected error is one line and exit code 2."""
    try:
        app()
    except (KeyError, IndexError):
        raise
    except (ValueError, LookupError, OSError) as error:
        if log.isEnabledFor(logging.DEBUG):
            raise
        log.error("%s", _words(error))
        sys.exit(2)


def _words(error: Exception) -> str:
    """Return what an error says; one of the system's names its file first, as ours do."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def _end(told: str, failures: Sequence[tuple[str, str]]) -> None:
    """Print what was done, which names what could not be read, and end with 1 if there is any."""
    typer.echo(told)
    if failures:
        raise typer.Exit(1)
