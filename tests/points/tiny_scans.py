"""A data set that is written in milliseconds: a flat floor and boxes on it, told apart by height and intensity."""

import json
from pathlib import Path

import numpy as np

from pointcloud.index_command import Index

CLASSES = ("floor", "box")


def tiny_scan(seed: int, n: int = 700) -> tuple[np.ndarray, np.ndarray]:
    """(x, y, z, intensity) and raw labels: 40 is floor, 50 a box, 0 unknown."""
    random = np.random.default_rng(seed)
    xyz = random.uniform((-4, -3, 0), (4, 3, 0.05), (n, 3))
    label = np.full(n, 40)
    for x, y in random.uniform((-3, -2), (3, 2), (3, 2)):
        here = (np.abs(xyz[:, :2] - (x, y)) < 0.6).all(axis=1)
        xyz[here, 2] += random.uniform(0.5, 1.5, here.sum())
        label[here] = 50
    label[:5] = 0
    intensity = np.where(label == 50, 0.8, 0.3) + random.normal(0, 0.05, n)
    return np.column_stack([xyz, intensity.clip(0, 1)]).astype(np.float32), label.astype(np.uint8)


def write_tiny(root: Path, train: int = 4, val: int = 2) -> Path:
    """Write the data set and its index; returns the index."""
    root.mkdir(parents=True, exist_ok=True)
    scans = {}
    for i in range(train + val):
        points, labels = tiny_scan(i)
        points.tofile(root / f"{i}.bin")
        np.save(root / f"{i}_labels.npy", labels)
        split = "train" if i < train else "val"
        scans[f"{i}.bin"] = {"labels": f"{i}_labels.npy", "scene": f"scene{i}", "split": split}
    label_map = {"0": 255, "40": 0, "50": 1}
    content = {"classes": CLASSES, "label_map": label_map, "format": "bin4", "scans": scans}
    (root / "cameras.json").write_text(json.dumps(content))
    Index("folder", root).run()
    return root / ".ovs3d" / "index.jsonl"
