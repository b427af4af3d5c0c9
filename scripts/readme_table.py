"""The tables of README.md, from the reports in docs/reports/."""

import json
import re
from pathlib import Path

from markdown_table import table

_PLACE = re.compile(r"(?<=<!-- measured -->\n).*?(?=<!-- /measured -->)", re.DOTALL)
_CNS = {"street": "CNS, two frames in a step", "room": "+ latent consistency: CNS"}
_LEARNT = {
    "CLIP alone": "CLIP by itself",
    "distillation": "distillation of its features (OpenScene)",
    "CLIP2Scene": "CLIP2Scene",
    "sweeps: 3": "CLIP2Scene of 3 sweeps",
}
_STARTS = "nothing", "PPKT", "SLidR", "CLIP2Scene", "CLIP2Scene with its texts", "CLIP2Scene of 3 sweeps"
_LABELS = "the labels of 1 of 60 streets", "all labels"


def with_tables(readme: str, reports: Path) -> str:
    """README.md with what the reports say between its marks."""
    parts = [_label_free(reports), _fine_tuned(reports)]
    return _PLACE.sub(lambda _: "\n" + "\n".join(filter(None, parts)) + "\n", readme)


def _label_free(reports: Path) -> str:
    """mIoU of what networks learn without labels, of points that a photo shows."""
    clip2scene, cns = _metrics(reports, "clip2scene"), _metrics(reports, "cns")
    lines = {
        name: (clip2scene, dict.fromkeys(_CNS, variant), "miou_shown") for variant, name in _LEARNT.items()
    }
    for which, of in ("network of points", "points"), ("networks of points and of photos together", "both"):
        lines[f"CNS, {which}"] = cns, _CNS, f"{of}_miou_shown"
    rows = [
        (name, [_figure(metrics.get(f"{kind}: {variants[kind]}", {}), of) for kind in _CNS])
        for name, (metrics, variants, of) in lines.items()
    ]
    head = "procedural worlds, mini CLIP, no labels: mIoU of held-out points that a photo shows (seeds)"
    return _table(head, ("streets", "rooms"), rows)


def _fine_tuned(reports: Path) -> str:
    """mIoU of all points after training on labels, by what the network started from."""
    metrics = _metrics(reports, "clip2scene")
    rows = [
        (
            f"from {start}",
            [_figure(metrics.get(f"street: {labels}, from {start}", {}), "miou") for labels in _LABELS],
        )
        for start in _STARTS
    ]
    return _table(
        "procedural worlds, mini CLIP, trained on labels of streets: mIoU of all held-out points (seeds)",
        _LABELS,
        rows,
    )


def _metrics(reports: Path, name: str) -> dict[str, dict[str, float]]:
    path = reports / f"{name}.json"
    return json.loads(path.read_text())["metrics"] if path.exists() else {}


def _figure(found: dict[str, float], name: str) -> str:
    """A mean over seeds, and how many they are; nothing where it was not measured."""
    return f"{found[name]:.3f} ({found['runs']})" if name in found else ""


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, list[str]]]) -> str:
    """Without the lines and columns that hold nothing; no table if there is nothing at all."""
    filled = [i for i in range(len(columns)) if any(values[i] for _, values in rows)]
    lines = [[name, *(values[i] for i in filled)] for name, values in rows if any(values)]
    if not lines:
        return ""
    return table([title, *(columns[i] for i in filled)], lines)
