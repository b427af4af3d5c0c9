"""The volumes of the field: density, colour, features and scale selection.

``x`` are positions in the cube [-1, 1]^3 of `nerf_methods.space.SceneSpace`.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.field_components.activations import trunc_exp
from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

CORNERS = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
START_VOXELS = 64
"""Voxels per axis, at most, of the level at which a density grid starts."""
START_RISE = 6.0
"""How much higher the logarithm of density starts on a surface than in empty space."""


class VoxelGrid(nn.Module):
    """Sum of dense one-channel voxel grids (coarse to fine), interpolated trilinearly.

    Coarse levels carry the large shapes and fine levels the rest, so no level needs to be up-sampled during
    training. Plain look-ups of eight neighbours are several times faster on a CPU than a 5-D grid_sample.
    """

    def __init__(self, resolutions: Sequence[int]):
        super().__init__()
        self.resolutions = tuple(resolutions)
        self.levels = nn.ParameterList([nn.Parameter(torch.zeros(n**3)) for n in self.resolutions])

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        return _trilinear(self.volume().flatten(), self.resolutions[-1], x)

    def volume(self) -> Float[Tensor, "n n n"]:
        """The levels summed at the finest resolution: a cost per call, which saves a look-up per point and level."""
        total = self._cube(0)
        for level in range(1, len(self.resolutions)):
            total = _upsample(total, self.resolutions[level]) + self._cube(level)
        return total

    def _cube(self, level: int) -> Float[Tensor, "n n n"]:
        return self.levels[level].view(3 * self.resolutions[level : level + 1])

    def total_variation(self) -> Float[Tensor, ""]:
        """Mean absolute difference of neighbouring voxels, summed over axes and levels."""
        total = self.levels[0].new_zeros(())
        for grid, n in zip(self.levels, self.resolutions, strict=True):
            cube = grid.view(n, n, n)
            for axis in range(3):
                total = total + cube.diff(dim=axis).abs().mean()
        return total


def _upsample(cube: Float[Tensor, "m m m"], n: int) -> Float[Tensor, "n n n"]:
    """Trilinear, corners aligned. Three matrix products: the backward pass of F.interpolate is several times slower."""
    m = len(cube)
    position = torch.linspace(0, m - 1, n, device=cube.device, dtype=cube.dtype)
    weights = (1 - (position[:, None] - torch.arange(m, device=cube.device)).abs()).clamp(min=0)  # [n, m]
    for _ in range(3):  # along the first axis, which then becomes the last
        cube = (weights @ cube.flatten(1)).view(n, *cube.shape[1:]).movedim(0, -1)
    return cube.contiguous()


def _trilinear(grid: Float[Tensor, " m"], n: int, x: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    position = (x.clamp(-1, 1) + 1) * (0.5 * (n - 1))
    cell = position.detach().floor().clamp(max=n - 2)
    upper = position - cell
    weight = torch.stack([1 - upper, upper], dim=-1)  # [n, axis, 2]
    weights = weight[:, 0, :, None, None] * weight[:, 1, None, :, None] * weight[:, 2, None, None, :]
    first = (cell.long() * cell.new_tensor([n * n, n, 1], dtype=torch.long)).sum(-1)
    offsets = (CORNERS.to(x.device) * torch.tensor([n * n, n, 1], device=x.device)).sum(-1)
    return (grid[first[:, None] + offsets] * weights.flatten(1)).sum(-1)


class PlanesAndLines(nn.Module):
    """Vector-matrix decomposition of a volume (TensoRF, Chen et al. 2022, eq. 3): three planes times three lines."""

    PLANE_AXES = ((0, 1), (0, 2), (1, 2))
    LINE_AXES = (2, 1, 0)

    def __init__(self, channels: int, resolution: int, scale: float = 0.1):
        super().__init__()
        self.channels = channels
        self.planes = nn.Parameter(scale * torch.randn(3, channels, resolution, resolution))
        self.lines = nn.Parameter(scale * torch.randn(3, channels, resolution, 1))

    @property
    def out_channels(self) -> int:
        return 3 * self.channels

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        """The products of plane and line, one per axis pair and channel."""
        on_plane = torch.stack([x[:, axes] for axes in self.PLANE_AXES])
        on_line = torch.stack([x[:, axis] for axis in self.LINE_AXES])
        on_line = torch.stack([torch.zeros_like(on_line), on_line], dim=-1)
        plane = F.grid_sample(self.planes, on_plane[:, :, None], align_corners=True)
        line = F.grid_sample(self.lines, on_line[:, :, None], align_corners=True)
        return (plane * line)[..., 0].permute(2, 0, 1).flatten(1)

    def total_variation(self) -> Float[Tensor, ""]:
        """Mean squared difference of neighbouring plane entries, as in TensoRF's released losses."""
        return self.planes.diff(dim=2).square().mean() + self.planes.diff(dim=3).square().mean()


