"""Where surfaces may be, from the photos alone: what the density grids start from.

A point on a surface has one colour in every photo that sees it, a point in empty space shows a different thing in
each (voxel coloring, Seitz and Dyer 1999, here without its test for occlusion).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

HEIGHTS = (60, 30, 15)
"""Rows to which photos are averaged before they are compared: coarse ones forgive what occludes and reflects."""
TOLERANCE = 0.2
"""Variance that counts as agreement, in units of the median over points."""
LEAST_VIEWS = 4
"""A point must be in so many photos to be judged."""


@torch.no_grad()
def photo_consistency(
    points: Float[Tensor, "n 3"], cameras: Cameras, photos: Iterable[Mapping[str, Any]]
) -> Float[Tensor, " n"]:
    """How well the photos agree on the colour of points of the world: exp(-variance / tolerance), in 0..1.

    Points in too few photos get 0.

    Args:
        points: positions, in the world of the cameras.
        cameras: one per photo.
        photos: each with ``image`` [h, w, 3] in 0..1 and maybe ``mask`` [h, w, 1], false where nothing is known, as
            nerfstudio's data sets give them.

    Raises:
        ValueError: a camera is not perspective.
    """
    cameras = cameras.to(points.device)
    count = points.new_zeros(len(points), 1)
    total = points.new_zeros(len(points), 3 * len(HEIGHTS))
    squares = torch.zeros_like(total)
    for view, data in enumerate(photos):
        pixels, seen = project(points, cameras, view)
        colors = torch.cat([_sample(data["image"][..., :3], height, pixels) for height in HEIGHTS], dim=1)
        if "mask" in data:
            seen = seen & (_sample(data["mask"].float(), HEIGHTS[0], pixels)[:, 0] > 0.5)
        colors = torch.where(seen[:, None], colors, 0)
        count += seen[:, None]
        total += colors
        squares += colors.square()
    judged = count[:, 0] >= min(LEAST_VIEWS, max(2, len(cameras)))
    if not judged.any():
        return torch.zeros_like(count[:, 0])
    count = count.clamp(min=1)
    variance = (squares / count - (total / count).square()).clamp(min=0).mean(1)
    usual = variance[judged].median().clamp(min=1e-8)
    return torch.where(judged, torch.exp(-variance / (TOLERANCE * usual)), 0)


def project(
    points: Float[Tensor, "n 3"], cameras: Cameras, view: int
) -> tuple[Float[Tensor, "n 2"], Bool[Tensor, " n"]]:
    """Where points of the world lie in a photo, as (x, y) in -1..1, and whether they are in it.

    The inverse of ``Cameras.generate_rays`` for perspective cameras, with OpenCV's distortion.

    Raises:
        ValueError: the camera is not perspective.
    """
    if int(cameras.camera_type[view]) != CameraType.PERSPECTIVE.value:
        raise ValueError("only perspective cameras can be projected into")
    pose = cameras.camera_to_worlds[view]
    local = (points - pose[:, 3]) @ pose[:, :3]
    ahead = -local[:, 2]
    x, y = local[:, 0] / ahead, -local[:, 1] / ahead  # OpenCV's axes: y down
    width, height = cameras.width[view], cameras.height[view]
    if cameras.distortion_params is not None:
        # far outside of the photo the polynomial may turn back into it
        near = (x.abs() < width / cameras.fx[view]) & (y.abs() < height / cameras.fy[view])
        ahead = torch.where(near, ahead, -1)
        x, y = _distort(x, y, cameras.distortion_params[view])
    u = 2 * (x * cameras.fx[view] + cameras.cx[view]) / width - 1
    v = 2 * (y * cameras.fy[view] + cameras.cy[view]) / height - 1
    return torch.stack([u, v], dim=1), (ahead > 0) & (u.abs() < 1) & (v.abs() < 1)


def _distort(
    x: Float[Tensor, " n"], y: Float[Tensor, " n"], params: Float[Tensor, "6"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    k1, k2, k3, k4, p1, p2 = params
    r = x * x + y * y
    radial = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x),
        y * radial + 2 * p2 * x * y + p1 * (r + 2 * y * y),
    )


def _sample(
    picture: Float[Tensor, "h w c"], height: int, pixels: Float[Tensor, "n 2"]
) -> Float[Tensor, "n c"]:
    """The picture, averaged down to a height, at pixels in -1..1."""
    h, w = picture.shape[:2]
    size = (min(h, height), min(w, max(1, round(w * height / h))))
    small = F.interpolate(picture.to(pixels).movedim(2, 0)[None], size=size, mode="area")
    at = torch.nan_to_num(pixels)[None, :, None]
    return F.grid_sample(small, at, padding_mode="border", align_corners=False)[0, :, :, 0].T
