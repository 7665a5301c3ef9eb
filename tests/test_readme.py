"""What the README and the docs tell to type works as it stands."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.core import TyperGroup

from evaluation.simulation.fleet import population
from evaluation.simulation.profiles import read_profiles
from evaluation.simulation.traffic import simulate
from serving import demo
from serving.cli import app
from serving.server import Start, free_port, running

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BIN = Path(sys.executable).parent


def commands(text: str) -> list[str]:
    """Return the command lines of the fenced blocks of a page, comments and line ends taken off."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines]


def section(title: str) -> list[str]:
    return commands(README.partition(f"\n## {title}\n")[2].partition("\n## ")[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_iotlens_command_on_a_page_is_one(page: Path) -> None:
    program = typer.main.get_command(app)
    for line in commands(page.read_text(encoding="utf-8")):
        if not line.startswith("iotlens ") or line.endswith("--help"):
            continue
        command, rest = program, shlex.split(line)[1:]
        while isinstance(command, TyperGroup):
            command = command.commands[rest.pop(0)]
        command.make_context(line, rest)  # raises on an unknown option and on a missing one


def test_the_device_of_the_question_is_one_of_the_demo() -> None:
    profiles = read_profiles(ROOT / "configs/flow_profiles.yaml")
    fleet = demo.Fleet()
    devices = [
        device.device_id
        for site in profiles.simulation.sites
        for device in population(
            profiles, site, seed=fleet.seed, devices_per_type=fleet.devices_per_type, days=fleet.days
        )
    ]
    (asked,) = re.findall(r'"device_ids": \["(.*?)"\]', README)
    assert asked in devices


def run(line: str, folder: Path) -> str:
    command, *arguments = shlex.split(line)
    done = subprocess.run(
        [BIN / command, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_ones_own_captures_from_init_to_a_rest_answer(tmp_path: Path) -> None:
    made = simulate(
        tmp_path / "captures",
        profiles=ROOT / "configs/flow_profiles.yaml",
        seed=5,
        devices_per_type=1,
        days=2,
    )
    shutil.copy(made.devices, tmp_path / "MAP.csv")
    (tmp_path / "new_captures").symlink_to(made.captures[0].parent, target_is_directory=True)
    lines = [line for line in section("Your own captures") if line.startswith("iotlens ")]
    assert [shlex.split(line)[1] for line in lines] == [
        *("init", "ingest", "features", "train", "identify", "serve")
    ]
    told = {shlex.split(line)[1]: run(line, tmp_path) for line in lines if " serve " not in line}
    directory = tmp_path / told["train"].splitlines()[-1]
    assert {"DONE", "model.json", "report.html", "report.json"} <= {file.name for file in directory.iterdir()}
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert set(answers["capture"]) == {f"new_captures/{path.name}" for path in made.captures[:2]}
    serve, port = next(line for line in lines if " serve " in line), free_port()
    start = Start(
        (str(BIN / "iotlens"), *shlex.split(serve)[1:], "--port", str(port)),
        {},
        tmp_path,
        f"http://127.0.0.1:{port}",
    )
    curl = next(line for line in section("One question") if line.startswith("curl "))
    device = str(answers["device_id"].iloc[0])
    asked = re.sub(r"\[\".*?\"\]", json.dumps([device]), curl.replace(":3000/", f":{port}/"))
    with running(start, log=tmp_path / "serve.log"):
        shown = subprocess.run(shlex.split(asked), capture_output=True, text=True, check=True).stdout
    (answer,) = json.loads(shown)["answers"]
    assert (answer["device_id"], answer["how"]) == (device, "model")


def test_a_plain_table_from_csv_to_answers(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    app_of_row = random.choice(["mail", "video"], 120)
    table = pd.DataFrame({"up": random.normal(np.where(app_of_row == "mail", 1.0, 3.0), 0.5)})
    table.to_csv(tmp_path / "new.csv", index=False)
    table.assign(app=app_of_row, device=np.arange(120) // 4).to_csv(tmp_path / "flows.csv", index=False)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    for line in section("Plain tables"):
        run(line, tmp_path)
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert len(answers) == len(table)
    assert (answers["label"] == app_of_row).mean() > 0.9


def test_two_months_of_sessions_and_how_their_selections_differ(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for month, day in (("march", "2026-03-01"), ("april", "2026-04-01")):
        table = pd.DataFrame(random.normal(size=(400, 3)), columns=["load", "signal", "other"])
        table["stalled"] = (table["load"] - table["signal"] + random.normal(size=400) > 0).astype(int)
        table["started"] = pd.date_range(day, periods=400, freq="h", tz="UTC")
        table.assign(device_id=np.arange(400) // 2).to_parquet(tmp_path / f"{month}.parquet")
    told = [run(line, tmp_path) for line in section("Which indicators matter") if "--workspace" not in line]
    assert len(told) == 3
    assert {"load", "signal"} <= set(told[-1].split())
    assert (tmp_path / "april" / "report.html").is_file()


def test_a_province_and_a_picture_of_its_fault(tmp_path: Path) -> None:
    lines = section("The indicators of a service")
    scheduled = next(line for line in lines if line.startswith("echo "))
    (tmp_path / "faults.yaml").write_text(shlex.split(scheduled)[1])
    small = [line.replace("--devices 2000", "--devices 200") for line in lines if line.startswith("iotlens ")]
    told = {" ".join(shlex.split(line)[1:3]): run(line, tmp_path) for line in small}
    assert list(told) == [
        *("indicators show", "simulate province", "province load"),
        *("indicators build", "indicators values", "province day"),
    ]
    assert "backhaul_rtt_p95" in told["indicators values"]
    assert "<h1>OneNET access node failure at node-001" in (tmp_path / "day.html").read_text()
    (score,) = section("How well a service works")
    assert "scored device 140 of 140, cell 3 of 3" in run(score, tmp_path)