class HashVolume(nn.Module):
    """Multi-resolution hash grid (Instant NGP, Müller et al. 2022, section 3), for CUDA.

    Args:
        log2_size: logarithm of the number of entries of each of the 16 levels.
        resolution: of the finest level, per axis.
        implementation: ``tcnn`` (tinycudann, needs CUDA) or ``torch``, which runs anywhere and is slow.
    """

    def __init__(self, log2_size: int, resolution: int, implementation: Literal["tcnn", "torch"]):
        super().__init__()
        self.encoding = HashEncoding(
            max_res=resolution, log2_hashmap_size=log2_size, implementation=implementation
        )

    @property
    def out_channels(self) -> int:
        return self.encoding.get_out_dim()

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        return self.encoding((x.clamp(-1, 1) + 1) / 2).to(x)


class DensityGrid(nn.Module):
    """Density of points in the cube, per radius of the scene as the cube shrinks it (`SceneSpace.shrinkage`).

    It starts at exp(shift), too thin to be fog before the cameras, and higher where `start` says that surfaces are.
    What is finer than the grid may come from a volume, ``detail``.
    """

    def __init__(self, resolutions: tuple[int, ...], shift: float = -3.0, detail: HashVolume | None = None):
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


Volume = PlanesAndLines | HashVolume
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


class FeatureField(nn.Module):
    """CLIP features of points, linear in a low-rank code: F(x) = A a(x) + b.

    Volume rendering is linear too, so a ray's feature is A (sum_i w_i a_i) + b (sum_i w_i): the code is rendered,
    and A is applied once a ray or, against text, not at all. (3D-OVS composites a three-layer linear network of the
    27 channels of TensoRF's appearance code, which is the same family of functions; see docs/methods.md.)
    """

    def __init__(self, d: int, rank: int, volume: Volume):
        super().__init__()
        self.volume = volume
        self.basis = nn.Linear(self.volume.out_channels, rank, bias=False)
        self.decoder = nn.Linear(rank, d)

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
        """The code a(x) of points."""
        return self.basis(self.volume(x))

    def decode(self, code: Float[Tensor, "r c"], opacity: Float[Tensor, "r 1"]) -> Float[Tensor, "r d"]:
        """Features of rays from their rendered code and opacity (sum of weights)."""
        return F.linear(code, self.decoder.weight) + opacity * self.decoder.bias

    def similarity(
        self, code: Float[Tensor, "r c"], opacity: Float[Tensor, "r 1"], text: Float[Tensor, "k d"]
    ) -> Float[Tensor, "r k"]:
        """Cosine of each ray's feature with each text embedding, without ever forming the feature."""
        columns = torch.cat([self.decoder.weight, self.decoder.bias[:, None]], dim=1)  # [d, c + 1]
        lifted = torch.cat([code, opacity], dim=1)
        squared = ((lifted @ (columns.T @ columns)) * lifted).sum(-1, keepdim=True)
        return (lifted @ (text @ columns).T) / squared.clamp(min=1e-12).sqrt()


class SelectionField(nn.Module):
    """Which of the teacher's scales fits a point (3D-OVS, Liu et al. 2023, section 3.2)."""

    def __init__(self, scales: int, volume: Volume):
        super().__init__()
        self.volume = volume
        self.head = nn.Linear(self.volume.out_channels, scales)

    def forward(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n s"]:
        """One value in (0, 1) per point and scale; a ray's weights are the softmax of its composited values."""
        return torch.sigmoid(self.head(self.volume(x)))
