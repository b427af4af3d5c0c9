"""Any folder of point files (``.bin .npy .npz .ply .pcd``), with photos where ``cameras.json`` says so.

Without that file every point file, also in subfolders, is a frame of split test, at the origin, without photos and
labels; its scene is its folder. Formats are those of ``pointcloud.scans``: ``.bin`` holds 4 columns of float32 (as
KITTI's), ``.pcd.bin`` 5 (as nuScenes'). In ``cameras.json`` every entry but those marked * may be left out::

    {
      "classes": ["car", "road"],               names; a class id is the position in the list
      "label_map": {"13": 0, "7": 1, "4": 255}, class id of each raw id in label files; 255: ignored
      "split": "train",                         of scans that name none: train, val or test (default)
      "format": "bin5",                         of scans that name none: bin3, bin4, bin5, ...
      "intensity_max": 255,                     what the strongest return is in the files
      "scans": {                                only these are used; default: all files, as above
        "drive/000010.bin": {                   paths are relative to the folder of cameras.json
          "format": "bin4",
          "scene": "drive", "split": "val",     frames of one scene see the same place
          "time_s": 12.5,                       seconds of any clock, the photos' too
          "world_from_scan": [[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
          "labels": "drive/000010.label",       .bin (a byte each), .label, .npy, .npz, .ply, .pcd
          "sweeps": ["drive/000009.bin"],       earlier scans of this file, the latest first
          "photos": [{
            "path": "drive/front/000010.jpg",   *
            "name": "front",                    unique within the scan; default: the path
            "size": [900, 1600],                * height, width
            "intrinsics": [[1266, 0, 816], [0, 1266, 491], [0, 0, 1]],
                                                * pixels; the principal point counts from the image's corner
            "camera_from_scan": [[...], ...],   * or world_from_camera; camera: x right, y down, z ahead; metres
            "time_s": 12.48,                    default: the scan's
            "distortion": [0.1, -0.05, 0, 0],   OpenCV's k1, k2, p1, p2, k3, k4; default: none
            "depth": {"path": "...", "intrinsics": [...], "unit_m": 0.001},
            "labels": "drive/front/000010.png"  class ids, 255 where there is none
          }]
        }
      }
    }
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ovs3d.errors import InputError
from ovs3d.geometry import Camera
from pointcloud.datasets import Say, expect_one_version
from pointcloud.datasets.folder_json import Entry, inside, read_entry
from pointcloud.frame import DepthFile, Frame, Photo, ScanFile
from pointcloud.index import IGNORE, DataSet
from pointcloud.scans import FORMATS

CAMERAS = "cameras.json"
_SUFFIXES = (".bin", ".npy", ".npz", ".ply", ".pcd")
_SPLITS = ("train", "val", "test")
_TOP = ("classes", "label_map", "split", "format", "intensity_max", "scans")
_SCAN = ("format", "scene", "split", "time_s", "world_from_scan", "labels", "sweeps", "photos")
_POSES = ("world_from_camera", "camera_from_scan")
_PHOTO = ("path", "name", "size", "intrinsics", *_POSES, "time_s", "distortion", "depth", "labels")


def open_dataset(root: Path, version: str = "") -> DataSet:
    """Classes and label map of ``cameras.json``; without it there are none.

    Raises:
        InputError: a version was named, no such folder, or ``cameras.json`` is wrong at its top level.
    """
    expect_one_version("folder", version)
    top = _top(root)
    classes = tuple(top.texts("classes"))
    if len(set(classes)) < len(classes) or len(classes) > IGNORE:
        raise top.mistake("classes", f"up to {IGNORE} names, none twice")
    return DataSet("folder", root, classes, _label_map(top, len(classes)))


def _top(root: Path) -> Entry:
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder of point files, found none")
    path = root / CAMERAS
    return read_entry(path).only(*_TOP) if path.exists() else Entry({}, str(path))


def _label_map(top: Entry, k: int) -> dict[int, int]:
    what = f"raw ids in quotes with class ids 0 to {k - 1} or {IGNORE}"
    label_map = top.get("label_map", dict, what, {})
    try:
        by_raw = {int(raw): class_id for raw, class_id in label_map.items()}
    except ValueError:
        raise top.mistake("label_map", what) from None
    if not all(type(each) is int and (0 <= each < k or each == IGNORE) for each in by_raw.values()):
        raise top.mistake("label_map", what)
    return by_raw


def frames(root: Path, version: str, say: Say) -> Iterator[Frame]:
    """Every scan that ``cameras.json`` lists, else every point file, sorted.

    What is wrong within a scan or a photo of ``cameras.json`` is said, and that scan or photo is left out.

    Raises:
        InputError: as ``open_dataset``, or there is no point file.
    """
    expect_one_version("folder", version)
    top = _top(root)
    folder = _Folder(
        root,
        top.text("split", "test", _SPLITS),
        top.text("format", None, tuple(FORMATS)),
        top.number("intensity_max", None, positive=True),
        say,
    )
    entries = folder.scan_entries(top)
    files = {relative: folder.scan_file(relative, entry) for relative, entry in entries.items()}
    usable = {relative: file for relative, file in files.items() if file is not None}
    names = _names(list(usable))
    for relative, file in usable.items():
        frame = folder.frame(names[relative], entries[relative], file, usable)
        if frame is not None:
            yield frame


def _names(paths: list[str]) -> dict[str, str]:
    """Names for frames: paths without suffix, where that is enough to tell them apart."""
    plain = {path: str(PurePosixPath(path).with_suffix("")) for path in paths}
    times = Counter(plain.values())
    return {path: (path if times[name] > 1 else name).replace("/", "__") for path, name in plain.items()}


@dataclass(frozen=True)
class _Folder:
    """Reads entries of one folder; what is wrong is said, and None returned."""

    root: Path
    split: str
    format: str | None
    intensity_max: float | None
    say: Say

    def scan_entries(self, top: Entry) -> dict[str, Entry]:
        """What ``cameras.json`` says of each scan, by its path."""
        listed = top.child("scans")
        if listed is None:
            found = {path: Entry({}, f"{self.root / path}") for path in _point_files(self.root)}
        else:
            found = {path: listed.entry(path) for path in listed.value}
        if not found:
            raise InputError(f"{self.root}: expected point files ({', '.join(_SUFFIXES)}), found none")
        return found

    def scan_file(self, relative: str, entry: Entry) -> ScanFile | None:
        try:
            entry.only(*_SCAN)
            return ScanFile(
                path=inside(self.root, relative, entry.where),
                format=entry.text("format", self.format or _format_of(relative), tuple(FORMATS)),
                world_from_scan=entry.pose("world_from_scan")
                if "world_from_scan" in entry.value
                else np.eye(4),
                time_s=entry.number("time_s", 0.0),
                labels=entry.path("labels", self.root, None),
                intensity_max=self.intensity_max,
            )
        except InputError as error:
            self.say(f"{error}; the scan is left out")
            return None

    def frame(self, name: str, entry: Entry, file: ScanFile, others: Mapping[str, ScanFile]) -> Frame | None:
        try:
            earlier = entry.texts("sweeps")
            unknown = [path for path in earlier if path not in others]
            if unknown:
                raise entry.mistake(
                    "sweeps", f"scans of this file, but {unknown[0]!r} is none that can be used"
                )
            above = file.path.relative_to(self.root).parent.as_posix()
            found = [self.photo(each, file) for each in entry.children("photos")]
            photos = tuple(photo for photo in found if photo is not None)
            if len({photo.name for photo in photos}) < len(photos):
                raise InputError(f"{entry.where}.photos: expected names that differ, found one twice")
            return Frame(
                name=name,
                scene=entry.text("scene", self.root.resolve().name if above == "." else above),
                split=entry.text("split", self.split, _SPLITS),
                scan=file,
                sweeps=tuple(replace(others[path], labels=None) for path in earlier),
                photos=photos,
            )
        except InputError as error:
            self.say(f"{error}; the scan is left out")
            return None

    def photo(self, entry: Entry, scan: ScanFile) -> Photo | None:
        try:
            entry.only(*_PHOTO)
            path = entry.path("path", self.root)
            distortion = entry.numbers("distortion", "up to 6 numbers", [])
            if distortion.ndim != 1 or len(distortion) > 6:
                raise entry.mistake("distortion", "up to 6 numbers")
            return Photo(
                name=entry.text("name", entry.value["path"]),
                path=path,
                camera=Camera(
                    entry.intrinsics("intrinsics"), _world_from_camera(entry, scan), *entry.size("size")
                ),
                time_s=entry.number("time_s", scan.time_s),
                depth=self.depth(entry),
                labels=entry.path("labels", self.root, None),
                distortion=tuple(distortion.tolist()),
            )
        except InputError as error:
            self.say(f"{error}; the photo is left out")
            return None

    def depth(self, entry: Entry) -> DepthFile | None:
        depth = entry.child("depth")
        if depth is None:
            return None
        depth.only("path", "intrinsics", "unit_m")
        unit_m = depth.number("unit_m", 1e-3, positive=True)
        return DepthFile(depth.path("path", self.root), depth.intrinsics("intrinsics"), unit_m)


def _point_files(root: Path) -> list[str]:
    paths = sorted(path.relative_to(root) for path in root.rglob("*") if path.suffix in _SUFFIXES)
    return [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]


def _format_of(relative: str) -> str:
    if relative.endswith(".pcd.bin"):
        return "bin5"
    return "bin4" if relative.endswith(".bin") else PurePosixPath(relative).suffix[1:]


def _world_from_camera(entry: Entry, scan: ScanFile) -> np.ndarray:
    given = [key for key in _POSES if key in entry.value]
    if len(given) != 1:
        raise InputError(f"{entry.where}: expected either {' or '.join(_POSES)}, found {len(given)} of them")
    pose = entry.pose(given[0])
    return pose if given[0] == "world_from_camera" else scan.world_from_scan @ np.linalg.inv(pose)
