"""Write docs/results.md and the tables of README.md from the reports in docs/reports: no figure is typed by hand."""

import json
from functools import partial
from pathlib import Path

from markdown_table import table
from readme_table import with_tables

DOCS = Path(__file__).parent.parent / "docs"
_LEAST, _MOST = ", least", ", most"
"""Ends of names in reports of several runs."""

HEAD = """# Results

Written by `scripts/write_results.py` from the files in `docs/reports/`. Worlds are procedural; the mini models were
trained on such worlds only and have never seen a photo: nothing here says how photos would fare.
"""


def results(reports: Path) -> str:
    """The page, from a folder of reports."""
    parts = [HEAD, _mini(json.loads((reports / "mini.json").read_text()))]
    sections = {
        "demo": partial(_demo, "demo"),
        "field": _field,
        "semantics": _semantics,
        "query": _query,
        "store": _store,
        "presets": _presets,
        "quality": _quality,
        "noisy_truth": partial(_noisy_truth, "noisy_truth"),
        "noisy_truth_depth": partial(_noisy_truth, "noisy_truth_depth"),
        "points_demo": partial(_demo, "points_demo"),
        "sparse": _sparse,
        "pretraining": _pretraining,
        "clip2scene": partial(_label_free, "clip2scene"),
        "cns": partial(_label_free, "cns"),
        "noise": partial(_label_free, "noise"),
        "stages": partial(_label_free, "stages"),
        "pandaset": _seeds,
    }
    for name, section in sections.items():
        report = reports / f"{name}.json"
        if report.exists():
            parts.append(section(json.loads(report.read_text())))
    return "\n".join(parts)


def _mini(report: dict) -> str:
    clip, dino, sam = report["clip"], report["dino"], report["sam"]
    rows = [
        ("CLIP, zero-shot top-1 over all nouns, tight crops", clip["tight"]["nouns"], 0.95),
        ("the same, loose crops", clip["loose"]["nouns"], 0.85),
        ("CLIP, over all colour-pattern-noun combinations, tight crops", clip["tight"]["combinations"], 0.80),
        ("the same, combinations never trained", clip["tight"]["combinations_never_trained"], None),
        ("all nouns, tight, ambiguous crops counted too", clip["tight"]["nouns_any_crop"], None),
        ("all nouns, loose, ambiguous crops counted too", clip["loose"]["nouns_any_crop"], None),
        ("CLIP as raw 2D teacher, mIoU", clip["teacher_miou"], 0.55),
        *_scenery(clip["scenery"]),
        ("DINO, AUC of same object or not, patch pairs", dino["auc"], 0.90),
        ("the same, pairs between objects only", dino["auc_between_objects"], None),
        ("SAM, mean IoU of single-click masks", sam["iou"], 0.85),
        ("the same, photos of streets", sam["scenery"]["street"]["iou"], None),
        ("the same, photos of rooms", sam["scenery"]["room"]["iou"], None),
    ]
    return _table(
        "Mini models (`docs/reports/mini.json`)",
        ("on held-out worlds", "reached", "target"),
        [*map(_row, rows)],
    )


def _scenery(figures: dict) -> list[tuple[str, float, None]]:
    rows = []
    for bank, what in (
        ("nuscenes16", "streets, nuScenes' classes"),
        ("semantickitti19", "streets, SemanticKITTI's"),
        ("scannet20", "rooms, ScanNet's"),
    ):
        rows.append((f"CLIP, {what}: top-1 of crops", figures[bank]["top1"], None))
        rows.append(("the same, dense features of whole photos, mIoU", figures[bank]["dense_miou"], None))
    return rows


def _row(row: tuple[str, float, float | None]) -> tuple[str, str, str]:
    name, value, target = row
    return name, f"{value:.3f}", "" if target is None else f"{target:.2f}"


