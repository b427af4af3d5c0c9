"""The second phase's training data: where each ray ends, and what CLIP sees there.

The geometry is frozen by then, so the few points of a ray that carry weight are found once and not every iteration.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor
from tqdm import trange

from nerf_methods.cameras import cell_centers
from nerf_methods.datamanager import Ovs3dDataManager
from nerf_methods.model import Ovs3dModel


@dataclass(frozen=True, eq=False)
class SurfaceBatch:
    """Rays with what a loss on features needs of them."""

    points: Float[Tensor, "r k 3"]
    """In the cube of the field."""
    weights: Float[Tensor, "r k"]
    teacher: Float[Tensor, "r s d"]
    """Unit features of each scale."""


@dataclass(frozen=True, eq=False)
class SurfaceRays:
    """All rays of the training views at the centres of a coarse grid of cells."""

    points: Float[Tensor, "n k 3"]
    weights: Float[Tensor, "n k"]
    teacher: Float[Tensor, "n s d"]
    """float16, on the CPU."""

    def sample(self, count: int, device: torch.device) -> SurfaceBatch:
        """A random batch, with replacement."""
        chosen = torch.randint(len(self.weights), (count,))
        points, weights, teacher = (t[chosen].to(device) for t in (self.points, self.weights, self.teacher))
        return SurfaceBatch(points, weights, teacher.float())


@torch.no_grad()
def surface_rays(model: Ovs3dModel, data: Ovs3dDataManager, short_side: int) -> SurfaceRays:
    """Trace the training views at ``short_side`` cells along their shorter side."""
    was_training = model.training
    model.eval()  # no jitter: the same points each time
    cameras = data.train_dataset.cameras.to(model.device)
    views = []
    for view in trange(len(data.train_dataset), desc="Surface of the training views", unit="view"):
        rows, cols = _cells(cameras, view, short_side)
        seen = data.teacher(view, rows, cols)
        known = seen.isfinite().flatten(1).all(1)  # released tiles may leave a pixel at the edge uncovered
        points, weights = _trace(model, cameras, view, rows, cols)
        views.append((points[known], weights[known], seen[known].half()))
    model.train(was_training)
    return SurfaceRays(*(torch.cat(parts) for parts in zip(*views, strict=True)))


def _cells(cameras: Cameras, view: int, short_side: int) -> tuple[int, int]:
    height, width = int(cameras.height[view]), int(cameras.width[view])
    step = max(min(height, width) / short_side, 1.0)
    return round(height / step), round(width / step)


def _trace(
    model: Ovs3dModel, cameras: Cameras, view: int, rows: int, cols: int
) -> tuple[Float[Tensor, "n k 3"], Float[Tensor, "n k"]]:
    parts = []
    for chunk in cell_centers(cameras, view, rows, cols).split(model.config.eval_num_rays_per_chunk):
        index = torch.full((len(chunk), 1), view, device=cameras.device)
        parts.append(model.surface(cameras.generate_rays(camera_indices=index, coords=chunk)))
    points, weights = (torch.cat([part[i].cpu() for part in parts]) for i in (0, 1))
    return points, weights
