"""A data set that is written in milliseconds: a flat floor and boxes on it, told apart by height and intensity.

A camera looks down from above if photos are asked for, and sees boxes in other colours than the floor.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from ovs3d.images import write_png
from pointcloud.frame import Frame
from pointcloud.index_command import Index
from pointcloud.samples import Samples

CLASSES = ("floor", "box")
WIDTH, HEIGHT, FOCAL_PX, CAMERA_M = 128, 96, 96.0, 8.0
COLORS = {0: (40, 120, 60), 40: (220, 220, 210), 50: (200, 30, 30)}


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


def pixels_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column at which the camera sees points."""
    depth = CAMERA_M - points[:, 2]
    return HEIGHT / 2 - FOCAL_PX * points[:, 1] / depth, WIDTH / 2 + FOCAL_PX * points[:, 0] / depth


def tiny_photo(points: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What the camera sees: each point a spot of its class's colour, the highest on top."""
    photo = np.full((HEIGHT, WIDTH, 3), COLORS[40], np.uint8)
    row, col = pixels_of(points)
    for i in np.argsort(points[:, 2]):
        top, left = max(0, int(row[i]) - 2), max(0, int(col[i]) - 2)
        photo[top : int(row[i]) + 3, left : int(col[i]) + 3] = COLORS[int(labels[i])]
    return photo


def write_tiny(root: Path, train: int = 4, val: int = 2, photos: bool = False, sweeps: bool = False) -> Path:
    """Write the data set and its index; returns the index. The scan of the next number is an earlier sweep."""
    root.mkdir(parents=True, exist_ok=True)
    scans = {}
    for i in range(train + val):
        points, labels = tiny_scan(i)
        points.tofile(root / f"{i}.bin")
        np.save(root / f"{i}_labels.npy", labels)
        split = "train" if i < train else "val"
        scans[f"{i}.bin"] = {"labels": f"{i}_labels.npy", "scene": f"scene{i}", "split": split}
        if photos:
            write_png(root / f"{i}.png", tiny_photo(points, labels))
            scans[f"{i}.bin"]["photos"] = [
                {
                    "path": f"{i}.png",
                    "size": [HEIGHT, WIDTH],
                    "intrinsics": [[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]],
                    "world_from_camera": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, CAMERA_M], [0, 0, 0, 1]],
                }
            ]
        if sweeps:
            scans[f"{i}.bin"]["sweeps"] = [f"{(i + 1) % (train + val)}.bin"]
    label_map = {"0": 255, "40": 0, "50": 1}
    content = {"classes": CLASSES, "label_map": label_map, "format": "bin4", "scans": scans}
    (root / "cameras.json").write_text(json.dumps(content))
    Index("folder", root).run()
    return root / ".ovs3d" / "index.jsonl"


def write_unlabelled(root: Path) -> Path:
    """The same with photos, sweeps, the mini weights, and label files that cannot be read: nothing may open them."""
    path = write_tiny(root, photos=True, sweeps=True)
    (root / "ovs3d.yaml").write_text("weights: mini\n")
    for labels in root.glob("*_labels.npy"):
        labels.write_bytes(b"not labels")
    return path


class NoPhotos(Samples):
    """Scans that no camera saw."""

    def frame(self, item: int) -> Frame:
        return replace(super().frame(item), photos=())
