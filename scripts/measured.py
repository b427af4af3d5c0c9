"""Results that benchmarks keep as lines of JSON: one that was stopped goes on, and processes share the work."""

import hashlib
import json
import traceback
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ovs3d.eval.confusion import Confusion
from ovs3d.eval.miou import iou_per_class
from ovs3d.foundation.fetch import sha256_of
from ovs3d.foundation.weights import mini_folder

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The lines there are."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, row: Row) -> None:
    """One line more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def digest(*settings: object) -> str:
    """A short name of settings: what was measured with others does not count as measured."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


@cache
def mini_weights() -> tuple[str, ...]:
    """What tells the mini models from others, for a digest."""
    return tuple(sha256_of(mini_folder(kind) / "weights.safetensors") for kind in ("clip", "dino", "sam"))


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


def mean_of(rows: list[Row], name: str) -> float:
    """The mean of a value."""
    return float(np.mean([row[name] for row in rows]))


def spread(rows: list[Row], names: Iterable[str]) -> dict[str, float]:
    """Mean, least and most of values, and of how many runs."""
    found: dict[str, float] = {}
    for name in names:
        values = [row[name] for row in rows]
        found |= {name: mean_of(rows, name), f"{name}, least": min(values), f"{name}, most": max(values)}
    return found | {"runs": len(rows)}


def gains(rows: list[Row], others: list[Row], name: str, fixed: bool = False) -> list[Row]:
    """By how much a value is above that of others, seed by seed.

    Args:
        fixed: others are the same for all seeds, and have a single line.
    """
    base = {row["seed"]: row[name] for row in others}
    if fixed and base:
        base = dict.fromkeys((row["seed"] for row in rows), *base.values())
    return [{name: row[name] - base[row["seed"]]} for row in rows if row["seed"] in base]


def miou_of_true(confusion: Confusion) -> float:
    """Mean over the classes that the truth has: few frames lack some, and one wrong point would add an IoU of 0."""
    return iou_per_class(confusion)[confusion.counts.sum(dim=1) > 0].mean().item()


def rows_of(rows: list[Row], **values: object) -> list[Row]:
    """Those that hold certain values."""
    return [row for row in rows if all(row.get(name) == value for name, value in values.items())]
