"""docs/features.md, made from the declarations: each feature with its unit, range and meaning."""

from features.windowing import GROUPS, KEY_COLUMNS

_HEAD = """# Features of a window

Made from `features/*_features.py` by `python -m features.feature_page`; a test keeps it current. A row describes one
device over one window (of one capture, for `session`). A feature that may be empty is so where the window has nothing
to measure it on. "First packets" are those of `first_ps`: the first N of each flow (`first_packets` of flows.yaml). No
address and no absolute time is a feature.
"""


def page() -> str:
    """Return the page as Markdown."""
    keys = "\n".join(f"- `{column.name}`: {column.description}" for column in KEY_COLUMNS)
    parts = [_HEAD, f"\nKeys:\n\n{keys}\n"]
    for group in GROUPS:
        parts.append(f"\n## {group.told}\n\n| feature | unit | empty | meaning |\n|---|---|---|---|\n")
        for feature in group.features:
            column = feature.column
            may = "yes" if column.empty else "no"
            parts.append(f"| `{column.name}` | {column.unit} | {may} | {column.description} |\n")
    return "".join(parts)


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
