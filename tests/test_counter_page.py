"""docs/counters.md tells the contracts and rules that the code has."""

from pathlib import Path

from features import counter_page

PAGE = Path(__file__).parents[1] / "docs" / "counters.md"


def test_the_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert counter_page.current(page) == page, "run counter_page.write(Path('docs/counters.md'))"