def _demo(file: str, report: dict) -> str:
    metrics = {name: value for name, value in report["metrics"].items() if name != "per_class"}
    rows = [(name.replace("_", " "), f"{value:.3f}") for name, value in metrics.items()]
    rows += [(f"IoU of {name}", f"{value:.3f}") for name, value in report["metrics"]["per_class"].items()]
    title = f"{report['task']} (`docs/reports/{file}.json`)"
    return _table(title, (f"{report['split']}; {report['protocol']}", ""), rows) + _machine(report)


def _field(report: dict) -> str:
    metrics = report["metrics"]
    speeds = [name for name in metrics if "ratio" not in name]
    rows = [
        (f"{name.replace('_', ', ')} hash grid" if name != "ovs3d" else name, f"{metrics[name]:.0f} rays/s")
        for name in speeds
    ]
    rows += [("ratio", f"{metrics['ratio']:.1f}"), ("least of the rounds", f"{metrics['least_ratio']:.1f}")]
    title = f"{report['task']} (`docs/reports/field.json`)"
    return _table(title, (f"{report['split']}; {report['protocol']}", ""), rows) + _machine(report)


def _semantics(report: dict) -> str:
    rows = []
    for samples, found in report["metrics"].items():
        forms = [name.removesuffix("_seconds") for name in found if name.endswith("_seconds")]
        rows += [
            (f"{samples}, {name.replace('_', ', ', 1).replace('_', ' ')}", *_cost(found, name))
            for name in forms
        ]
    title = f"{report['task']} (`docs/reports/semantics.json`)"
    head = (
        "",
        "seconds",
        "times faster (target 10)",
        "MiB of tensors",
        "times smaller (target 20)",
        "resident MiB",
        "times smaller",
    )
    protocol, metrics = report["protocol"], report["metrics"].values()
    losses, gradients = (max(one[f"{what}_difference"] for one in metrics) for what in ("loss", "gradient"))
    about = (
        f"\n{protocol[0].upper()}{protocol[1:]}. *published* holds 512 channels at every sample and a vector over "
        f"classes for every pair of pixels; *ovs3d* has the same losses and gradients, up to {losses:.0e} and "
        f"{gradients:.0e}, from all samples of a weight above 1e-4, and is measured once more with the few that it "
        "takes by default.\n"
    )
    return _table(title, head, rows) + about + _machine(report)


def _cost(found: dict, form: str) -> tuple[str, ...]:
    ratios = (
        found.get(f"{form}_{name}") for name in ("times_faster", "times_smaller", "resident_times_smaller")
    )
    faster, smaller, resident = (f"{value:.1f}" if value else "" for value in ratios)
    return (
        f"{found[f'{form}_seconds']:.2f}",
        faster,
        f"{found[f'{form}_mib']:.0f}",
        smaller,
        f"{found[f'{form}_resident_mib']:.0f}",
        resident,
    )


def _query(report: dict) -> str:
    metrics = report["metrics"]
    rows = [("rendering", f"{metrics['rays_per_second']:.0f} rays/s")]
    for clip, found in metrics.items():
        if isinstance(found, dict):
            parts = f"text {found['text_seconds']:.2f}, answers {found['answer_seconds']:.2f}"
            rows.append((f"{clip}: prompts to picture ({parts})", f"{found['seconds']:.2f} s"))
    title = f"{report['task']} (`docs/reports/query.json`)"
    return _table(title, (f"{report['split']}; {report['protocol']}", ""), rows) + _machine(report)


def _store(report: dict) -> str:
    rows = [
        (
            name,
            f"{found['tiles']}",
            f"{found['store_bytes'] / 1e6:.2f} MB",
            f"{found['published_bytes'] / 1e6:.1f} MB",
            f"{found['ratio']:.0f}",
            f"{found['dino_bytes'] / 1e6:.2f} MB",
            f"{found['ratio_with_dino']:.0f}",
        )
        for name, found in report["metrics"].items()
    ]
    head = (
        "",
        "tiles",
        "stored",
        "published map",
        "times smaller (target 300)",
        "DINO's tokens",
        "times smaller with them",
    )
    title = f"{report['task']} (`docs/reports/store.json`)"
    return _table(title, head, rows) + f"\n{report['protocol'].capitalize()}.\n"


