"""nuScenes with the labels of nuScenes-lidarseg: key frames of a LiDAR with 32 beams, earlier sweeps, six photos.

Caesar et al. 2020, Fong et al. 2022. Files: ``<version>/*.json``, ``samples/``, ``sweeps/``, ``lidarseg/<version>/``.
The world is the global frame of the log's map. Times are seconds since the scene's first sample, because microseconds
since 1970 leave little of a float's precision; a negative one is before it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ovs3d.errors import InputError
from ovs3d.prompts.vocabulary import builtin_vocabulary
from ovs3d.require import require
from pointcloud.datasets import Say
from pointcloud.datasets.devkit_tables import (
    Record,
    Table,
    category_ids,
    file_problem,
    photo_camera,
    target_from_source,
    version_folder,
)
from pointcloud.frame import Frame, Photo, ScanFile
from pointcloud.index import DataSet

LIDAR = "LIDAR_TOP"
CAMERAS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
MAX_SWEEPS = 9
"""Earlier sweeps of a frame: with the key frame itself, half a second."""
_POINT_BYTES = 20


@dataclass(frozen=True, eq=False)
class _Tables:
    root: Path
    data: Table
    calibrated: Table
    ego: Table
    by_sample: Mapping[str, Mapping[str, Record]]
    """Key records of ``sample_data``, by sample and channel."""
    labels: Mapping[str, Path]
    """Label file of each labelled key frame, by its record in ``sample_data``."""


def open_dataset(root: Path, version: str) -> DataSet:
    """Classes of the lidarseg challenge, and how the 32 raw ids become them.

    Raises:
        InputError: no such version, or categories without raw ids although there are labels.
    """
    folder, classes = version_folder(root, version), builtin_vocabulary("nuscenes16").names
    if not (folder / "lidarseg.json").exists():
        return DataSet("nuscenes", root, classes, {})
    path = folder / "category.json"
    try:
        categories = Table(path, ("name", "index")).records
    except InputError as error:
        raise InputError(f"{error}; where there are labels, take that of nuScenes-lidarseg") from error
    ids = category_ids([each["name"] for each in categories.values()], classes, path)
    raw_ids = (each["index"] for each in categories.values())
    return DataSet("nuscenes", root, classes, dict(zip(raw_ids, ids, strict=True)))


def frames(root: Path, version: str, say: Say) -> Iterator[Frame]:
    """Key frames of all scenes of an official split, ordered by scene and time.

    A frame whose points or labels are missing or broken is left out, as is a single sweep or photo.

    Args:
        say: told what was left out.

    Raises:
        InputError: no such version, or tables that do not fit together.
    """
    folder = version_folder(root, version)
    tables = _read(root, folder)
    if not tables.labels:
        say(f"{folder} has no lidarseg.json: frames have no labels")
    samples: dict[str, list[Record]] = {}
    for sample in Table(folder / "sample.json", ("timestamp", "scene_token")).records.values():
        samples.setdefault(sample["scene_token"], []).append(sample)
    splits = _splits(version)
    for token, scene in Table(folder / "scene.json", ("name",)).records.items():
        if scene["name"] not in splits:
            say(f"{scene['name']} is in no official split of {version}: left out")
            continue
        in_order = sorted(samples.get(token, []), key=lambda sample: sample["timestamp"])
        for position, sample in enumerate(in_order):
            name = f"{scene['name']}_{position:04d}"
            found = _frame(tables, sample, in_order[0]["timestamp"], say)
            if found is not None:
                yield Frame(name, scene["name"], splits[scene["name"]], *found)


def _read(root: Path, folder: Path) -> _Tables:
    channel_of = {
        token: sensor["channel"]
        for token, sensor in Table(folder / "sensor.json", ("channel",)).records.items()
    }
    calibrated = Table(
        folder / "calibrated_sensor.json",
        ("sensor_token", "translation", "rotation", "camera_intrinsic"),
    )
    channels = {token: channel_of.get(each["sensor_token"], "") for token, each in calibrated.records.items()}

    def is_used(record: Record) -> bool:
        channel = channels.get(record["calibrated_sensor_token"], "")
        return channel == LIDAR or (record["is_key_frame"] and channel in CAMERAS)

    fields = ("sample_token", "ego_pose_token", "calibrated_sensor_token", "filename")
    fields += ("width", "height", "timestamp", "is_key_frame", "prev")
    data = Table(folder / "sample_data.json", fields, is_used)
    poses = {record["ego_pose_token"] for record in data.records.values()}
    ego = Table(folder / "ego_pose.json", ("translation", "rotation"), lambda each: each["token"] in poses)
    by_sample: dict[str, dict[str, Record]] = {}
    for record in data.records.values():
        if record["is_key_frame"]:
            channel = channels[record["calibrated_sensor_token"]]
            by_sample.setdefault(record["sample_token"], {})[channel] = record
    return _Tables(root, data, calibrated, ego, by_sample, _label_files(root, folder))


def _label_files(root: Path, folder: Path) -> dict[str, Path]:
    path = folder / "lidarseg.json"
    if not path.exists():
        return {}
    records = Table(path, ("sample_data_token", "filename")).records.values()
    return {record["sample_data_token"]: root / record["filename"] for record in records}


def _splits(version: str) -> dict[str, str]:
    """Split of each scene, by its name; the mini version trains on two scenes that the full one validates on."""
    official = require("nuscenes.utils.splits", "points").create_splits_scenes()
    prefix = "mini_" if version.endswith("mini") else ""
    return {scene: split for split in ("train", "val", "test") for scene in official.get(prefix + split, ())}


def _frame(
    tables: _Tables, sample: Record, start_us: int, say: Say
) -> tuple[ScanFile, tuple[ScanFile, ...], tuple[Photo, ...], str] | None:
    """Scan, sweeps, photos and token of a sample, or None where the scan cannot be used."""
    records = tables.by_sample.get(sample["token"], {})
    if LIDAR not in records:
        say(f"sample {sample['token']} has no {LIDAR}: frame left out")
        return None
    key = records[LIDAR]
    labels = tables.labels.get(key["token"])
    scan = _scan_file(tables, key, start_us, labels)
    problem = file_problem(scan.path, _POINT_BYTES)
    if problem is None and labels is not None:
        problem = _label_problem(labels, scan.path.stat().st_size // _POINT_BYTES)
    if problem is not None:
        say(f"{problem}: frame left out")
        return None
    return scan, _sweeps(tables, key, start_us, say), _photos(tables, records, start_us, say), key["token"]


def _label_problem(path: Path, n_points: int) -> str | None:
    problem = file_problem(path)
    if problem is None and path.stat().st_size != n_points:
        problem = f"{path} is broken: {path.stat().st_size} labels for {n_points} points"
    return problem


def _sweeps(tables: _Tables, key: Record, start_us: int, say: Say) -> tuple[ScanFile, ...]:
    """Up to nine sweeps before a key frame, the latest first; one that cannot be used is skipped."""
    found, record = [], key
    for _ in range(MAX_SWEEPS):
        if not record["prev"]:
            break
        record = tables.data[record["prev"]]
        sweep = _scan_file(tables, record, start_us)
        problem = file_problem(sweep.path, _POINT_BYTES)
        if problem is None:
            found.append(sweep)
        else:
            say(f"{problem}: sweep left out")
    return tuple(found)


def _scan_file(tables: _Tables, record: Record, start_us: int, labels: Path | None = None) -> ScanFile:
    world_from_ego = target_from_source(tables.ego[record["ego_pose_token"]])
    ego_from_scan = target_from_source(tables.calibrated[record["calibrated_sensor_token"]])
    time_s = (record["timestamp"] - start_us) * 1e-6
    path = tables.root / record["filename"]
    return ScanFile(path, "nuscenes", world_from_ego @ ego_from_scan, time_s, labels)


def _photos(tables: _Tables, records: Mapping[str, Record], start_us: int, say: Say) -> tuple[Photo, ...]:
    found = []
    for channel in CAMERAS:
        if channel not in records:
            say(f"sample {records[LIDAR]['sample_token']} has no {channel}: photo left out")
            continue
        record = records[channel]
        path = tables.root / record["filename"]
        problem = file_problem(path)
        if problem is not None:
            say(f"{problem}: photo left out")
            continue
        calibrated = tables.calibrated[record["calibrated_sensor_token"]]
        camera = photo_camera(record, calibrated, tables.ego[record["ego_pose_token"]])
        found.append(Photo(channel, path, camera, (record["timestamp"] - start_us) * 1e-6))
    return tuple(found)
