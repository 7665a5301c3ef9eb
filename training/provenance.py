"""With what a model was made: the libraries and the commit, as model.json keeps them."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("iotlens", "numpy", "pandas", "scikit-learn", "lightgbm", "torch")


def libraries() -> dict[str, str]:
    """Return the version of Python and of every library that can change what a model learns."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def git_commit() -> str | None:
    """Return the commit of the checkout this package runs from, `-dirty` with uncommitted changes, or None.

    None also where an installed package lies inside somebody's repository: they do not track its files.
    """
    here = Path(__file__)
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    if tracked is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git says, or None where there is no git or it refuses."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip() or None