def _presets(report: dict) -> str:
    rows = [
        (name, f"{found['peak_mib']:.0f} MiB", f"{found['checkpoint_mib']:.0f} MiB")
        for name, found in report["metrics"].items()
    ]
    title = f"{report['task']} (`docs/reports/presets.json`)"
    head = (f"{report['split']}; {report['protocol']}", "peak", "checkpoint")
    return _table(title, head, rows) + _machine(report)


def _quality(report: dict) -> str:
    metrics = report["metrics"]
    worlds = {name: found for name, found in metrics.items() if name.startswith("world ")}
    variants = [
        (name, f"{found['miou']:.3f}", f"{found['accuracy']:.3f}", f"{found['runs']}")
        for name, found in metrics.items()
        if name not in worlds
    ]
    columns = ("full", "plain fusion", "raw", "raw, guided by DINO", "psnr")
    rows = [
        (name, *(f"{found[one]:.3f}" if one in found else "" for one in columns))
        for name, found in worlds.items()
    ]
    title = f"{report['task']} (`docs/reports/quality.json`)"
    head = (f"{report['split']}; {report['protocol']}", "mIoU", "accuracy", "runs")
    about = (
        "\nBy default FDA has pairs that pull alone: without re-balance these weigh less, and nothing else changes. A "
        "held-out view of each world, the first seed:\n\n![photo, teacher, plain fusion, full method and truth]"
        "(images/quality.png)\n\n"
    )
    by_world = _table("By world, mIoU", ("", *columns), rows)
    return _table(title, head, variants) + about + by_world + _machine(report)


def _noisy_truth(file: str, report: dict) -> str:
    metrics = report["metrics"]
    rows = [
        (
            name,
            *(f"{found[one]:.3f}" for one in ("miou", "teacher_miou", "accuracy", "teacher_accuracy")),
            f"{found['psnr']:.1f}",
        )
        for name, found in {"mean": metrics, **metrics}.items()
        if isinstance(found, dict)
    ]
    head = (
        f"{report['split']}; {report['protocol']}",
        "mIoU",
        "of the teacher",
        "accuracy",
        "of the teacher",
        "PSNR",
    )
    depth = ", geometry learnt from measured depth too" if report["config"]["depth"] else ""
    return _table(f"{report['task']}{depth} (`docs/reports/{file}.json`)", head, rows) + _machine(report)


def _sparse(report: dict) -> str:
    metrics = dict(report["metrics"])
    (rate,), growth = metrics.pop("machine").values(), metrics.pop("growth")
    rows = [
        (
            name,
            f"{found.get('forward_and_backward_ms', found.get('step_ms')):.0f} ms",
            f"{found.get('forward_and_backward_ratio', found.get('ratio')):.2f}",
            f"{found['ratio to MinkowskiEngine']:.2f}" if "ratio to MinkowskiEngine" in found else "",
            f"{found['memory_ratio']:.2f}",
            f"{found['resident_ratio']:.2f}",
            f"{found['share of torch.mm']:.2f}" if "share of torch.mm" in found else "",
        )
        for name, found in metrics.items()
    ]
    voxels = [f"{found['voxels']} in *{name}*" for name, found in metrics.items() if "voxels" in found]
    grown = "; ".join(f"{value:.1f} {' at '.join(name.split(', ')[::-1])}" for name, value in growth.items())
    head = (
        "forward and backward",
        "ours",
        "time to autograd's (target 0.60)",
        "to MinkowskiEngine's (aim 0.50)",
        "memory to autograd's (target 0.30)",
        "resident",
        "share of torch.mm",
    )
    about = (
        f"\n{report['protocol'].capitalize()}. Voxels: {', '.join(voxels)}. *autograd* does the same operations and "
        f"leaves the backward pass to PyTorch; torch.mm does {rate:.0f} GFLOP/s. Kernel map, forward and backward of "
        f"growing indoor clouds: {grown}.\n"
    )
    title = f"{report['task']} (`docs/reports/sparse.json`)"
    return _table(title, head, rows) + about + _machine(report)


