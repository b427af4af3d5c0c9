"""The index of a data set: one file that names every frame with its photos, poses and labels.

It is JSON by lines. The first says what data set it is and lists the frames; each following one holds a frame, so
that a frame is read without the others. Paths are relative to the data set's root.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ovs3d.atomic import atomic_file
from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from pointcloud.frame import DepthFile, Frame, Photo, ScanFile

_KIND, _VERSION = "ovs3d points index", 1
IGNORE = 255
"""Class id of what is not annotated, or belongs to no class."""


@dataclass(frozen=True, eq=False)
class DataSet:
    """What all frames of a data set share."""

    name: str
    """``nuscenes``, ``scannet``, ...: a key of ``pointcloud.datasets``."""
    root: Path
    """Folder that paths are relative to."""
    classes: tuple[str, ...]
    """Names; class ids are positions."""
    label_map: Mapping[int, int]
    """Class id (255: ignore) of each raw id that label files may hold."""


@dataclass(frozen=True, eq=False)
class Index:
    """A data set whose frames are read one at a time."""

    dataset: DataSet
    names: tuple[str, ...]
    """Of the frames."""
    scenes: tuple[str, ...]
    """Scene of each frame."""
    splits: tuple[str, ...]
    """Split of each frame."""
    lines: tuple[bytes, ...]
    """Each frame, as JSON."""

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, position: int) -> Frame:
        return _frame(json.loads(self.lines[position]), self.dataset.root)

    def select(
        self, split: str, percent: float = 100.0, by: Literal["scene", "frame"] = "scene", first: int = 0
    ) -> list[int]:
        """Positions of the frames of a split, or of a share of them.

        Args:
            percent: of the scenes or of the frames; every (100 / percent)-th in the order of the index.
            by: what is counted. SLidR takes a share of nuScenes' scenes; CLIP2Scene a share of its frames, which come
                from all scenes then: the two are not comparable.
            first: number of the scene or frame that the share begins with; below 100 / percent.

        Raises:
            InputError: no frame of this split, a share that is not 100 / k, or none there.
        """
        chosen = [position for position, each in enumerate(self.splits) if each == split]
        if not chosen:
            there = ", ".join(dict.fromkeys(self.splits)) or "none"
            raise InputError(
                f"no frames of split {split!r} in the index of {self.dataset.root}; there: {there}; name one of these, "
                "or index the data set again"
            )
        step = round(100 / percent) if percent > 0 else 0
        if step < 1 or abs(step * percent - 100) > 0.5:
            raise InputError(
                f"a share of {percent} % is not one in a whole number; use 100, 50, 25, 10, 5 or 1"
            )
        units = chosen if by == "frame" else list(dict.fromkeys(self.scenes[each] for each in chosen))
        if not 0 <= first < min(step, len(units)):
            raise InputError(
                f"a share of {percent:g} % of {len(units)} {by}s begins with number 0 to "
                f"{min(step, len(units)) - 1}, not {first}"
            )
        shared = set(units[first::step])
        return [each for each in chosen if (each if by == "frame" else self.scenes[each]) in shared]


def write_index(path: Path, dataset: DataSet, frames: Iterable[Frame]) -> int:
    """Write the index of a data set; returns the number of frames.

    Raises:
        InputError: no frame, or two frames of the same name.
    """
    lines, table, seen = [], [], set()
    for frame in frames:
        if frame.name in seen:
            raise InputError(f"{dataset.root}: two frames are called {frame.name!r}")
        seen.add(frame.name)
        lines.append(json.dumps(_entry(frame, dataset.root)))
        table.append([frame.name, frame.scene, frame.split])
    if not lines:
        raise InputError(f"{dataset.root} holds no frame that can be used")
    head = {
        "kind": _KIND,
        "version": _VERSION,
        "dataset": dataset.name,
        "root": str(dataset.root.resolve()),
        "classes": dataset.classes,
        "label_map": {str(raw): class_id for raw, class_id in dataset.label_map.items()},
        "frames": table,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write("".join(f"{line}\n" for line in [json.dumps(head), *lines]).encode())
    return len(lines)


def read_index(path: Path, root: Path | None = None) -> Index:
    """An index that ``write_index`` wrote.

    Args:
        root: where the data set lies now, if it was moved.

    Raises:
        InputError: no such file, not an index, or one that was cut off.
    """
    try:
        content = path.read_bytes()
        first, *lines = content.splitlines()
        head = json.loads(first)
        if head["kind"] != _KIND or head["version"] != _VERSION:
            raise ValueError("of another kind or version")
        if len(lines) != len(head["frames"]) or not content.endswith(b"\n"):
            raise ValueError("cut off")
    except FileNotFoundError:
        raise InputError(f"no index at {path}: make one with ovs3d-points index") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no index that ovs3d-points index wrote ({error}): make it again"
        ) from error
    names, scenes, splits = zip(*head["frames"], strict=True)
    label_map = {int(raw): class_id for raw, class_id in head["label_map"].items()}
    dataset = DataSet(head["dataset"], root or Path(head["root"]), tuple(head["classes"]), label_map)
    if not dataset.root.is_dir():
        raise InputError(
            f"no folder {dataset.root}: if the data set was moved, say with --root where it lies now"
        )
    beside = path.resolve().parent.parent
    if root is None and path.parent.name == ".ovs3d" and beside != dataset.root.resolve():
        print(
            f"the index in {beside} is of the data set in {dataset.root}; --root names another",
            file=sys.stderr,
        )
    return Index(dataset, names, scenes, splits, tuple(lines))


def _entry(frame: Frame, root: Path) -> dict[str, Any]:
    """A frame as JSON, without fields that hold their default."""

    def relative(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(root).as_posix()

    def scan(file: ScanFile) -> dict[str, Any]:
        return {
            "path": relative(file.path),
            "format": file.format,
            "world_from_scan": _rows(file.world_from_scan),
            "time_s": file.time_s,
            "labels": relative(file.labels),
            "intensity_max": file.intensity_max,
        }

    def photo(each: Photo) -> dict[str, Any]:
        depth = each.depth and {
            "path": relative(each.depth.path),
            "intrinsics": _rows(each.depth.intrinsics),
            "unit_m": each.depth.unit_m,
        }
        return {
            "name": each.name,
            "path": relative(each.path),
            "size": [each.camera.height, each.camera.width],
            "intrinsics": _rows(each.camera.intrinsics),
            "world_from_camera": _rows(each.camera.world_from_camera),
            "time_s": each.time_s,
            "depth": depth,
            "labels": relative(each.labels),
            "distortion": list(each.distortion),
        }

    return {
        "name": frame.name,
        "scene": frame.scene,
        "split": frame.split,
        "scan": frame.scan and scan(frame.scan),
        "sweeps": [scan(sweep) for sweep in frame.sweeps],
        "photos": [photo(each) for each in frame.photos],
        "token": frame.token,
    }


def _frame(entry: dict[str, Any], root: Path) -> Frame:
    def there(path: str | None) -> Path | None:
        return None if path is None else root / path

    def scan(each: dict[str, Any]) -> ScanFile:
        pose = np.array(each["world_from_scan"])
        labels = there(each["labels"])
        return ScanFile(
            root / each["path"], each["format"], pose, each["time_s"], labels, each["intensity_max"]
        )

    def photo(each: dict[str, Any]) -> Photo:
        camera = Camera(np.array(each["intrinsics"]), np.array(each["world_from_camera"]), *each["size"])
        depth = each["depth"] and DepthFile(
            root / each["depth"]["path"], np.array(each["depth"]["intrinsics"]), each["depth"]["unit_m"]
        )
        labels, distortion = there(each["labels"]), tuple(each["distortion"])
        return Photo(each["name"], root / each["path"], camera, each["time_s"], depth, labels, distortion)

    return Frame(
        entry["name"],
        entry["scene"],
        entry["split"],
        entry["scan"] and scan(entry["scan"]),
        tuple(map(scan, entry["sweeps"])),
        tuple(map(photo, entry["photos"])),
        entry.get("token", ""),
    )


def _rows(matrix: np.ndarray) -> list[list[float]]:
    return np.asarray(matrix, np.float64).tolist()
