"""The surface of a trained scene: points and a mesh, from rendered depth."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from nerfstudio.cameras.cameras import Cameras
from skimage.measure import marching_cubes
from torch import Tensor
from tqdm import trange

from nerf_methods.cameras import project
from nerf_methods.run import POINTS_AT_ONCE, Run, View
from ovs3d.errors import InputError

OPAQUE = 0.5
"""Rays of a lower opacity meet no surface."""
TRUNCATION = 4.0
"""Voxels before and behind a surface in which its distance counts."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Points in the scene's own frame, with what was rendered there; vertices if there are faces."""

    xyz: Float[Tensor, "n 3"]
    rgb: Float[Tensor, "n 3"]
    """In 0..1."""
    features: Float[Tensor, "n c"]
    faces: Int[np.ndarray, "f 3"] | None = None


@dataclass(frozen=True, eq=False)
class Renderings:
    """Pictures of the training views, without the distortion of their lenses."""

    cameras: Cameras
    views: list[View]


def render_training_views(run: Run, short_side: int) -> Renderings:
    """Render every training view, made smaller until its shorter side has ``short_side`` pixels.

    Raises:
        InputError: a camera is not perspective.
    """
    photos = run.cameras("train")
    if (photos.camera_type != photos.camera_type.new_tensor(1)).any():
        raise InputError("surfaces need perspective cameras: this scene has others")
    side = torch.minimum(photos.height, photos.width)
    scale = (short_side / side).clamp(max=1.0)
    cameras = Cameras(
        photos.camera_to_worlds,
        *(value * scale for value in (photos.fx, photos.fy, photos.cx, photos.cy)),
        width=(photos.width * scale).round().int(),
        height=(photos.height * scale).round().int(),
    )
    views = [run.render(cameras[i : i + 1]) for i in trange(len(cameras), desc="Rendering", unit="view")]
    return Renderings(cameras, views)


def surface_points(renderings: Renderings) -> Surface:
    """A point for each pixel of the renderings that meets something."""
    met = [view.opacity > OPAQUE for view in renderings.views]
    xyz, rgb, features = (
        torch.cat([getattr(view, name)[seen] for view, seen in zip(renderings.views, met, strict=True)])
        for name in ("points", "rgb", "features")
    )
    return Surface(xyz, rgb, features)


def surface_mesh(run: Run, renderings: Renderings, resolution: int) -> Surface:
    """A mesh by fusing the depth of all renderings (TSDF; Curless and Levoy 1996) and marching cubes.

    It covers the box that holds all but the farthest 2 % of the points along each axis. Colours and features of a
    vertex are the mean over the renderings that see it.

    Args:
        resolution: voxels along the longest side of the box.

    Raises:
        InputError: nothing opaque is seen.
    """
    xyz = surface_points(renderings).xyz
    if not len(xyz):
        raise InputError("no surface: the scene is transparent everywhere; train longer")
    low, high = (torch.from_numpy(np.percentile(xyz.numpy(), q, axis=0)).float() for q in (1, 99))
    voxel = float((high - low).max()) / resolution
    low, high = low - TRUNCATION * voxel, high + TRUNCATION * voxel
    axes = [torch.arange(float(low[i]), float(high[i]), voxel) for i in range(3)]
    signed, known = _fuse(run, renderings, torch.cartesian_prod(*axes), voxel)
    shape = [len(axis) for axis in axes]
    if not known.any() or signed[known].min() >= 0 or signed[known].max() <= 0:
        raise InputError("no surface in the box of the points: train longer")
    vertices, faces, _, _ = marching_cubes(
        signed.view(shape).numpy(),
        0.0,
        mask=known.view(shape).numpy(),
        spacing=(voxel,) * 3,
        gradient_direction="ascent",
    )
    points = torch.from_numpy(vertices.astype(np.float32)) + low
    rgb, features, seen = _seen_at(run, renderings, points, TRUNCATION * voxel)
    return Surface(points, rgb, features, faces[seen.numpy()[faces].all(1)].astype(np.int64))


def _fuse(
    run: Run, renderings: Renderings, points: Float[Tensor, "n 3"], voxel: float
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """Signed distance to the surface in truncations, positive before it, and whether it is known."""
    total, count = torch.zeros(len(points)), torch.zeros(len(points))
    for index in trange(len(renderings.views), desc="Fusing depth", unit="view"):
        view = renderings.views[index]
        for chunk in torch.arange(len(points)).split(POINTS_AT_ONCE):
            before, pixel = _before_surface(run, renderings, index, points[chunk])
            ahead = before / (TRUNCATION * voxel)
            use = (ahead > -1) & (view.opacity.flatten()[pixel] > OPAQUE)
            total[chunk[use]] += ahead[use].clamp(max=1)
            count[chunk[use]] += 1
    return total / count.clamp(min=1), count > 0


def _seen_at(
    run: Run, renderings: Renderings, points: Float[Tensor, "n 3"], tolerance: float
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n c"], Bool[Tensor, " n"]]:
    """Mean colour and features of points over the renderings that see them, and whether any does."""
    views = renderings.views
    rgb, features = torch.zeros(len(points), 3), torch.zeros(len(points), views[0].features.shape[-1])
    count = torch.zeros(len(points), 1)
    for index, view in enumerate(views):
        before, pixel = _before_surface(run, renderings, index, points)
        use = before.abs() < tolerance
        rgb[use] += view.rgb.flatten(0, 1)[pixel[use]]
        features[use] += view.features.flatten(0, 1)[pixel[use]]
        count[use] += 1
    return rgb / count.clamp(min=1), features / count.clamp(min=1), count[:, 0] > 0


def _before_surface(
    run: Run, renderings: Renderings, index: int, points: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """How far before the rendered surface points lie, minus infinity outside of the picture, and their pixel."""
    cameras, view = renderings.cameras, renderings.views[index]
    inside_run, pose = run.from_scene(points), cameras.camera_to_worlds[index]
    place, seen = project(inside_run, cameras, index)
    height, width = view.depth.shape
    column, row = (((place + 1) / 2) * torch.tensor([width, height])).nan_to_num().long().unbind(1)
    pixel = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    depth = -((inside_run - pose[:, 3]) @ pose[:, 2]) / run.scale
    return torch.where(seen, view.depth.flatten()[pixel] - depth, -torch.inf), pixel
