"""Where surfaces are, from the photos alone: what the density grids start from.

A plane sweep (Collins 1996) gives some photos a coarse depth map each; a point is on a surface if most of the maps
that see it say so. Photos are compared with one photo at a time, and only the better half of the comparisons counts
(as in Kang, Szeliski and Chai 2001), so what occludes, shines or is exposed otherwise in some of them is forgiven.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.datasets.base_dataset import InputDataset
from torch import Tensor

from nerf_methods.cameras import cell_centers, project, rays_through

VIEWS = 32
"""Photos that get a depth map, at most, spread over all."""
NEIGHBORS = 10
"""Photos that each is compared with."""
LEAST_BASELINE = 0.001
"""Distance of two cameras from which on they are compared, in units of the distance to the focus."""
CELLS = 768
"""Rays of a depth map, about."""
HEIGHTS = (60, 30, 15)
"""Rows to which photos are averaged before they are compared."""
DEPTHS = 128
"""Depths that are tried, evenly spaced in disparity."""
NEAREST, FARTHEST = 0.2, 20.0
"""Range of the depths, in units of the distance to the focus."""
DISTINCT = 0.8
"""A depth is known if it fits better than this many times the median over depths."""
TOLERANCE = 0.04
"""Relative difference of depths that counts as the same surface."""


@dataclass(frozen=True, eq=False)
class DepthMap:
    """What the sweep says of one photo."""

    view: int
    depth: Float[Tensor, "h w"]
    """z-depth, in the world of the cameras; NaN where nothing is known."""
    points: Float[Tensor, "h w 3"]
    """Where that is, in the world."""


class Photo:
    """A photo as colours at several sizes, to be looked up at points of the world."""

    def __init__(self, view: int, cameras: Cameras, data: Mapping[str, Any]):
        self.view, self.cameras = view, cameras
        device = cameras.device
        self.colors = [_shrink(data["image"][..., :3].to(device), height) for height in HEIGHTS]
        self.mask = _shrink(data["mask"].float().to(device), HEIGHTS[0]) if "mask" in data else None

    def at(self, points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n c"], Bool[Tensor, " n"]]:
        """Colours at all sizes, and which points are in the photo."""
        pixels, seen = project(points, self.cameras, self.view)
        if self.mask is not None:
            seen = seen & (_sample(self.mask, pixels)[:, 0] > 0.5)
        return torch.cat([_sample(picture, pixels) for picture in self.colors], dim=1), seen


@torch.no_grad()
def sweep(
    cameras: Cameras, photos: Sequence[Mapping[str, Any]] | InputDataset, focus: float
) -> list[DepthMap]:
    """Depth maps of up to `VIEWS` photos.

    Args:
        cameras: one per photo.
        photos: each with ``image`` [h, w, 3] in 0..1 and maybe ``mask`` [h, w, 1], false where nothing is known, as
            nerfstudio's data sets give them.
        focus: about how far away the cameras look.

    Raises:
        ValueError: a camera is not perspective.
    """
    chosen = torch.linspace(0, len(cameras) - 1, min(VIEWS, len(cameras))).round().long().tolist()
    pictures = [Photo(view, cameras, photos[view]) for view in chosen]
    origins = cameras.camera_to_worlds[chosen][:, :, 3]
    baselines = torch.cdist(origins, origins)
    baselines[baselines < LEAST_BASELINE * focus] = torch.inf
    depths = focus / torch.linspace(1 / NEAREST, 1 / FARTHEST, DEPTHS, device=cameras.device)
    maps = []
    for photo, near in zip(pictures, baselines, strict=True):
        others = [pictures[i] for i in near.argsort()[:NEIGHBORS] if near[i].isfinite()]
        maps.append(_sweep_one(photo, others, depths))
    return maps


def _sweep_one(photo: Photo, others: list[Photo], depths: Float[Tensor, " d"]) -> DepthMap:
    origins, directions, size = _grid_rays(photo)
    points = origins + directions * depths[:, None, None]  # [d, n, 3]
    colors, known = photo.at(points[DEPTHS // 2])
    costs = []
    for other in others:
        theirs, seen = other.at(points.flatten(0, 1))
        cost = (theirs.view(DEPTHS, -1, theirs.shape[1]) - colors).abs().mean(-1)
        costs.append(torch.where(seen.view(DEPTHS, -1), cost, torch.inf))
    if not costs:
        costs.append(torch.full_like(points[..., 0], torch.inf))
    ordered, _ = torch.stack(costs).sort(dim=0)
    count = ordered.isfinite().sum(0)
    half = ((count + 1) // 2).clamp(min=min(3, len(costs)))
    counted = torch.arange(len(costs), device=half.device)[:, None, None] < half
    cost = torch.where(counted, ordered, 0).sum(0) / half  # infinite where too few see it
    least, best = cost.min(dim=0)
    usual = torch.where(cost.isfinite(), cost, torch.nan).nanmedian(dim=0).values
    found = known & (least < DISTINCT * usual)
    depth = torch.where(found, depths[best], torch.nan)
    surface = torch.where(found[:, None], origins + directions * depth[:, None], torch.nan)
    return DepthMap(photo.view, depth.view(size), surface.view(*size, 3))


def _grid_rays(photo: Photo) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], tuple[int, int]]:
    """Rays through the cells of the photo's depth map, with directions of z-depth 1."""
    height, width = int(photo.cameras.height[photo.view]), int(photo.cameras.width[photo.view])
    rows = max(2, round((CELLS * height / width) ** 0.5))
    columns = max(2, round(CELLS / rows))
    coords = cell_centers(rows, columns, (height / rows, width / columns))
    rays = rays_through(coords, photo.cameras, photo.view)
    return rays.origins, rays.directions * rays.metadata["directions_norm"], (rows, columns)


@torch.no_grad()
def surface_evidence(
    points: Float[Tensor, "n 3"], cameras: Cameras, maps: list[DepthMap]
) -> Float[Tensor, " n"]:
    """Share of the depth maps, among those that see a point, that have a surface there, 0..1.

    Maps that see a surface before the point know nothing of it. A point that fewer than two maps judge gets 0.
    """
    here, judged = points.new_zeros(len(points)), points.new_zeros(len(points))
    for one in maps:
        pixels, seen = project(points, cameras, one.view)
        pose = cameras.camera_to_worlds[one.view]
        z = -((points - pose[:, 3]) @ pose[:, 2])
        h, w = one.depth.shape
        column = ((pixels[:, 0].nan_to_num() + 1) / 2 * w).long().clamp(0, w - 1)
        row = ((pixels[:, 1].nan_to_num() + 1) / 2 * h).long().clamp(0, h - 1)
        depth = one.depth[row, column]
        behind = (z - depth) / depth
        here += seen & (behind.abs() < TOLERANCE)
        judged += seen & (behind < TOLERANCE)
    return torch.where(judged >= 2, here / judged.clamp(min=1), 0)


def _shrink(picture: Float[Tensor, "h w c"], height: int) -> Float[Tensor, "1 c h2 w2"]:
    """The picture, averaged down to a height."""
    h, w = picture.shape[:2]
    size = (min(h, height), min(w, max(1, round(w * height / h))))
    return F.interpolate(picture.movedim(2, 0)[None], size=size, mode="area")


def _sample(picture: Float[Tensor, "1 c h w"], pixels: Float[Tensor, "n 2"]) -> Float[Tensor, "n c"]:
    at = torch.nan_to_num(pixels)[None, :, None]
    return F.grid_sample(picture, at, padding_mode="border", align_corners=False)[0, :, :, 0].T
