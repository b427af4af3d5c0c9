"""Batches of rays through a scene of thin surfaces, for measurements: random but for what costs time."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from nerf_methods.semantics import PatchBatch, SurfaceBatch

THICKNESS = (5e-4, 2e-3)
"""Of surfaces, in lengths of the ray, with uniform logarithms. So about ten of 482 samples have a weight above 1e-4, as
in 3D-OVS's code, which notes 40,000 of such samples for its 4096 rays."""
OBJECTS = 5
"""In each patch."""
PIXEL = 0.017
"""Distance at which the ends of neighbouring rays of a patch lie in the cube of the field."""


@dataclass(frozen=True)
class ThinSurface:
    """Sizes of the batches."""

    samples: int
    """Samples of a ray, evenly spaced."""
    rays: int
    """Rays of the batch for CLIP distillation and RDA."""
    patches: int
    """Patches of the batch for FDA."""
    side: int
    """Rays along the side of a patch."""
    classes: int
    """Prompts."""
    d: int = 512
    """Embedding size."""
    scales: int = 3
    """Of the teacher."""
    token: int = 768
    """Size of DINO's features; ViT-B's."""

    def surface_batch(self, random: Generator) -> SurfaceBatch:
        """Rays between random points of the cube, which end anywhere on their way."""
        start, stop = 2 * torch.rand(2, self.rays, 3, generator=random) - 1
        depth = 0.3 + 0.6 * torch.rand(self.rays, generator=random)
        teacher = F.normalize(torch.randn(self.rays, self.scales, self.d, generator=random), dim=-1)
        return SurfaceBatch(
            points=self._points(start, stop),
            weights=self._weights(depth, random),
            teacher=teacher,
            relevancy=torch.rand(self.rays, self.scales, self.classes, generator=random),
            center=teacher.mean(0),
        )

    def patch_batch(self, random: Generator) -> PatchBatch:
        """Patches that look from a random point at a tilted surface of several objects."""
        n, p = self.patches, self.side**2
        start, middle, *axes = torch.rand(4, n, 1, 3, generator=random) - 0.5
        column, row = (pixel.reshape(1, p, 1) for pixel in self._pixels())
        stop = middle + PIXEL * (column * F.normalize(axes[0], dim=-1) + row * F.normalize(axes[1], dim=-1))
        near, tilt = torch.rand(2, n, 1, generator=random)
        depth = (0.3 + 0.4 * near) + 0.2 * tilt * row[..., 0] / self.side
        points = self._points(start.expand(n, p, 3).reshape(-1, 3), stop.reshape(-1, 3))
        return PatchBatch(
            points=points.unflatten(0, (n, p)),
            weights=self._weights(depth.flatten(), random).unflatten(0, (n, p)),
            tokens=self._tokens(random),
        )

    def _pixels(self) -> list[Tensor]:
        """Columns and rows."""
        axis = torch.arange(self.side).float()
        return list(torch.meshgrid(axis, axis, indexing="xy"))

    def _points(self, start: Float[Tensor, "r 3"], stop: Float[Tensor, "r 3"]) -> Float[Tensor, "r s 3"]:
        middle = (torch.arange(self.samples) + 0.5) / self.samples
        return torch.lerp(start[:, None], stop[:, None], middle[:, None])

    def _weights(self, depth: Float[Tensor, " r"], random: Generator) -> Float[Tensor, "r s"]:
        """What each sample adds to the opacity of its ray, which rises along a logistic curve at the depth."""
        low, high = torch.tensor(THICKNESS).log()
        thickness = (low + (high - low) * torch.rand(len(depth), generator=random)).exp()
        edges = torch.arange(self.samples + 1) / self.samples
        return torch.sigmoid((edges - depth[:, None]) / thickness[:, None]).diff(dim=1)

    def _tokens(self, random: Generator) -> Float[Tensor, "n p c"]:
        """A cosine of 0.8 within an object and of 0 between objects; pixels belong to the nearest of random places."""
        n, p = self.patches, self.side**2
        column, row = self._pixels()
        pixels = torch.stack([column, row], dim=-1).view(1, p, 2).expand(n, p, 2)
        places = self.side * torch.rand(n, OBJECTS, 2, generator=random)
        nearest = torch.cdist(pixels.contiguous(), places).argmin(-1)
        objects = torch.randn(n, OBJECTS, self.token, generator=random)
        mean = objects.gather(1, nearest[..., None].expand(n, p, self.token))
        return mean + 0.5 * torch.randn(n, p, self.token, generator=random)
