"""SPVCNN (Tang et al., ECCV 2020): a U-Net on voxels beside a branch on points, as CLIP2Scene uses it.

Names and shapes are those of CLIP2Scene's checkpoints (torchsparse); ``checkpoint.from_torchsparse`` turns the order of
their kernels into ours.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pointcloud.distributed import BatchNorm1d
from pointcloud.nets.points import Points, corners, to_voxels
from pointcloud.sparse import Convolution, SparseTensor, TransposedConvolution, concatenate
from pointcloud.sparse.modules import ReLU
from pointcloud.sparse.tensor import sparse_tensor

PLANES = (32, 32, 64, 128, 256, 256, 128, 96, 96)
"""Channels of the stem, of the four stages down and of the four up."""


class _Norm(BatchNorm1d):
    """Batch normalisation whose parameters have no name of their own in between."""

    def forward(self, x: SparseTensor) -> SparseTensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x.with_features(super().forward(x.features))


class _Unit(nn.Module):
    """A convolution, its norm and a ReLU."""

    def __init__(self, convolution: nn.Module, c: int) -> None:
        super().__init__()
        self.net = nn.Sequential(convolution, _Norm(c), ReLU(inplace=True))

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.net(x)


class _Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        first, second = Convolution(c_in, c_out), Convolution(c_out, c_out)
        self.net = nn.Sequential(first, _Norm(c_out), ReLU(inplace=True), second, _Norm(c_out))
        short = (Convolution(c_in, c_out, 1), _Norm(c_out)) if c_in != c_out else ()
        self.downsample = nn.Sequential(*short)
        self.relu = ReLU(inplace=True)

    def forward(self, x: SparseTensor) -> SparseTensor:
        return self.relu(self.net(x) + self.downsample(x))


class SPVCNN(nn.Module):
    """Features per point from voxels at five resolutions and from the points themselves."""

    def __init__(
        self,
        c_in: int,
        heads: Mapping[str, int] | None = None,
        planes: tuple[int, ...] = PLANES,
        bn_momentum: float = 0.1,
    ) -> None:
        """
        Args:
            heads: name and channels of each linear head; CLIP2Scene's are ``point_mapping_local`` and
                ``point_mapping_global``.
            bn_momentum: of all norms.
        """
        super().__init__()
        p = planes
        first, second = Convolution(c_in, p[0]), Convolution(p[0], p[0])
        self.stem = nn.Sequential(
            first, _Norm(p[0]), ReLU(inplace=True), second, _Norm(p[0]), ReLU(inplace=True)
        )
        for i in range(4):
            halve = _Unit(Convolution(p[i], p[i], 2, stride=2), p[i])
            stage = nn.Sequential(halve, _Residual(p[i], p[i + 1]), _Residual(p[i + 1], p[i + 1]))
            self.add_module(f"stage{i + 1}", stage)
            c, skip = p[i + 5], p[3 - i]
            double = _Unit(TransposedConvolution(p[i + 4], c), c)
            self.add_module(
                f"up{i + 1}",
                nn.ModuleList([double, nn.Sequential(_Residual(c + skip, c), _Residual(c, c))]),
            )
        widths = ((p[0], p[4]), (p[4], p[6]), (p[6], p[8]))
        self.point_transforms = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), BatchNorm1d(b), nn.ReLU(inplace=True)) for a, b in widths
        )
        self.c_out = p[4] + p[6] + p[8]
        self.head_names = tuple(heads or {})
        for name, c in (heads or {}).items():
            self.add_module(name, nn.Linear(self.c_out, c))
        for part in self.modules():
            if isinstance(part, BatchNorm1d):
                part.momentum = bn_momentum

    def forward(self, points: Points) -> Float[Tensor, "n c"]:
        """Features of ``c_out`` channels of each point, before the heads."""
        voxels, _ = sparse_tensor(points.features, points.voxels, "mean")
        down = [self.stem(voxels)]
        point = points.with_features(corners(points, voxels.level).interpolate(down[0].features))
        x = to_voxels(point, voxels.level)
        for i in range(4):
            x = self.get_submodule(f"stage{i + 1}")(x)
            down.append(x)
        outputs = []
        for i, transform in enumerate(self.point_transforms):
            seen = corners(point, x.level).interpolate(x.features)
            point = point.with_features(seen + transform(point.features))
            outputs.append(point.features)
            if i < 2:
                x = to_voxels(point, x.level)
                x = self._up(2 * i + 1, x, down[3 - 2 * i])
                x = self._up(2 * i + 2, x, down[2 - 2 * i])
        return torch.cat(outputs, dim=1)

    def heads(self, x: Float[Tensor, "n c"]) -> dict[str, Float[Tensor, "n _"]]:
        """What each head makes of the features."""
        return {name: self.get_submodule(name)(x) for name in self.head_names}

    def _up(self, i: int, x: SparseTensor, skip: SparseTensor) -> SparseTensor:
        return self.get_submodule(f"up{i}.1")(concatenate([self.get_submodule(f"up{i}.0")(x), skip]))
