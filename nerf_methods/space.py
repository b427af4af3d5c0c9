"""Where a scene lies: the cube that every grid of the field covers."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn


class SceneSpace(nn.Module):
    """Maps the world to the cube [-1, 1]^3.

    The cube of half side ``radius`` around ``center`` takes the inner half of each axis, all else up to infinity is
    contracted into the rest (MERF, Reiser et al. 2023, eq. 2, with the L-infinity norm as in nerfacto).
    """

    center: Tensor
    radius: Tensor
    nearest: Tensor
    """How far from a camera, along its axis, things begin: all but a twentieth of what is seen is farther."""

    def __init__(self, center: Float[Tensor, "3"], radius: float):
        super().__init__()
        self.register_buffer("center", center.float().clone())
        self.register_buffer("radius", torch.tensor(float(radius)))
        self.register_buffer("nearest", self.radius * (2 / 3))  # a guess, until surfaces are known

    def place(self, points: Float[Tensor, "n 3"], depths: Float[Tensor, " n"]) -> None:
        """Move the cube to where surfaces are; what a field has learnt does not move with it.

        Args:
            points: on surfaces, in world units.
            depths: how far before their cameras, along the axes.
        """
        self.center.copy_(points.median(dim=0).values)
        self.radius.copy_(0.5 * depths.median())
        self.nearest.copy_(depths.kthvalue(max(1, len(depths) // 20)).values)

    def forward(self, positions: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
        x = (positions - self.center) / self.radius
        norm = x.abs().amax(dim=-1, keepdim=True).clamp(min=1.0)
        return x * ((2 - 1 / norm) / norm) / 2

    def inverse(self, x: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
        """Positions in the world of points of the cube; its faces, which are infinity, are taken as far away."""
        side = x.abs().amax(dim=-1, keepdim=True).clamp(max=1 - 1e-4)
        return self.center + self.radius * torch.where(side <= 0.5, 2 * x, x / (side * (2 - 2 * side)))

    def shrinkage(self, x: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
        """How much shorter than in the inner cube a step away from the centre becomes at a point of the cube.

        The derivative of the contraction, 1 / norm^2 with the norm of the position in the world.
        """
        return (2 - 2 * x.abs().amax(dim=-1)).clamp(0, 1).square()

    def spacing(self, rays: RayBundle) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """What even steps along any ray are even in, as a function of distance, and its inverse.

        Distance up to the scene's focus and disparity beyond, as in nerfacto.
        """
        focus = 2 * self.radius

        def spacing(t: Tensor) -> Tensor:
            return torch.where(t < focus, t / (2 * focus), 1 - focus / (2 * t))

        def distance(s: Tensor) -> Tensor:
            return torch.where(s < 0.5, 2 * focus * s, focus / (2 - 2 * s))

        return spacing, distance


def focus_of(camera_to_worlds: Float[Tensor, "b 3 4"]) -> tuple[Float[Tensor, "3"], float]:
    """What a set of cameras looks at: the point nearest to all optical axes, and half its median distance.

    Cameras that look in parallel have no such point; the least-squares system is damped towards the point one
    baseline in front of their mean, or one unit where all stand in one place. Poses are nerfstudio's (OpenGL: the
    camera looks along -z).

    Returns:
        the centre, and the radius of the region to spend resolution on, both in world units.
    """
    poses = camera_to_worlds.double()
    origins, forward = poses[:, :, 3], -poses[:, :, 2]
    forward = forward / forward.norm(dim=-1, keepdim=True)
    spread = (origins - origins.mean(0)).norm(dim=-1).max()
    spread = torch.where(spread < 1e-6, 1.0, spread)
    prior = origins.mean(0) + forward.mean(0) * spread
    across = torch.eye(3).to(poses) - forward[:, :, None] * forward[:, None, :]
    damping = 1e-3 * torch.eye(3).to(poses)
    center = torch.linalg.solve(
        across.mean(0) + damping, (across @ origins[:, :, None]).mean(0)[:, 0] + damping @ prior
    )
    ahead = ((center - origins) * forward).sum(-1).median()
    if ahead < 0.1 * spread:  # the axes meet behind the cameras: they look outwards
        return origins.mean(0).float(), float(spread)
    return center.float(), 0.5 * float(ahead)
