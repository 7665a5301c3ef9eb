"""One line per event on standard error: for people by default, for machines with --log-json."""

import logging
import sys


def configure(*, json: bool, debug: bool) -> None:
    """Send the log of our four packages to standard error; other libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json_lines() if json else logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in ("features", "training", "evaluation", "serving"):
        logging.getLogger(package).setLevel(logging.DEBUG if debug else logging.INFO)


def _json_lines() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        "{asctime}{levelname}{name}{message}",
        style="{",
        datefmt="%Y-%m-%dT%H:%M:%SZ",
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
    )
