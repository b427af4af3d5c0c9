"""Which pixels of which photos show which points of a scan."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from ovs3d.errors import check_range
from ovs3d.geometry import Camera, pixel_from_camera, transform
from ovs3d.images import read_depth
from pointcloud.config import Pairing
from pointcloud.frame import Photo, Scan
from pointcloud.lens import distorted
from pointcloud.visibility import agrees, covered, is_inside

_AS_IS = Pairing()


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


def check_pairing(how: Pairing) -> None:
    """Refuse numbers by which no point finds a pixel.

    Raises:
        InputError: there is one.
    """
    for name, value in asdict(how).items():
        if name != "visibility":
            check_range(f"pairs.{name.replace('_', '-')}", value, 0, 1 if name == "cover_rad" else 1e6)


def pair(scan: Scan, photos: Sequence[Photo], how: Pairing = _AS_IS) -> Pairs:
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
