"""Two scenes of few points and six small photos per key frame, in the tables and files of nuScenes."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nuscenes.utils.color_map import get_colormap
from PIL import Image
from pyquaternion import Quaternion

VERSION = "v1.0-mini"
CAMERAS = ("FRONT", "FRONT_RIGHT", "BACK_RIGHT", "BACK", "BACK_LEFT", "FRONT_LEFT")
HEIGHT, WIDTH, FOCAL, N_POINTS = 16, 32, 20.0, 300
START_US, STEP_US = 1_532_402_927_647_951, 50_000
KEY_STEPS = (2, 13)
"""Of 14 sweeps, 50 ms apart: two lie before the first key frame, ten between it and the second."""
_EGO_FROM_CAMERA = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass
class _Tables:
    root: Path
    rng: np.random.Generator
    rows: dict[str, list[dict]] = field(default_factory=dict)

    def add(self, table: str, **values) -> str:
        rows = self.rows.setdefault(table, [])
        rows.append({"token": f"{table}-{len(rows)}", **values})
        return rows[-1]["token"]


def write_tiny_nuscenes(root: Path) -> Path:
    """Scene 0553 is in the mini version's training split, but else in that of validation; 0103 is in that of both."""
    tables = _Tables(root, np.random.default_rng(7))
    for name in (VERSION, f"lidarseg/{VERSION}", "maps", "samples", "sweeps"):
        (root / name).mkdir(parents=True)
    names = list(get_colormap())
    for index in tables.rng.permutation(len(names)):
        tables.add("category", name=names[index], description="", index=int(index))
    Image.new("L", (4, 3)).save(root / "maps" / "map.png")
    log = tables.add("log", logfile="n015", vehicle="n015", date_captured="", location="")
    tables.add("map", category="semantic_prior", filename="maps/map.png", log_tokens=[log])
    sensors = _sensors(tables)
    for number, name in enumerate(("scene-0553", "scene-0103")):
        _scene(tables, name, log, sensors, START_US + 60_000_000 * number)
    for table in ("attribute", "visibility", "instance", "sample_annotation"):
        tables.rows[table] = []
    for table, rows in tables.rows.items():
        (root / VERSION / f"{table}.json").write_text(json.dumps(rows))
    return root


def _sensors(tables: _Tables) -> dict[str, str]:
    """Token of the calibration of each channel."""
    tilted = Quaternion(axis=[0.1, -0.2, 1], degrees=-89)
    poses = {"LIDAR_TOP": ([0.94, 0.1, 1.84], tilted), "RADAR_FRONT": ([3.4, 0, 0.5], Quaternion())}
    for index, name in enumerate(CAMERAS):
        turn = Quaternion(axis=[0, 0, 1], degrees=-60 * index) * Quaternion(axis=[0, 1, 0], degrees=2.5)
        place = np.array([0.9, 0, 1.5]) + turn.rotate([0.8, 0.05, 0])
        poses[f"CAM_{name}"] = (place.tolist(), turn * Quaternion(matrix=_EGO_FROM_CAMERA))
    intrinsics = [[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL + 1, HEIGHT / 2 - 0.5], [0, 0, 1]]
    found = {}
    for channel, (place, turn) in poses.items():
        modality = {"CAM": "camera", "LID": "lidar"}.get(channel[:3], "radar")
        sensor = tables.add("sensor", channel=channel, modality=modality)
        found[channel] = tables.add(
            "calibrated_sensor",
            sensor_token=sensor,
            translation=place,
            rotation=turn.elements.tolist(),
            camera_intrinsic=intrinsics if modality == "camera" else [],
        )
    return found


def _scene(tables: _Tables, name: str, log: str, sensors: dict[str, str], start_us: int) -> None:
    """A car that drives 12 m/s in a bend, far from the origin."""
    scene = tables.add("scene", name=name, description="", log_token=log, nbr_samples=len(KEY_STEPS))
    times = [start_us + step * STEP_US for step in KEY_STEPS]
    samples = [tables.add("sample", scene_token=scene, timestamp=time) for time in times]
    _chain(tables, "sample", samples)
    tables.rows["scene"][-1] |= {"first_sample_token": samples[0], "last_sample_token": samples[-1]}
    lidar = []
    for step in range(KEY_STEPS[-1] + 1):
        sample = samples[int(np.searchsorted(KEY_STEPS, step))]
        time_us, is_key = start_us + step * STEP_US, step in KEY_STEPS
        lidar.append(_data(tables, name, sample, "LIDAR_TOP", sensors, time_us, start_us, is_key))
        if is_key:
            for index, camera in enumerate(CAMERAS):
                late_us = time_us - 40_000 + 12_000 * index
                _data(tables, name, sample, f"CAM_{camera}", sensors, late_us, start_us, True)
        _data(tables, name, sample, "RADAR_FRONT", sensors, time_us, start_us, is_key)
    _chain(tables, "sample_data", lidar)


def _data(
    tables: _Tables,
    scene: str,
    sample: str,
    channel: str,
    sensors: dict[str, str],
    time_us: int,
    start_us: int,
    is_key: bool,
) -> str:
    elapsed = (time_us - start_us) * 1e-6
    heading = Quaternion(axis=[0, 0, 1], radians=0.7 + 0.5 * elapsed)
    place = np.array([411.3, 1180.9, 0]) + 12 * elapsed * np.array([0.8, 0.6, 0])
    pose = tables.add(
        "ego_pose", timestamp=time_us, rotation=heading.elements.tolist(), translation=place.tolist()
    )
    suffix = {"CAM": "png", "LID": "pcd.bin"}.get(channel[:3], "pcd")
    file = Path("samples" if is_key else "sweeps") / channel / f"{scene}__{channel}__{time_us}.{suffix}"
    is_photo = suffix == "png"
    token = tables.add(
        "sample_data",
        sample_token=sample,
        ego_pose_token=pose,
        calibrated_sensor_token=sensors[channel],
        filename=file.as_posix(),
        fileformat=suffix.split(".")[0],
        width=WIDTH if is_photo else 0,
        height=HEIGHT if is_photo else 0,
        timestamp=time_us,
        is_key_frame=is_key,
        prev="",
        next="",
    )
    (tables.root / file).parent.mkdir(exist_ok=True)
    if is_photo:
        photo = tables.rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(photo).save(tables.root / file)
    elif channel == "LIDAR_TOP":
        _points(tables.rng).tofile(tables.root / file)
        if is_key:
            filename = f"lidarseg/{VERSION}/{token}_lidarseg.bin"
            tables.rng.integers(0, 32, N_POINTS, np.uint8).tofile(tables.root / filename)
            tables.add("lidarseg", sample_data_token=token, filename=filename)
    return token


def _points(rng: np.random.Generator) -> np.ndarray:
    angle, reach = rng.uniform(0, 2 * np.pi, N_POINTS), rng.uniform(0.3, 25, N_POINTS)
    columns = reach * np.cos(angle), reach * np.sin(angle), rng.uniform(-1.8, 2, N_POINTS)
    rest = rng.integers(0, 256, N_POINTS), rng.integers(0, 32, N_POINTS)
    return np.stack([*columns, *rest], axis=1).astype(np.float32)


def _chain(tables: _Tables, table: str, tokens: list[str]) -> None:
    rows = {row["token"]: row for row in tables.rows[table]}
    for token, before, after in zip(tokens, ["", *tokens[:-1]], [*tokens[1:], ""], strict=True):
        rows[token] |= {"prev": before, "next": after}
