"""Where a forward-facing scene lies: normalised device coordinates (NDC), in which straight lines stay straight."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from torch import Tensor, nn

NEAR = 0.75
"""Depth of the near plane, in depths at which things begin; LLFF's (Mildenhall et al. 2019)."""
MARGIN = 1.05
"""How much wider than what the cameras see the cube is."""
LEAST_NEAR = 0.05
"""Depth of the near plane, at least, in distances to the focus."""
LEAST_SLOPE = 1e-3
"""Rays that go sideways or back, which only a free camera has, are sampled as if they went ahead that much."""


@dataclass(frozen=True, eq=False)
class Frustum:
    """What cameras see that all look along -z, in nerfstudio's axes, with their mean at the origin."""

    origins: Float[Tensor, "n 3"]
    """Of the rays through the corners of their photos."""
    directions: Float[Tensor, "n 3"]
    """The same; -z is positive."""
    bounds: tuple[float, float]
    """About how near and how far before the cameras things are, as z-depth."""

    def tangents(self, first: float, last: float) -> Float[Tensor, "2"]:
        """The largest ``|x| / depth`` and ``|y| / depth`` that a camera sees between two depths before the mean.

        Along a ray both are monotonic in depth, so its ends decide.
        """
        ends = []
        for depth in (first, last):
            ahead = ((depth + self.origins[:, 2]) / -self.directions[:, 2]).clamp(min=0)
            points = self.origins + ahead[:, None] * self.directions
            ends.append((points[:, :2] / points[:, 2:]).abs())
        return torch.cat(ends).amax(dim=0)


class FrustumSpace(nn.Module):
    """Maps what is before a near plane to the cube [-1, 1]^3, as NeRF's NDC (Mildenhall et al. 2020, appendix C).

    x and y are divided by depth (-z) and by the tangents of what the cameras see; z becomes 1 - 2 near / depth: -1 on
    the near plane, 1 at infinity. What is outside is taken to the nearest face. It has the interface of `SceneSpace`.
    """

    near: Tensor
    """Depth of the near plane before the mean camera."""
    extent: Tensor
    """Tangents that x = 1 and y = 1 stand for."""
    radius: Tensor
    """Half the distance from the cameras to what they look at."""
    nearest: Tensor
    """How far from a camera, along its axis, things begin: all but a twentieth of what is seen is farther."""

    def __init__(self, frustum: Frustum):
        super().__init__()
        self.frustum = frustum
        near, far = frustum.bounds
        self.register_buffer("near", torch.tensor(1.0))
        self.register_buffer("extent", torch.ones(2))
        self.register_buffer("radius", torch.tensor(1 / (1 / near + 1 / far)))  # the middle in disparity
        self.register_buffer("nearest", torch.tensor(near))
        self._cover(near, far)

    def place(self, points: Float[Tensor, "n 3"], depths: Float[Tensor, " n"]) -> None:
        """Fit the near plane and the sides to where surfaces are; what a field has learnt does not move with it.

        Args:
            points: on surfaces, in world units.
            depths: how far before their cameras, along the axes.
        """
        self.radius.copy_(0.5 * depths.median())
        self.nearest.copy_(_rank(depths, 0.05))
        self._cover(float(_rank(-points[:, 2], 0.05)), float(_rank(-points[:, 2], 0.95)))

    def _cover(self, first: float, last: float) -> None:
        """What lies between two depths, and all behind it that is seen through it."""
        near = max(NEAR * first, LEAST_NEAR * 2 * float(self.radius))
        self.near.fill_(near)
        self.extent.copy_(MARGIN * self.frustum.tangents(near, max(near, last)))

    def forward(self, positions: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
        depth = (-positions[..., 2:]).clamp(min=self.near)
        across = positions[..., :2] / depth / self.extent
        return torch.cat([across.clamp(-1, 1), 1 - 2 * self.near / depth], dim=-1)

    def inverse(self, x: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
        """Positions in the world of points of the cube; its last face, which is infinity, is taken as far away."""
        depth = 2 * self.near / (1 - x[..., 2:].clamp(max=1 - 1e-4))
        return torch.cat([x[..., :2] * self.extent * depth, -depth], dim=-1)

    def shrinkage(self, x: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
        """How long a step of two radii ahead becomes at a point of the cube.

        The derivative of z by depth, 2 near / depth^2, times two radii; 0 before the near plane, where nothing is.
        """
        z = x[..., 2]
        return torch.where(z > -1, self.radius / self.near * (1 - z).square(), 0)

    def spacing(self, rays: RayBundle) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """z in the cube of distances along rays, and its inverse: even steps in disparity, from the near plane on."""
        start, slope = -rays.origins[..., 2:], (-rays.directions[..., 2:]).clamp(min=LEAST_SLOPE)

        def spacing(t: Tensor) -> Tensor:
            return 1 - 2 * self.near / (start + slope * t).clamp(min=self.near)

        def distance(s: Tensor) -> Tensor:
            return (2 * self.near / (1 - s) - start) / slope

        return spacing, distance


def _rank(values: Float[Tensor, " n"], share: float) -> Float[Tensor, ""]:
    """The value than which a share of the values is smaller."""
    return values.kthvalue(max(1, int(len(values) * share))).values
