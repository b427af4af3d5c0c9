"""What nerfstudio's cameras lack: rays at given pixels or at the corners of photos, and projection into them."""

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor


def cell_centers(rows: int, columns: int, cell: tuple[float, float]) -> Float[Tensor, "n 2"]:
    """The centres of a grid of cells from the corner of a photo on, as (row, column) in pixels, row by row.

    A pinhole's ray through the centre of a cell is the mean of the rays of its pixels before these are made of unit
    length: it stands for the whole area.

    Args:
        cell: height and width of a cell, in pixels.
    """
    return torch.cartesian_prod((torch.arange(rows) + 0.5) * cell[0], (torch.arange(columns) + 0.5) * cell[1])


def rays_through(coords: Float[Tensor, "n 2"], cameras: Cameras, view: int) -> RayBundle:
    """Rays through pixels of a photo, (row, column)."""
    index = torch.full((len(coords), 1), view, device=cameras.device)
    return cameras.generate_rays(camera_indices=index, coords=coords.to(cameras.device))


def corner_rays(cameras: Cameras) -> RayBundle:
    """Rays through the corners of all photos, four of each in turn."""
    index = torch.arange(len(cameras), device=cameras.device).repeat_interleave(4)[:, None]
    size = torch.cat([cameras.height, cameras.width], dim=1)[index[:, 0]]
    corners = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]], device=cameras.device).repeat(len(cameras), 1)
    return cameras.generate_rays(camera_indices=index, coords=(corners * size).float())


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
    pixels = torch.stack([u, v], dim=1).to(points.dtype)  # some data parsers give focal lengths as float64
    return pixels, (ahead > 0) & (u.abs() < 1) & (v.abs() < 1)


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
