"""How a page is made of a summary: templates that escape what they are given, and numbers as a reader wants them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parent / "templates"


def template(name: str, filters: Mapping[str, Callable[..., Any]]) -> jinja2.Template:
    """Return a template of ours with these filters beside `count` and `figure`; an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "figure": figure, **filters}
    return environment.get_template(name)


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"


def figure(value: float) -> str:
    """Return three significant digits."""
    return f"{value:#.3g}"
