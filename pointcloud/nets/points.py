"""Points beside voxels: features that keep their exact place, as Point-Voxel CNN does (Liu et al., NeurIPS 2019)."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pointcloud.sparse.levels import Level, Packing
from pointcloud.sparse.tensor import SparseTensor, mean_by_row


@dataclass(frozen=True, eq=False)
class Points:
    """Features at places between voxels."""

    features: Float[Tensor, "n c"]
    places: Float[Tensor, "n 3"]
    """x, y, z in units of the finest voxels; voxel i covers i to i + 1."""
    batch: Int64[Tensor, " n"]
    """Which scan of the batch each point is of."""

    def with_features(self, features: Float[Tensor, "n d"]) -> "Points":
        """Other features at the same places."""
        return replace(self, features=features)

    @property
    def voxels(self) -> Int64[Tensor, "n 4"]:
        """The finest voxel of each point."""
        return torch.cat([self.batch[:, None], self.places.floor().long()], dim=1)


@dataclass(frozen=True, eq=False)
class Corners:
    """The eight voxels around each point."""

    rows: Int64[Tensor, "n 8"]
    """Rows of the level; those that do not exist have the weight 0."""
    weights: Float[Tensor, "n 8"]
    """They sum to 1 over the voxels that exist."""

    def interpolate(self, features: Float[Tensor, "v c"]) -> Float[Tensor, "n c"]:
        """Features at the points."""
        result = features.new_zeros(len(self.rows), features.shape[1])
        for rows, weight in zip(self.rows.unbind(1), self.weights.unbind(1), strict=True):
            result = result + weight.unsqueeze(1).to(features.dtype) * features[rows]
        return result


def corners(points: Points, level: Level) -> Corners:
    """Trilinear weights of the voxels of a level, as torchsparse forms them.

    A voxel stands for its lower corner, so a point at a whole number sees one voxel only. Weights of voxels that do not
    exist go to the others.
    """
    stride = level.stride
    scaled = points.places / stride
    low = scaled.floor()
    fraction = scaled - low
    packing = Packing.around(
        torch.cat([level.units, torch.cat([points.batch[:, None], low.long()], dim=1)]), 1
    )
    keys = torch.cat([packing.keys(level.units), level.voxels.new_tensor([2**63 - 1])])
    rows, weights = [], []
    for corner in range(8):
        bits = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2], device=low.device)
        wanted = packing.keys(torch.cat([points.batch[:, None], low.long() + bits], dim=1))
        row = torch.searchsorted(keys, wanted)
        there = keys[row] == wanted
        share = torch.where(bits.bool(), fraction, 1 - fraction).prod(dim=1)
        rows.append(torch.where(there, row, 0))
        weights.append(torch.where(there, share, 0.0))
    weight = torch.stack(weights, dim=1)
    return Corners(torch.stack(rows, dim=1), weight / weight.sum(dim=1, keepdim=True).clamp_min(1e-8))


def rows_of(points: Points, level: Level) -> Int64[Tensor, " n"]:
    """The voxel of a level in which each point lies; it must exist."""
    packing = Packing.around(level.units, 0)
    units = points.voxels
    units[:, 1:] = units[:, 1:].div(level.stride, rounding_mode="floor")
    return torch.searchsorted(packing.keys(level.units), packing.keys(units))


def to_voxels(points: Points, level: Level) -> SparseTensor:
    """Mean of the points in each voxel; every voxel holds at least one."""
    return SparseTensor(mean_by_row(points.features, rows_of(points, level), len(level)), level)
