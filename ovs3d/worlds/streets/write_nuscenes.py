"""Street worlds in nuScenes' format, as the nuScenes devkit reads it: photos, sweeps, labels, boxes and tables.

Fields and file layout: the schema of nuScenes v1.0 and of nuScenes-lidarseg. Tokens are hashes of names, so the same
worlds give the same bytes. Only key frames have photos, and each key frame has sweeps before it, also the first one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from ovs3d.worlds.lidar import Returns, sweep
from ovs3d.worlds.streets.kinds import CATEGORY_OF_KIND
from ovs3d.worlds.streets.layout import Thing
from ovs3d.worlds.streets.rig import SURFACES, Rig
from ovs3d.worlds.streets.street import Moment, StreetWorld, photo
from ovs3d.worlds.streets.tables import TABLES, Row, chain, log_row, pose_fields, token

KEY_S = 0.5
"""Time from one key frame to the next in nuScenes."""
_FIRST_US, _SCENE_US = 1_532_400_000_000_000, 60_000_000


@dataclass(frozen=True, eq=False)
class Drive:
    """What is written of one street."""

    name: str
    """Official, such as ``scene-0061``."""
    world: StreetWorld
    rig: Rig
    frames: int
    """Key frames."""
    sweeps: int
    """Sweeps before each key frame, at most 9."""
    interval_s: float = KEY_S
    """Time from one key frame to the next, at least KEY_S."""

    @property
    def global_from_world(self) -> Float[np.ndarray, "4 4"]:
        """Where the street lies on the map: nuScenes' frames are far from the origin."""
        rng = np.random.default_rng((self.world.seed, 3))
        angle, pose = rng.uniform(0, 2 * np.pi), np.eye(4)
        pose[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        pose[:2, 3] = rng.uniform(300, 1800, 2)
        return pose

    def microseconds(self, time_s: float) -> int:
        """The clock of the log."""
        return _FIRST_US + int(self.name[-4:]) * _SCENE_US + round(time_s * 1e6)


def write_scene(root: Path, version: str, drive: Drive) -> dict[str, list[Row]]:
    """Write the files of a scene; returns its rows of each table."""
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    rows["log"].append(log_row(drive.name, drive.world.seed))
    for channel, pose, intrinsics in _sensors(drive.rig):
        modality = "lidar" if intrinsics is None else "camera"
        rows["sensor"].append({"token": token(channel), "channel": channel, "modality": modality})
        rows["calibrated_sensor"].append(
            {
                "token": token(drive.name, channel),
                "sensor_token": token(channel),
                **pose_fields(pose),
                "camera_intrinsic": intrinsics.tolist() if intrinsics is not None else [],
            }
        )
    seen: dict[int, list[Row]] = {}
    for frame in range(drive.frames):
        _write_frame(root, version, drive, frame, rows, seen)
    for channel in {row["calibrated_sensor_token"]: None for row in rows["sample_data"]}:
        chain([row for row in rows["sample_data"] if row["calibrated_sensor_token"] == channel])
    chain(rows["sample"])
    for index, annotations in sorted(seen.items()):
        chain(annotations)
        rows["sample_annotation"] += annotations
        rows["instance"].append(
            {
                "token": token(drive.name, "thing", index),
                "category_token": token(drive.world.things[index].category),
                "nbr_annotations": len(annotations),
                "first_annotation_token": annotations[0]["token"],
                "last_annotation_token": annotations[-1]["token"],
            }
        )
    rows["scene"].append(
        {
            "token": token(drive.name),
            "log_token": token(drive.name, "log"),
            "nbr_samples": drive.frames,
            "first_sample_token": rows["sample"][0]["token"],
            "last_sample_token": rows["sample"][-1]["token"],
            "name": drive.name,
            "description": f"Procedural street {drive.world.seed}",
        }
    )
    return rows


def _write_frame(
    root: Path, version: str, drive: Drive, frame: int, rows: dict[str, list[Row]], seen: dict[int, list[Row]]
) -> None:
    """A key frame with the sweeps before it, its photos, labels and boxes."""
    world, rig, time_s = drive.world, drive.rig, frame * drive.interval_s
    sample = token(drive.name, "sample", frame)
    rows["sample"].append(
        {
            "token": sample,
            "timestamp": drive.microseconds(time_s),
            "scene_token": token(drive.name),
            "prev": "",
            "next": "",
        }
    )
    for ago in range(drive.sweeps, -1, -1):
        at_s, number = time_s - ago * rig.sweep_s, round(drive.interval_s / rig.sweep_s) * (frame + 1) - ago
        moment, pose = world.at(at_s), world.world_from_ego(at_s) @ rig.ego_from_lidar
        returns = sweep(
            rig.lidar, SURFACES, moment.scene, pose, np.random.default_rng((world.seed, 4, number))
        )
        row = _sample_data(drive, rows, sample, "LIDAR_TOP", at_s, key=ago == 0)
        _write(root / row["filename"], _points(returns))
        if ago == 0:
            name = f"lidarseg/{version}/{row['token']}_lidarseg.bin"
            _write(root / name, CATEGORY_OF_KIND[returns.classes])
            rows["lidarseg"].append(
                {"token": row["token"], "sample_data_token": row["token"], "filename": name}
            )
            for index, each in _annotations(drive, sample, frame, moment, returns):
                seen.setdefault(index, []).append(each)
    for camera in rig.cameras:
        at_s = time_s + camera.delay_s
        row = _sample_data(drive, rows, sample, camera.name, at_s, key=True)
        row |= {"height": camera.height, "width": camera.width}
        path = root / row["filename"]
        path.parent.mkdir(parents=True, exist_ok=True)
        rgb = photo(world.at(at_s), camera.at(world.world_from_ego(at_s)))
        Image.fromarray(rgb).save(path, quality=92)


def _sample_data(
    drive: Drive, rows: dict[str, list[Row]], sample: str, channel: str, time_s: float, key: bool
) -> Row:
    """The row of a file, added to its table with the pose of the vehicle at its time."""
    stamp = drive.microseconds(time_s)
    ending = "pcd.bin" if channel == "LIDAR_TOP" else "jpg"
    row = {
        "token": token(drive.name, channel, stamp),
        "sample_token": sample,
        "ego_pose_token": token(drive.name, channel, stamp),
        "calibrated_sensor_token": token(drive.name, channel),
        "timestamp": stamp,
        "fileformat": ending.split(".")[0],
        "is_key_frame": key,
        "height": 0,
        "width": 0,
        "filename": f"{'samples' if key else 'sweeps'}/{channel}/{drive.name}__{channel}__{stamp}.{ending}",
        "prev": "",
        "next": "",
    }
    pose = drive.global_from_world @ drive.world.world_from_ego(time_s)
    rows["ego_pose"].append({"token": row["ego_pose_token"], "timestamp": stamp, **pose_fields(pose)})
    rows["sample_data"].append(row)
    return row


def _annotations(
    drive: Drive, sample: str, frame: int, moment: Moment, returns: Returns
) -> Iterator[tuple[int, Row]]:
    """A box for each thing that the LiDAR sees and nuScenes boxes."""
    owners = moment.thing_of_part[returns.parts[returns.parts >= 0]]
    counts = np.bincount(owners[owners >= 0], minlength=len(drive.world.things))
    for index in np.flatnonzero(counts).tolist():
        thing = drive.world.things[index]
        if thing.category.split(".")[0] not in ("human", "vehicle", "movable_object"):
            continue
        low, high = thing.model.bounds
        pose = drive.global_from_world @ thing.world_from_thing(frame * drive.interval_s)
        length, width, height = (high - low).tolist()
        pose[:3, 3] += pose[:3, :3] @ ((low + high) / 2)
        yield (
            index,
            {
                "token": token(drive.name, "box", index, frame),
                "sample_token": sample,
                "instance_token": token(drive.name, "thing", index),
                "visibility_token": "",
                "attribute_tokens": [token(name) for name in _attributes(thing)],
                "size": [width, length, height],
                **pose_fields(pose),
                "prev": "",
                "next": "",
                "num_lidar_pts": int(counts[index]),
                "num_radar_pts": 0,
            },
        )


def _attributes(thing: Thing) -> list[str]:
    group, *names = thing.category.split(".")
    if group == "human":
        return ["pedestrian.moving" if thing.moves else "pedestrian.standing"]
    if group != "vehicle":
        return []
    if names[0] in ("bicycle", "motorcycle"):
        return ["cycle.with_rider" if thing.moves else "cycle.without_rider"]
    return ["vehicle.moving" if thing.moves else "vehicle.parked"]


def _sensors(rig: Rig) -> Iterator[tuple[str, np.ndarray, np.ndarray | None]]:
    yield "LIDAR_TOP", rig.ego_from_lidar, None
    for camera in rig.cameras:
        yield camera.name, camera.ego_from_camera, camera.intrinsics


def _points(returns: Returns) -> Float[np.ndarray, "n 5"]:
    """x, y, z, intensity in whole numbers 0..255, ring."""
    intensity = np.round(returns.intensity * 255)
    return np.column_stack([returns.xyz, intensity, returns.ring]).astype(np.float32)


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(array.tobytes())
