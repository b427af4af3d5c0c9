"""Results that benchmarks keep as lines of JSON: one that was stopped goes on, and processes share the work."""

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The lines there are."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, row: Row) -> None:
    """One line more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def rows_of(rows: list[Row], **values: object) -> list[Row]:
    """Those that hold certain values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]
