"""Which pixels of which photos show which points of a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from ovs3d.geometry import Camera, pixel_from_camera, transform
from ovs3d.images import read_depth
from pointcloud.frame import Photo, Scan
from pointcloud.lens import distorted
from pointcloud.visibility import agrees, covered, is_inside


@dataclass(frozen=True)
class Pairing:
    """How points find pixels."""

    visibility: Literal["tested", "none"] = "tested"
    """Whether hidden points are left out; ``none`` pairs them with what hides them, as CLIP2Scene and SLidR do."""
    min_depth_m: float = 1.0
    """Nearer points are left out of photos without a depth image; of those with one, only points behind the camera."""
    image_tolerance_m: float = 0.05
    """With a depth image, a point is seen whose depth differs by no more than this, as in CLIP2Scene,"""
    image_tolerance_share: float = 0.0
    """plus this share of the depth: OpenScene takes 0.25 of it, and 0 m."""
    cover_rad: float = 0.0125
    """Without one, other points hide what is behind: each covers this angle to all sides, half of that between two
    of 32 beams."""
    cover_tolerance_m: float = 1.0
    """So much nearer a point must be than what it hides; less would let the ground hide itself,"""
    cover_tolerance_share: float = 0.05
    """plus this share of the hidden point's depth."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pixels and the points that they show, ordered by photo, then by point. Points in two photos have two pairs."""

    point: Int64[np.ndarray, " n"]
    """Position in the scan."""
    photo: Int64[np.ndarray, " n"]
    """Position among the photos."""
    row_col: Int64[np.ndarray, "n 2"]
    """The pixel, row first; 0 <= row < height, 0 <= col < width."""

    def __len__(self) -> int:
        return len(self.point)


def pair(scan: Scan, photos: Sequence[Photo], how: Pairing = Pairing()) -> Pairs:
    """Pairs of a scan with photos, each at the pose of its own moment: camera from world from scan.

    An earlier sweep is a scan with a pose of its own, so it is paired with a key frame's photos in the same way; what
    moved in between meets a wrong pixel.

    Raises:
        InputError: a depth image cannot be read.
    """
    found = [_pair_photo(scan, photo, how) for photo in photos]
    counts = [len(point) for point, _ in found]
    return Pairs(
        np.concatenate([np.zeros(0, np.int64), *(point for point, _ in found)]),
        np.repeat(np.arange(len(photos), dtype=np.int64), counts),
        np.concatenate([np.zeros((0, 2), np.int64), *(row_col for _, row_col in found)]),
    )


def project(
    xyz: Float[np.ndarray, "n 3"], camera: Camera, distortion: Sequence[float] = ()
) -> Float[np.ndarray, "n 2"]:
    """(row, col) in a photo, continuous, of points in its camera's frame with z > 0.

    Not a number where the lens sees nothing.
    """
    if not distortion:
        return pixel_from_camera(camera.intrinsics, xyz)
    bent = distorted(xyz[:, :2] / xyz[:, 2:], distortion)
    return pixel_from_camera(camera.intrinsics, np.concatenate([bent, np.ones((len(xyz), 1))], axis=1))


def _pair_photo(
    scan: Scan, photo: Photo, how: Pairing
) -> tuple[Int64[np.ndarray, " k"], Int64[np.ndarray, "k 2"]]:
    """Points that a photo shows, and their pixels."""
    camera = photo.camera
    xyz = transform(camera.camera_from_world @ scan.world_from_scan, scan.xyz)
    point = np.flatnonzero(xyz[:, 2] > (how.min_depth_m if photo.depth is None else 0))
    xyz = xyz[point]
    row_col = project(xyz, camera, photo.distortion)
    inside = is_inside(row_col, camera.height, camera.width)
    point, xyz, row_col = point[inside], xyz[inside], row_col[inside]
    if how.visibility == "tested":
        seen = _is_seen(photo, xyz, row_col, how)
        point, row_col = point[seen], row_col[seen]
    return point, np.floor(row_col).astype(np.int64)


def _is_seen(
    photo: Photo, xyz: Float[np.ndarray, "k 3"], row_col: Float[np.ndarray, "k 2"], how: Pairing
) -> Bool[np.ndarray, " k"]:
    """Visibility of points in a camera's frame that project into its photo."""
    camera, depth = photo.camera, xyz[:, 2]
    if photo.depth is None:
        size, reach_px = (camera.height, camera.width), how.cover_rad * float(camera.intrinsics[0, 0])
        return ~covered(row_col, depth, size, reach_px, how.cover_tolerance_m, how.cover_tolerance_share)
    image = read_depth(photo.depth.path).numpy() * photo.depth.unit_m
    in_image = pixel_from_camera(photo.depth.intrinsics, xyz)
    return agrees(in_image, depth, image, how.image_tolerance_m, how.image_tolerance_share)
