"""Cameras and the transforms between world, camera and pixels.

Camera frames are OpenCV (x right, y down, z forward). A pixel (row, col) covers
[row, row + 1) x [col, col + 1), so its centre lies at +0.5. Transforms are named ``target_from_source``.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with a pose."""

    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels from camera: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], float64."""
    world_from_camera: Float[np.ndarray, "4 4"]
    """Pose, float64; its last column is the camera's position in metres."""
    height: int
    """Rows of the image."""
    width: int
    """Columns of the image."""

    @property
    def camera_from_world(self) -> Float[np.ndarray, "4 4"]:
        """The inverse of the pose."""
        return np.linalg.inv(self.world_from_camera)

    @property
    def position(self) -> Float[np.ndarray, "3"]:
        """Where the camera stands, in the world."""
        return self.world_from_camera[:3, 3]


def transform(
    target_from_source: Float[np.ndarray, "4 4"], xyz: Float[np.ndarray, "*n 3"]
) -> Float[np.ndarray, "*n 3"]:
    """Points of the source frame, in the target frame."""
    return xyz @ target_from_source[:3, :3].T + target_from_source[:3, 3]


def pixel_from_camera(
    intrinsics: Float[np.ndarray, "3 3"], xyz: Float[np.ndarray, "*n 3"]
) -> Float[np.ndarray, "*n 2"]:
    """(row, col) of points in the camera frame, continuous; meaningful only where z > 0."""
    col_row_depth = xyz @ intrinsics.T
    return col_row_depth[..., 1::-1] / col_row_depth[..., 2:]


def camera_from_pixel(
    intrinsics: Float[np.ndarray, "3 3"], row_col: Float[np.ndarray, "*n 2"]
) -> Float[np.ndarray, "*n 3"]:
    """Points at z = 1 in the camera frame that are seen at (row, col); scaled by a z-depth they lie there."""
    col_row_one = np.concatenate([row_col[..., ::-1], np.ones_like(row_col[..., :1])], axis=-1)
    return col_row_one @ np.linalg.inv(intrinsics).T


def pixel_centres(height: int, width: int) -> Float[np.ndarray, "h w 2"]:
    """(row, col) of every pixel's centre."""
    rows, cols = np.mgrid[:height, :width]
    return np.stack([rows, cols], axis=-1) + 0.5


def look_at(position: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """``world_from_camera`` of an upright camera at ``position`` that looks at ``target``; z points up."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, position], axis=1)
    return pose


def opengl_from_opencv(pose: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
    """The pose of a camera with y up and z backward (OpenGL, nerfstudio) from OpenCV; its own inverse."""
    return pose * np.array([1.0, -1.0, -1.0, 1.0])
