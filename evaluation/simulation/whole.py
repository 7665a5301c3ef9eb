"""What a simulation writes appears whole or not at all: work goes on in a hidden folder beside it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_counts(**counts: int) -> None:
    """Raise ValueError naming the first of these that is below 1."""
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value}")


def check_free(out: Path) -> None:
    """Raise FileExistsError where a folder holds something."""
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} must be new or empty, but holds files; remove it or name another")


@contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes `out` when all went well; what else lies beside it there goes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as hidden:
        folder = Path(hidden) / out.name
        folder.mkdir()
        yield folder
        folder.replace(out)
