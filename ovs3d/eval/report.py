"""The report of a run: what its numbers mean, and what is needed to get them again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ovs3d.atomic import atomic_file


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``report.json`` holds. Versions and hardware come from ``**environment()``."""

    task: str
    """What was done, for instance ``demo on tabletop world 7``."""
    protocol: str
    """How it was evaluated, with the convention for absent classes."""
    classes: Sequence[str]
    """Prompts, in the order of class ids."""
    metrics: Mapping[str, Any]
    """``miou``, ``accuracy``, ``per_class`` (name -> IoU) and whatever else was measured, one level deep."""
    split: str
    """Which views or scans were evaluated."""
    weights: Mapping[str, str]
    """Model -> weights."""
    config: Mapping[str, Any]
    """Settings of the run."""
    seed: int
    """Seed of the run."""
    versions: Mapping[str, str]
    """Package -> version."""
    hardware: Mapping[str, Any]
    """The machine."""
    seconds: float
    """Wall time of the run."""
    skipped: Sequence[str] = ()
    """What was left out or done in a slower way, one line each."""

    def to_json(self) -> str:
        """Valid JSON: a number that is not finite becomes null."""
        return json.dumps(_plain(asdict(self)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Heading, circumstances, a table of the metrics and one of each group of them."""
        metrics = _plain(self.metrics)
        groups = {name: value for name, value in metrics.items() if isinstance(value, dict)}
        single = {name: value for name, value in metrics.items() if name not in groups}
        about = self.protocol, self.split, _listed(self.weights), f"seed {self.seed}", f"{self.seconds:.0f} s"
        parts = [f"# {self.task}", "; ".join(filter(None, about)), _table("metric", single)]
        parts += [_table(name, group) for name, group in groups.items()]
        parts += [f"Machine: {_listed(self.hardware)}. Versions: {_listed(self.versions)}."]
        parts += ["\n".join(f"- skipped: {line}" for line in self.skipped)] if self.skipped else []
        return "\n\n".join(parts) + "\n"

    def write(self, folder: Path) -> Path:
        """Write ``report.json`` and ``report.md`` into a folder; returns the path of the first."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("report.md", self.to_markdown()), ("report.json", self.to_json())):
            with atomic_file(folder / name) as file:
                file.write(text.encode())
        return folder / "report.json"


def _plain(value: Any) -> Any:
    """The value as JSON knows it; what has no such form is left, and json says so."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = [
        f"| {title} | |",
        "|---|---:|",
        *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()),
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
