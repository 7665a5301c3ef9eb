"""What a newcomer relies on: the packages are ours, nothing pulls CUDA, help is instant, the wheel stands alone."""

import importlib
import importlib.metadata
import os
import resource
import subprocess
import sys
import venv
from pathlib import Path

import pytest

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
    ],
)
def test_wrong_usage_ends_with_two_and_leaves_nothing_behind(arguments: list[str], tmp_path: Path) -> None:
    ended = subprocess.run([IOTLENS, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_wheel_works_from_an_empty_folder_beside_a_strangers_packages(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(tmp_path / "venv", system_site_packages=False, with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    wheel = next((tmp_path / "dist").glob("*.whl"))
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    here = tmp_path / "here"
    for stranger in ("serving", "training"):
        (here / stranger).mkdir(parents=True)
        (here / stranger / "__init__.py").write_text("raise RuntimeError('a stranger was imported')\n")
    libraries = next(p for p in sys.path if p.endswith("site-packages"))
    environment = os.environ | {"PYTHONPATH": "", "IOTLENS_TEST_LIBRARIES": libraries}
    (
        Path(python).parents[1]
        / "lib"
        / f"python3.{sys.version_info.minor}"
        / "site-packages"
        / "libraries.pth"
    ).write_text(libraries + "\n")
    iotlens = str(Path(python).with_name("iotlens"))
    subprocess.run([iotlens, "init"], cwd=here, env=environment, check=True)
    assert (here / "configs" / "experiments" / "app_identification.yaml").is_file()
