"""Street worlds in SemanticKITTI's format: scans, labels, photos of the left colour camera, calibration and poses."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt32
from PIL import Image

from ovs3d.worlds.lidar import Returns, sweep
from ovs3d.worlds.streets.kinds import KITTI_OF_KIND
from ovs3d.worlds.streets.rig import SURFACES, Rig, kitti_camera_from_lidar, kitti_projections
from ovs3d.worlds.streets.street import Moment, StreetWorld, photo

_THINGS = (10, 11, 13, 15, 18, 20, 30, 31, 32)
"""Raw ids (standing) of what SemanticKITTI tells apart one by one."""


_APART_M = 500.0
"""From the last pose in a street to the first one in the next: no scan sees the street before."""


def write_sequence(
    folder: Path, streets: Iterable[StreetWorld], rig: Rig, frames: int, interval_s: float
) -> None:
    """Write one drive through streets: ``frames`` scans of each, one every ``interval_s`` (a turn of the LiDAR).

    ``velodyne/*.bin`` is float32 x, y, z, remission 0..1 in the LiDAR's frame; ``labels/*.label`` is uint32 with the
    raw class in the lower 16 bits and the thing in the upper ones; ``poses.txt`` holds camera 0 in its first pose.
    """
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True)
    camera = rig.cameras[0]
    lidar_from_camera = np.linalg.inv(kitti_camera_from_lidar())
    poses: list[Float[np.ndarray, "4 4"]] = []
    things = 0
    for world in streets:
        start = _ahead(poses[-1]) if poses else np.eye(4)
        first = world.world_from_ego(0.0) @ rig.ego_from_lidar @ lidar_from_camera
        drive_from_world = start @ np.linalg.inv(first)
        for frame in range(frames):
            time_s = frame * interval_s
            moment, world_from_ego = world.at(time_s), world.world_from_ego(time_s)
            world_from_lidar = world_from_ego @ rig.ego_from_lidar
            rng = np.random.default_rng((world.seed, 5, frame))
            returns = sweep(rig.lidar, SURFACES, moment.scene, world_from_lidar, rng)
            points = np.column_stack([returns.xyz, returns.intensity]).astype(np.float32)
            name = f"{len(poses):06d}"
            (folder / "velodyne" / f"{name}.bin").write_bytes(points.tobytes())
            (folder / "labels" / f"{name}.label").write_bytes(
                _labels(world, moment, returns, things).tobytes()
            )
            rgb = photo(moment, camera.at(world_from_ego))
            Image.fromarray(rgb).save(folder / "image_2" / f"{name}.png")
            poses.append(drive_from_world @ world_from_lidar @ lidar_from_camera)
        things += len(world.things)
    (folder / "poses.txt").write_text("".join(f"{_numbers(pose)}\n" for pose in poses))
    times = [f"{scan * interval_s:e}\n" for scan in range(len(poses))]
    (folder / "times.txt").write_text("".join(times))
    projections = [
        f"P{index}: {_numbers(each)}\n" for index, each in enumerate(kitti_projections(camera.width))
    ]
    (folder / "calib.txt").write_text("".join(projections) + f"Tr: {_numbers(kitti_camera_from_lidar())}\n")


def _ahead(pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The pose of a camera further along its view."""
    moved = np.eye(4)
    moved[2, 3] = _APART_M
    return pose @ moved


def _labels(world: StreetWorld, moment: Moment, returns: Returns, things: int) -> UInt32[np.ndarray, " n"]:
    """Raw classes, moving or standing, and which thing it is, counted from 1 after the ``things`` of streets before."""
    owner = np.where(returns.parts >= 0, moment.thing_of_part[returns.parts], -1)
    moves = np.array([*(thing.moves for thing in world.things), False])[owner].astype(np.int64)
    raw = KITTI_OF_KIND[returns.classes, moves]
    countable = np.isin(KITTI_OF_KIND[returns.classes, 0], _THINGS) & (owner >= 0)
    return (raw | np.where(countable, things + owner + 1, 0).astype(np.uint32) << 16).astype(np.uint32)


def _numbers(matrix: np.ndarray) -> str:
    """The upper three rows of a matrix in one line."""
    return " ".join(f"{value:.12e}" for value in matrix[:3].reshape(-1))