def _pretraining(report: dict) -> str:
    names = (
        "scans per second",
        "looking in each step",
        "looking for each sweep",
        "times faster than in each step",
        "times faster than for each sweep",
        "seconds per photo, once",
    )
    rows = [(clip, *(f"{found[name]:.2f}" for name in names)) for clip, found in report["metrics"].items()]
    head = (
        "scans per second",
        "features of photos kept",
        "CLIP looks in each step",
        "CLIP looks for each sweep, as published",
        "times faster than in each step",
        "times faster than as published (target 5)",
        "seconds to compute a photo's features, once",
    )
    about = f"\n{report['protocol'].capitalize()}.\n"
    return (
        _table(f"{report['task']} (`docs/reports/pretraining.json`)", head, rows) + about + _machine(report)
    )


def _label_free(file: str, report: dict) -> str:
    """A line for each variant on each kind of world, whatever was measured of it; then one for each difference."""
    metrics = report["metrics"]
    differences = {name: found for name, found in metrics.items() if ", less " in name}
    others = {name: found for name, found in metrics.items() if name not in differences}
    parts = [f"## {report['task']} (`docs/reports/{file}.json`)\n"]
    parts.append(_of_runs(f"{report['split']}; {report['protocol']}", others))
    if differences:
        parts.append(_of_runs("the same seeds beside each other", differences))
    return "\n".join(parts) + _machine(report)


def _of_runs(first: str, metrics: dict[str, dict[str, float]]) -> str:
    """Where runs differ, the least and the most of them stand beside the mean."""
    columns = dict.fromkeys(name for found in metrics.values() for name in found)
    columns = [name for name in columns if not name.endswith((_LEAST, _MOST))]
    columns.sort(key=lambda name: name == "runs")
    head = (first, *(column.replace("_", " ") for column in columns))
    return table(
        head, [(name, *(_with_spread(found, c) for c in columns)) for name, found in metrics.items()]
    )


def _with_spread(found: dict[str, float], column: str) -> str:
    if column not in found:
        return ""
    least, most = (_figure(found.get(column + end, found[column])) for end in (_LEAST, _MOST))
    return _figure(found[column]) + (f" ({least} to {most})" if least != most else "")


def _seeds(report: dict) -> str:
    """Means, and a line for each seed."""
    metrics = report["metrics"]
    seeds = {name: found for name, found in metrics.items() if isinstance(found, dict)}
    columns = list(next(iter(seeds.values())))
    means = {name: metrics[name] for name in columns}
    rows = [
        (name, *(_figure(found[column]) for column in columns))
        for name, found in {"mean": means, **seeds}.items()
    ]
    head = (f"{report['split']}; {report['protocol']}", *(column.replace("_", " ") for column in columns))
    return _table(f"{report['task']} (`docs/reports/pandaset.json`)", head, rows) + _machine(report)


def _figure(value: float) -> str:
    return f"{value}" if isinstance(value, int) else f"{value:.3f}"


def _machine(report: dict) -> str:
    return "\nMachine: " + ", ".join(f"{name} {value}" for name, value in report["hardware"].items()) + ".\n"


def _table(title: str, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return f"## {title}\n\n" + table(head, rows)


if __name__ == "__main__":
    readme = DOCS.parent / "README.md"
    readme.write_text(with_tables(readme.read_text(), DOCS / "reports"))
    (DOCS / "results.md").write_text(results(DOCS / "reports"))
