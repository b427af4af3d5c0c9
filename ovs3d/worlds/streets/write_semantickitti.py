"""Street worlds in SemanticKITTI's format: scans, labels, photos of the left colour camera, calibration and poses."""

from pathlib import Path

import numpy as np
from PIL import Image

from ovs3d.worlds.lidar import Returns, sweep
from ovs3d.worlds.streets.kinds import KITTI_OF_KIND
from ovs3d.worlds.streets.rig import SURFACES, Rig, kitti_camera_from_lidar, kitti_projections
from ovs3d.worlds.streets.street import Moment, StreetWorld, photo

_THINGS = (10, 11, 13, 15, 18, 20, 30, 31, 32)
"""Raw ids (standing) of what SemanticKITTI tells apart one by one."""


def write_sequence(folder: Path, world: StreetWorld, rig: Rig, frames: int, interval_s: float) -> None:
    """Write a sequence of scans, one every ``interval_s``; in SemanticKITTI that is each turn of the LiDAR.

    ``velodyne/*.bin`` is float32 x, y, z, remission 0..1 in the LiDAR's frame; ``labels/*.label`` is uint32 with the
    raw class in the lower 16 bits and the thing in the upper ones; ``poses.txt`` holds camera 0 in its first pose.
    """
    for name in ("velodyne", "labels", "image_2"):
        (folder / name).mkdir(parents=True)
    camera = rig.cameras[0]
    camera_from_lidar = kitti_camera_from_lidar()
    poses = []
    for frame in range(frames):
        time_s = frame * interval_s
        moment, world_from_ego = world.at(time_s), world.world_from_ego(time_s)
        world_from_lidar = world_from_ego @ rig.ego_from_lidar
        rng = np.random.default_rng((world.seed, 5, frame))
        returns = sweep(rig.lidar, SURFACES, moment.scene, world_from_lidar, rng)
        points = np.column_stack([returns.xyz, returns.intensity]).astype(np.float32)
        (folder / "velodyne" / f"{frame:06d}.bin").write_bytes(points.tobytes())
        (folder / "labels" / f"{frame:06d}.label").write_bytes(_labels(world, moment, returns).tobytes())
        rgb = photo(moment, camera.at(world_from_ego))
        Image.fromarray(rgb).save(folder / "image_2" / f"{frame:06d}.png")
        poses.append(world_from_lidar @ np.linalg.inv(camera_from_lidar))
    rows = [_numbers(np.linalg.inv(poses[0]) @ pose) for pose in poses]
    (folder / "poses.txt").write_text("".join(f"{row}\n" for row in rows))
    times = [f"{frame * interval_s:e}\n" for frame in range(frames)]
    (folder / "times.txt").write_text("".join(times))
    projections = [
        f"P{index}: {_numbers(each)}\n" for index, each in enumerate(kitti_projections(camera.width))
    ]
    (folder / "calib.txt").write_text("".join(projections) + f"Tr: {_numbers(camera_from_lidar)}\n")


def _labels(world: StreetWorld, moment: Moment, returns: Returns) -> np.ndarray:
    """Raw classes, moving or standing, and which thing it is, counted from 1."""
    owner = np.where(returns.parts >= 0, moment.thing_of_part[returns.parts], -1)
    moves = np.array([*(thing.moves for thing in world.things), False])[owner].astype(np.int64)
    raw = KITTI_OF_KIND[returns.classes, moves]
    countable = np.isin(KITTI_OF_KIND[returns.classes, 0], _THINGS) & (owner >= 0)
    return (raw | np.where(countable, owner + 1, 0).astype(np.uint32) << 16).astype(np.uint32)


def _numbers(matrix: np.ndarray) -> str:
    """The upper three rows of a matrix in one line."""
    return " ".join(f"{value:.12e}" for value in matrix[:3].reshape(-1))
