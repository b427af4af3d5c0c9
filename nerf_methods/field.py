"""The fields: density, colour, CLIP features and scale selection.

``x`` are positions in the cube [-1, 1]^3 of `nerf_methods.space.SceneSpace` or `nerf_methods.frustum.FrustumSpace`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from nerfstudio.field_components.activations import trunc_exp
from torch import Tensor, nn

from nerf_methods.volumes import Volume, VoxelGrid

START_VOXELS = 64
"""Voxels per axis, at most, of the level at which a density grid starts."""
START_RISE = 6.0
"""How much higher the logarithm of density starts on a surface than in empty space."""


class DensityGrid(nn.Module):
    """Density of points in the cube, per radius of the scene as the cube shrinks it (`SceneSpace.shrinkage`).

    It starts at exp(shift), too thin to be fog before the cameras, and higher where `start` says that surfaces are.
    What is finer than the grid may come from a volume, ``detail``.
    """

    def __init__(self, resolutions: tuple[int, ...], shift: float = -3.0, detail: Volume | None = None):
        super().__init__()
        self.grid = VoxelGrid(resolutions)
        self.shift = shift
        self.volume = detail
        self.head = None if detail is None else nn.Linear(detail.out_channels, 1)

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        exponent = self.grid(x) + self.shift
        if self.volume is not None and self.head is not None:
            exponent = exponent + self.head(self.volume(x))[:, 0]
        return trunc_exp(exponent)

    def total_variation(self) -> Float[Tensor, ""]:
        return self.grid.total_variation()

    @torch.no_grad()
    def start(self, evidence: Callable[[Float[Tensor, "n 3"]], Float[Tensor, " n"]]) -> None:
        """Raise the density from exp(shift) to exp(shift + 6) where there is evidence of a surface, 0..1 per point."""
        level = max((i for i, n in enumerate(self.grid.resolutions) if n <= START_VOXELS), default=0)
        axis = torch.linspace(-1, 1, self.grid.resolutions[level], device=self.grid.levels[level].device)
        x = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3)
        self.grid.levels[level].copy_(START_RISE * evidence(x))


"""Channels of points in the cube, as many as its ``out_channels``."""


class AppearanceField(nn.Module):
    """Colour of points: a volume, a small network, and a view-dependent part that starts at zero.

    The view-dependent part is a linear map of degree-1 spherical harmonics: enough for a sheen, too little to paint
    each photo on fog before its camera.
    """

    def __init__(self, volume: Volume, hidden: int = 64):
        super().__init__()
        self.volume = volume
        self.network = nn.Sequential(
            nn.Linear(self.volume.out_channels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.diffuse = nn.Linear(hidden, 3)
        self.sheen = nn.Linear(hidden, 9)
        nn.init.zeros_(self.sheen.weight)
        nn.init.zeros_(self.sheen.bias)

    def forward(self, x: Float[Tensor, "n 3"], directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """RGB in 0..1 of points seen along unit ``directions``."""
        hidden = self.network(self.volume(x))
        sheen = (self.sheen(hidden).view(-1, 3, 3) * directions[:, None]).sum(-1)
        return torch.sigmoid(self.diffuse(hidden) + sheen)


def squared_lengths(lifted: Float[Tensor, "r c"], columns: Float[Tensor, "d c"]) -> Float[Tensor, " r"]:
    """Of the features that a matrix makes of code and opacity, without forming them."""
    return ((lifted @ (columns.T @ columns)) * lifted).sum(-1)


class FeatureField(nn.Module):
    """CLIP features of points, linear in a low-rank code: F(x) = A a(x) + b.

    Volume rendering is linear too, so a ray's feature is A (sum_i w_i a_i) + b (sum_i w_i): the code is rendered,
    and A is applied once a ray or, against text, not at all. (3D-OVS composites a three-layer linear network of the
    27 channels of TensoRF's appearance code, which is the same family of functions; see docs/methods.md.)
    """

    mean: Tensor
    second_moment: Tensor
    seen: Tensor

    def __init__(self, d: int, rank: int, scales: int, volume: Volume):
        super().__init__()
        self.volume = volume
        self.scales = scales
        self.basis = nn.Linear(self.volume.out_channels, rank, bias=False)
        self.decoder = nn.Linear(rank, d)
        self.scale_decoder = nn.Linear(rank, scales * d)
        self.register_buffer("mean", torch.zeros(rank + 1))
        self.register_buffer("second_moment", torch.zeros(rank + 1, rank + 1))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        """The code a(x) of points."""
        return self.basis(self.volume(x))

    def similarity(
        self,
        code: Float[Tensor, "r c"],
        opacity: Float[Tensor, "r 1"],
        text: Float[Tensor, "k d"],
        scale: int | None = None,
    ) -> Float[Tensor, "r k"]:
        """Cosine of each ray's feature with each text embedding, without ever forming the feature.

        Args:
            scale: one of the teacher's scales instead of their mixture.
        """
        columns = self.columns(scale)
        return self._unit(torch.cat([code, opacity], dim=1), columns) @ (text @ columns).T

    def columns(self, scale: int | None = None) -> Float[Tensor, "d c"]:
        """The matrix [A b] that makes features of code and opacity (sum of weights).

        Args:
            scale: of what one of the teacher's scales alone sees, from the code that the mixture of them has made.
        """
        decoder = self.decoder if scale is None else self.scale_decoder
        columns = torch.cat([decoder.weight, decoder.bias[:, None]], dim=1)
        return columns if scale is None else columns.view(self.scales, -1, columns.shape[1])[scale]

    @staticmethod
    def _unit(lifted: Float[Tensor, "r c"], columns: Float[Tensor, "d c"]) -> Float[Tensor, "r c"]:
        """Code and opacity divided by the length of their feature."""
        return lifted / squared_lengths(lifted, columns)[:, None].clamp(min=1e-12).sqrt()

    @torch.no_grad()
    def observe(self, code: Float[Tensor, "r c"], opacity: Float[Tensor, "r 1"]) -> None:
        """Update the moments of unit features, which `colors` needs, as a mean over the last hundred batches or so."""
        unit = self._unit(torch.cat([code, opacity], dim=1), self.columns())
        self.seen += 1
        share = 1 / min(int(self.seen), 100)
        self.mean.lerp_(unit.mean(0), share)
        self.second_moment.lerp_(unit.T @ unit / len(unit), share)

    @torch.no_grad()
    def colors(self, features: Float[Tensor, "*n c"]) -> Float[Tensor, "*n 3"]:
        """The three principal components of unit features as RGB, two standard deviations to either side of grey.

        The components are of the training views and do not change from picture to picture.
        """
        columns = self.columns()
        triangle = torch.linalg.qr(columns).R  # as columns, but in as many dimensions as the code has
        covariance = triangle @ (self.second_moment - self.mean.outer(self.mean)) @ triangle.T
        variance, axes = (part[..., -3:].flip(-1) for part in torch.linalg.eigh(covariance))
        unit = self._unit(features.flatten(0, -2), columns)
        along = (unit - self.mean) @ triangle.T @ axes / variance.clamp(min=1e-12).sqrt()
        return (0.5 + along / 4).clamp(0, 1).view(*features.shape[:-1], 3)


class SelectionField(nn.Module):
    """Which of the teacher's scales fits a point (3D-OVS, Liu et al. 2023, section 3.2)."""

    def __init__(self, scales: int, volume: Volume):
        super().__init__()
        self.volume = volume
        self.head = nn.Linear(self.volume.out_channels, scales)

    @torch.no_grad()
    def start(self) -> None:
        """Begin with the smallest tiles, the last scale: they blur least, and what they show badly is found soon."""
        self.head.bias.copy_(torch.linspace(-2, 2, len(self.head.bias)))

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n s"]:
        """One value in (0, 1) per point and scale; a ray's weights are the softmax of its composited values."""
        return torch.sigmoid(self.head(self.volume(x)))
