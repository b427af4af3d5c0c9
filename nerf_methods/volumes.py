"""Volumes that hold what a field learns: voxels, planes and lines, hash grids.

``x`` are positions in the cube [-1, 1]^3 of `nerf_methods.space.SceneSpace`.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.field_components.encodings import HashEncoding
from nerfstudio.utils.external import TCNN_EXISTS
from torch import Tensor, nn

from ovs3d.errors import InputError

CORNERS = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


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


Volume = PlanesAndLines | HashVolume


def make_volume(
    kind: Literal["planes", "hash"],
    planes: tuple[int, int],
    hash_grid: tuple[int, int],
    implementation: Literal["tcnn", "torch"],
) -> Volume:
    """Planes and lines of ``planes`` channels and resolution, or a hash grid of ``hash_grid`` size and resolution.

    Raises:
        InputError: a hash grid by tinycudann is asked for where it cannot run.
    """
    if kind == "planes":
        return PlanesAndLines(*planes)
    if implementation == "tcnn" and not (TCNN_EXISTS and torch.cuda.is_available()):
        raise InputError(
            "tinycudann needs CUDA and its own build: leave out --pipeline.model.volumes hash, or add "
            "--pipeline.model.implementation torch, which is slow"
        )
    return HashVolume(*hash_grid, implementation)
