"""What a newcomer relies on: the packages are ours, nothing pulls CUDA, help is instant, the wheel stands alone."""

import importlib
import importlib.metadata
import resource
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Packets

ROOT = Path(__file__).resolve().parents[1]
IOTLENS = str(Path(sys.executable).with_name("iotlens"))


@pytest.mark.parametrize("name", ["features", "training", "evaluation", "serving"])
def test_each_of_the_four_words_resolves_inside_this_project(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / name


def test_no_cuda_distribution_is_installed() -> None:
    names = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    # nvidia-ml-py is BentoML's: 50 kB of bindings, no CUDA (docs/decisions/0002)
    assert {n for n in names if n.startswith("nvidia-")} <= {"nvidia-ml-py"}


def test_help_costs_under_a_second_of_cpu() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run([IOTLENS, "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "ingest" in shown.stdout
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1.0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["ingest"],
        ["train", "no-such.yaml", "--workspace", "ws"],
        ["ingest", "no-such.pcap", "--devices", "auto", "--workspace", "ws"],
        ["indicators", "build", "--workspace", "no-such"],
        ["features", "build", "--workspace", "no-such"],
        ["indicators", "values", "cell", "c1", "--workspace", "no-such"],
        ["province", "load", "no-such", "--workspace", "ws"],
    ],
)
def test_wrong_usage_ends_with_two_and_leaves_nothing_behind(arguments: list[str], tmp_path: Path) -> None:
    ended = subprocess.run([IOTLENS, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_command_tells_what_it_did_once_and_what_to_do_next(tmp_path: Path) -> None:
    def told(*arguments: str) -> tuple[str, str]:
        done = subprocess.run([IOTLENS, *arguments], capture_output=True, text=True, cwd=tmp_path, check=True)
        return done.stdout, done.stderr

    count = len(list((ROOT / "configs").rglob("*.yaml")))
    assert told("init")[0].startswith(
        f"{count} files written to configs, 0 kept; each stands for the default"
    )
    again = told("init", str(tmp_path))[0]
    assert again.startswith(f"0 files written to {tmp_path / 'configs'}, {count} kept")
    assert "\nnext: iotlens ingest" in again
    simulated = told("simulate", "province", "--devices", "60", "--days", "1", "--out", "p")
    assert "".join(simulated).count("60 devices, 1 days") == 1
    loading = told("province", "load", "p", "--workspace", "ws")[1].splitlines()
    names = ("membership.parquet", "terminal", "events", "counters", "flows")
    assert loading == [f"INFO loading p/{name}" for name in names]
    stages = told("indicators", "build", "--workspace", "ws")[1].splitlines()
    assert stages[0] == "INFO indicators: places, of 1 days, 2026-03-02 to 2026-03-02"
    assert stages[1].startswith("INFO indicators: devices, after ")


@pytest.mark.parametrize("stranger", ["features/__init__.py", "features.py"])
def test_a_strangers_module_in_the_working_directory_is_never_run(
    packets: "Packets", tmp_path: Path, stranger: str
) -> None:
    (tmp_path / stranger).parent.mkdir(exist_ok=True)
    (tmp_path / stranger).write_text("raise RuntimeError('a stranger was imported')\n")
    packets.write(tmp_path / "a.pcap", [(0.0, packets.frame(packets.udp(("10.0.0.1", 9), ("8.8.8.8", 53))))])
    command = [IOTLENS, "ingest", "a.pcap", "--devices", "auto", "--workspace", "ws"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, "stranger" in ended.stderr) == (0, False), ended.stderr
    assert "1 new" in ended.stdout


@pytest.mark.slow
def test_the_wheel_walks_the_whole_road_from_a_folder_beside_a_strangers_packages(tmp_path: Path) -> None:
    iotlens = str(installed_wheel(tmp_path) / "iotlens")
    here = tmp_path / "here"
    for stranger in ("serving", "training"):
        (here / stranger).mkdir(parents=True)
        (here / stranger / "__init__.py").write_text("raise RuntimeError('a stranger was imported')\n")
    subprocess.run([iotlens, "init"], cwd=here, check=True)
    assert (here / "configs" / "experiments" / "app_identification.yaml").is_file()
    small = ["--devices-per-type", "2", "--days", "3", "--port", "3917"]
    walked = subprocess.run([iotlens, "demo", *small], cwd=here, capture_output=True, text=True, check=False)
    assert walked.returncode == 0, walked.stderr
    assert '"label"' in walked.stdout
    assert list((here / "demo" / "workspace" / "runs").rglob("report.html"))


def installed_wheel(folder: Path) -> Path:
    """Build the wheel, install it alone into a new environment, and return its folder of scripts.

    The libraries come from this environment by a .pth file, which does not read the .pth of the editable install.
    """
    make = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(make, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / "bin"
    wheel = next(folder.glob("*.whl"))
    subprocess.run([scripts / "python", "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    site = next((folder / "venv" / "lib").glob("python3*")) / "site-packages"
    (site / "libraries.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n")
    return scripts
