"""Results that benchmarks keep as lines of JSON: one that was stopped goes on, and processes share the work."""

import json
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import iou_per_class

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The lines there are."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, row: Row) -> None:
    """One line more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def run_all(jobs: Iterable[tuple[str, Callable[[], object]]]) -> None:
    """Run named jobs; one that fails does not end the others.

    Raises:
        SystemExit: at the end, with the names of those that failed.
    """
    failed = []
    for name, job in jobs:
        try:
            job()
        except (Exception, SystemExit):
            traceback.print_exc()
            failed.append(name)
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))


def miou_of_true(confusion: Confusion) -> float:
    """Mean over the classes that the truth has: few frames lack some, and one wrong point would add an IoU of 0."""
    return iou_per_class(confusion)[confusion.counts.sum(dim=1) > 0].mean().item()


def rows_of(rows: list[Row], **values: object) -> list[Row]:
    """Those that hold certain values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]
