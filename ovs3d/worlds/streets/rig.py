"""The sensors of the ego vehicle, as in nuScenes and in SemanticKITTI.

The ego frame has x forward, y left and z up, on the ground below the rear axle.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ovs3d.geometry import Camera
from ovs3d.worlds.lidar import Lidar, Surfaces
from ovs3d.worlds.streets.kinds import KIND_ID, KINDS

SURFACES = Surfaces(
    np.array([kind.reflectivity for kind in KINDS]),
    np.array([kind.roughness_m for kind in KINDS]),
    stray=KIND_ID["noise"],
    own=KIND_ID["ego vehicle"],
)
"""How the kinds of a street return light."""

_NUSCENES_SIZE = (900, 1600)
_NUSCENES_CAMERAS = (
    # name, focal length, column and row of the centre in pixels, position, yaw and roll in degrees, time in seconds
    ("CAM_FRONT", 1266.0, (816.0, 491.0), (1.70, 0.02, 1.51), 0.0, 0.1, -0.0355),
    ("CAM_FRONT_RIGHT", 1261.0, (808.0, 495.0), (1.55, -0.49, 1.50), -56.4, 0.9, -0.0276),
    ("CAM_BACK_RIGHT", 1259.0, (807.0, 501.0), (1.01, -0.48, 1.56), -110.8, 0.9, -0.0201),
    ("CAM_BACK", 809.0, (829.0, 482.0), (0.03, 0.0, 1.58), 180.0, 1.0, -0.0104),
    ("CAM_BACK_LEFT", 1257.0, (792.0, 493.0), (1.04, 0.48, 1.59), 108.6, 0.5, -0.0005),
    ("CAM_FRONT_LEFT", 1273.0, (827.0, 480.0), (1.52, 0.49, 1.51), 55.2, 0.0, -0.0431),
)
_KITTI_SIZE = (376, 1241)
_KITTI_INTRINSICS = ((718.9, 0.0, 607.2), (0.0, 718.9, 185.2), (0.0, 0.0, 1.0))
_KITTI_SHIFTS_M = ((0.0, 0.0), (-0.537, 0.0), (0.06, -0.0002), (-0.477, 0.003))
_KITTI_LIDAR_M = (0.81, 0.0, 1.73)


@dataclass(frozen=True, eq=False)
class RigCamera:
    """A camera on the vehicle."""

    name: str
    intrinsics: Float[np.ndarray, "3 3"]
    ego_from_camera: Float[np.ndarray, "4 4"]
    height: int
    width: int
    delay_s: float
    """When it takes its photo, after the LiDAR's time; negative: before."""

    def at(self, world_from_ego: Float[np.ndarray, "4 4"]) -> Camera:
        """The camera in the world, with the vehicle's pose at the time of the photo."""
        return Camera(self.intrinsics, world_from_ego @ self.ego_from_camera, self.height, self.width)


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras and a LiDAR on one vehicle."""

    cameras: tuple[RigCamera, ...]
    lidar: Lidar
    ego_from_lidar: Float[np.ndarray, "4 4"]
    sweep_s: float
    """Time of a turn of the LiDAR."""


def nuscenes_rig(width: int, azimuth_steps: int = 1084) -> Rig:
    """Six cameras and 32 beams at 20 Hz; poses, focal lengths and delays are those of a real log, rounded.

    Args:
        width: of the photos in pixels; the rows are 9/16 of it.
    """
    scale, height = width / _NUSCENES_SIZE[1], round(width * _NUSCENES_SIZE[0] / _NUSCENES_SIZE[1])
    cameras = []
    for name, focal, (cx, cy), position, yaw, roll, delay_s in _NUSCENES_CAMERAS:
        intrinsics = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        intrinsics[:2] *= scale
        pose = _turned(position, np.radians(yaw)) @ _roll(np.radians(roll))
        cameras.append(RigCamera(name, intrinsics, pose, height, width, delay_s))
    lidar = Lidar(
        elevations=np.radians(np.linspace(-30.67, 10.67, 32)),
        azimuth_steps=azimuth_steps,
        max_range_m=100.0,
        roof=(-0.5, 0.5, -1.2, 0.62, -0.3),
    )
    mount = np.eye(4)
    yaw, pitch = (
        np.radians(-90.0),
        np.radians(1.4),
    )  # the sensor's x points right, its y forward and a little down
    mount[:3, :3] = _about(2, yaw) @ _about(0, -pitch)
    mount[:3, 3] = 0.94, 0.0, 1.84
    return Rig(tuple(cameras), lidar, mount, 0.05)


def kitti_rig(width: int, azimuth_steps: int = 1850) -> Rig:
    """The left colour camera (image_2) and 64 beams at 10 Hz; figures of KITTI odometry, rounded.

    Args:
        width: of the photos in pixels; the rows are 376/1241 of it.
    """
    height = round(width * _KITTI_SIZE[0] / _KITTI_SIZE[1])
    projection = kitti_projections(width)[2]
    pose = _ego_from_kitti_lidar() @ np.linalg.inv(kitti_camera_from_lidar())
    pose[:3, 3] -= pose[:3, :3] @ np.linalg.solve(projection[:, :3], projection[:, 3])
    camera = RigCamera("image_2", projection[:, :3], pose, height, width, 0.0)
    lower, upper = np.linspace(-24.8, -8.9, 32), np.linspace(-8.5, 2.0, 32)
    lidar = Lidar(np.radians(np.concatenate([lower, upper])), azimuth_steps, max_range_m=80.0)
    return Rig((camera,), lidar, _ego_from_kitti_lidar(), 0.1)


def kitti_projections(width: int) -> Float[np.ndarray, "4 3 4"]:
    """P0 to P3: pixels of each camera from the frame of camera 0."""
    intrinsics = np.array(_KITTI_INTRINSICS)
    intrinsics[:2] *= width / _KITTI_SIZE[1]
    shifts = np.array([[*shift, 0.0] for shift in _KITTI_SHIFTS_M])
    return np.stack([np.column_stack([intrinsics, intrinsics @ shift]) for shift in shifts])


def kitti_camera_from_lidar() -> Float[np.ndarray, "4 4"]:
    """Tr of ``calib.txt``: camera 0 from the LiDAR; nearly a change of axes."""
    axes = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    pose = np.eye(4)
    pose[:3, :3] = _about(1, np.radians(0.4)) @ _about(0, np.radians(-0.3)) @ axes
    pose[:3, 3] = -0.012, -0.054, -0.292
    return pose


def _ego_from_kitti_lidar() -> Float[np.ndarray, "4 4"]:
    mount = np.eye(4)
    mount[:3, 3] = _KITTI_LIDAR_M
    return mount


def _turned(position: tuple[float, float, float], yaw: float) -> Float[np.ndarray, "4 4"]:
    """A level camera that looks along x, turned about the vertical."""
    pose = np.eye(4)
    pose[:3, :3] = _about(2, yaw) @ np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    pose[:3, 3] = position
    return pose


def _roll(angle: float) -> Float[np.ndarray, "4 4"]:
    """A turn of a camera about its optical axis."""
    pose = np.eye(4)
    pose[:3, :3] = _about(2, angle)
    return pose


def _about(axis: int, angle: float) -> Float[np.ndarray, "3 3"]:
    """Rotation about x (0), y (1) or z (2)."""
    cos, sin = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[i, i] = rotation[j, j] = cos
    rotation[i, j], rotation[j, i] = -sin, sin
    return rotation
